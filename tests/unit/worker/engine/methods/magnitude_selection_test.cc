#include "worker/engine/methods/magnitude_selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

namespace lathe::engine {
namespace {

Tensor Make(DType dtype, const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    const auto append = [&bytes](auto element) {
      bytes.append(reinterpret_cast<const char*>(&element), sizeof(element));
    };
    switch (dtype) {
      case DType::kDouble:
        append(static_cast<double>(value));
        break;
      case DType::kFloat16:
        append(FloatToHalf(value));
        break;
      case DType::kBfloat16:
        append(FloatToBfloat16(value));
        break;
      default:
        append(value);
    }
  }
  return Tensor::Make("w", dtype, {static_cast<int64_t>(values.size())}, bytes).value();
}

std::vector<float> Read(const Tensor& tensor, const Bytes& data) {
  Tensor copy = tensor;
  copy.data = data;
  return copy.ToFloats().value();
}

// What the header promises, by sorting.
std::vector<std::vector<float>> Sorted(const std::vector<std::vector<float>>& tensors,
                                       int64_t count) {
  struct Item {
    float magnitude;
    size_t tensor;
    size_t index;
  };
  std::vector<Item> items;
  for (size_t t = 0; t < tensors.size(); ++t) {
    for (size_t i = 0; i < tensors[t].size(); ++i) {
      items.push_back({std::fabs(tensors[t][i]), t, i});
    }
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) { return a.magnitude < b.magnitude; });
  std::vector<std::vector<float>> out = tensors;
  for (int64_t i = 0; i < count; ++i) out[items[i].tensor][items[i].index] = 0;
  return out;
}

// Values with many ties, zeros of both signs, subnormals and the largest finite ones.
std::vector<float> Awkward(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    switch (random() % 8) {
      case 0:
        value = 0.0f;
        break;
      case 1:
        value = -0.0f;
        break;
      case 2:
        value = 1e-41f * static_cast<float>(random() % 5);
        break;
      case 3:
        value = 3.0e38f;
        break;
      default:
        value = (static_cast<float>(random() % 41) - 20) / 64;
    }
  }
  return values;
}

std::vector<ZeroedTensor> AllZeroed(std::span<const Tensor* const> tensors, int64_t count,
                                    Parallel& parallel) {
  std::vector<ZeroedTensor> out;
  ZeroSmallest(tensors, count, parallel, [&out](size_t t, ZeroedTensor zeroed) {
    EXPECT_EQ(t, out.size());
    out.push_back(std::move(zeroed));
  });
  return out;
}

TEST(ZeroSmallest, AgreesWithASortForEveryCountOfASmallTensor) {
  const std::vector<float> values = Awkward(57, 1);
  for (const DType dtype : {DType::kFloat, DType::kDouble, DType::kBfloat16, DType::kFloat16}) {
    std::vector<float> own = values;
    if (dtype == DType::kFloat16) {
      for (float& value : own) value = std::min(value, 60000.0f);  // 3e38 has no half
    }
    const Tensor tensor = Make(dtype, own);
    const std::vector<float> stored = tensor.ToFloats().value();
    const Tensor* one[] = {&tensor};
    for (int64_t count = 0; count <= 57; ++count) {
      const auto parallel = MakeSerial();
      const ZeroedTensor out = std::move(AllZeroed(one, count, *parallel)[0]);
      const std::vector<float> expected = Sorted({stored}, count)[0];
      EXPECT_EQ(Read(tensor, out.data), expected) << DTypeName(dtype) << " count " << count;
      EXPECT_EQ(out.zeros, std::count(expected.begin(), expected.end(), 0.0f));
    }
  }
}

TEST(ZeroSmallest, CountsOverAllTensorsAndSettlesTiesByTensorThenIndex) {
  // Larger than a piece, so that ties cross pieces.
  const std::vector<std::vector<float>> values = {Awkward(600'001, 2), Awkward(10, 3),
                                                  Awkward(300'000, 4)};
  std::vector<Tensor> tensors;
  for (const auto& v : values) tensors.push_back(Make(DType::kFloat, v));
  const Tensor* all[] = {&tensors[0], &tensors[1], &tensors[2]};
  for (const int64_t count : {0, 1, 250'000, 700'000, 900'010, 900'011}) {
    const auto expected = Sorted(values, count);
    for (const int threads : {1, 2, 5}) {
      const auto parallel = MakeThreadPool(threads);
      const auto out = AllZeroed(all, count, *parallel);
      for (size_t t = 0; t < 3; ++t) {
        EXPECT_TRUE(Read(tensors[t], out[t].data) == expected[t])
            << "tensor " << t << ", count " << count << ", threads " << threads;
      }
    }
  }
}

TEST(ZeroSmallest, TellsFloat64ValuesApartThatFloat32CannotHold) {
  const std::vector<double> values = {1.0 + 1e-12, 1.0, 1.0 + 2e-12};
  std::string bytes(sizeof(double) * 3, '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  const Tensor wide = Tensor::Make("w", DType::kDouble, {3}, bytes).value();
  const Tensor narrow = Make(DType::kFloat, {1.0f, 2.0f});
  const Tensor* both[] = {&wide, &narrow};
  const auto parallel = MakeSerial();
  const auto out = AllZeroed(both, 3, *parallel);
  double left[3];
  std::memcpy(left, out[0].data.view().data(), sizeof(left));
  EXPECT_EQ(left[0], 0);  // third: after 1.0 in each tensor
  EXPECT_EQ(left[1], 0);
  EXPECT_EQ(left[2], values[2]);
  EXPECT_EQ(Read(narrow, out[1].data), (std::vector<float>{0, 2}));
}

TEST(ZeroSmallest, ReportsSquaredNormsOfTheTensorAndOfWhatWent) {
  const Tensor tensor = Make(DType::kFloat, {3, -1, 2, 0});
  const Tensor* one[] = {&tensor};
  const auto parallel = MakeSerial();
  const auto out = AllZeroed(one, 2, *parallel);
  EXPECT_EQ(out[0].squared_norm, 14);
  EXPECT_EQ(out[0].squared_change, 1);
  EXPECT_EQ(out[0].zeros, 2);
}

TEST(ZeroBelow, KeepsAWeightThatEqualsTheThresholdInItsOwnType) {
  const auto parallel = MakeSerial();
  for (const DType dtype : {DType::kFloat, DType::kDouble, DType::kBfloat16, DType::kFloat16}) {
    const std::vector<float> values = {0.01f, -0.009f, 0.011f, 0.0f};
    Tensor tensor = Make(dtype, values);
    if (dtype == DType::kDouble) {  // 0.01f is not 0.01
      std::string bytes(tensor.data.view());
      const double exact = 0.01;
      std::memcpy(bytes.data(), &exact, sizeof(exact));
      tensor.data = Bytes::Own(bytes);
    }
    std::vector<float> expected = tensor.ToFloats().value();
    expected[1] = 0;
    const ZeroedTensor out = ZeroBelow(tensor, 0.01, *parallel);
    EXPECT_EQ(Read(tensor, out.data), expected) << DTypeName(dtype);
    EXPECT_EQ(out.zeros, 2);
  }
}

TEST(AllFinite, FindsOneBadValueInManyPieces) {
  std::vector<float> values(700'000, 1.0f);
  for (const int threads : {1, 2, 5}) {
    const auto parallel = MakeThreadPool(threads);
    EXPECT_TRUE(AllFinite(Make(DType::kFloat, values), *parallel));
  }
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    values[650'000] = bad;
    const auto parallel = MakeThreadPool(2);
    EXPECT_FALSE(AllFinite(Make(DType::kFloat, values), *parallel));
  }
}

}  // namespace
}  // namespace lathe::engine
