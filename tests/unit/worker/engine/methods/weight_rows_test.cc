#include "worker/engine/methods/weight_rows.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace lathe::engine {
namespace {

struct Case {
  Shape dims;
  std::vector<bool> kept;
};

const Case kCases[] = {
    {{7}, {true}},
    {{7}, {false}},
    {{1, 1}, {true, false}},
    {{5, 300}, {true, false}},
    {{300, 5}, {false, true}},
    {{70, 131}, {false, true}},
    {{3, 17, 40}, {true, false, true}},
    {{6, 20, 3, 3}, {false, true, false, false}},
    {{6, 20, 3, 3}, {true, false, false, false}},
    {{2, 3, 4, 5}, {false, true, false, true}},
    {{2, 3, 4, 5}, {true, false, true, false}},
    {{4, 1, 9}, {false, true, false}},
};

// Position in storage of element `j` of row `r`, one axis at a time.
int64_t Position(const Case& c, int64_t r, int64_t j) {
  int64_t at = 0;
  int64_t stride = 1;
  for (size_t i = c.dims.size(); i-- > 0;) {
    int64_t& index = c.kept[i] ? r : j;
    at += index % c.dims[i] * stride;
    index /= c.dims[i];
    stride *= c.dims[i];
  }
  return at;
}

TEST(RowOrder, GathersAndScattersAnyRows) {
  for (const Case& c : kCases) {
    const RowOrder order(c.dims, c.kept);
    const int64_t size = order.rows() * order.length();
    std::vector<float> stored(static_cast<size_t>(size));
    std::iota(stored.begin(), stored.end(), 1.0f);
    // At an odd address, as in files.
    std::string odd(1, '\0');
    odd.append(reinterpret_cast<const char*>(stored.data()), stored.size() * sizeof(float));
    std::vector<int8_t> bytes(stored.size(), 0);
    std::vector<int8_t> expected(stored.size());
    bool in_order = true;
    for (int64_t begin = 0; begin < order.rows(); begin += 21) {
      const int64_t end = std::min(order.rows(), begin + 21);
      std::vector<float> rows(static_cast<size_t>((end - begin) * order.length()));
      order.Gather(odd.data() + 1, begin, end, rows.data());
      std::vector<int8_t> small(rows.size());
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t j = 0; j < order.length(); ++j) {
          const auto i = static_cast<size_t>((r - begin) * order.length() + j);
          const int64_t at = Position(c, r, j);
          ASSERT_EQ(rows[i], stored[static_cast<size_t>(at)]) << r << ' ' << j;
          in_order = in_order && at == r * order.length() + j;
          small[i] = static_cast<int8_t>(at * 37);
          expected[static_cast<size_t>(at)] = small[i];
        }
      }
      order.Scatter(small.data(), begin, end, bytes.data());
    }
    EXPECT_EQ(bytes, expected);
    EXPECT_EQ(order.in_order(), in_order);
  }
}

TEST(ReadRows, ConvertsEveryFloatType) {
  const std::vector<float> values = {1, -2, 0.5f, 4, 8, -0.25f};
  Tensor doubles;
  doubles.dtype = DType::kDouble;
  Tensor halves;
  halves.dtype = DType::kFloat16;
  Tensor brains;
  brains.dtype = DType::kBfloat16;
  std::string raw[3];
  for (const float value : values) {
    const double wide = value;
    const uint16_t half = FloatToHalf(value);
    const uint16_t brain = FloatToBfloat16(value);
    raw[0].append(reinterpret_cast<const char*>(&wide), sizeof(wide));
    raw[1].append(reinterpret_cast<const char*>(&half), sizeof(half));
    raw[2].append(reinterpret_cast<const char*>(&brain), sizeof(brain));
  }
  doubles.data = Bytes::Own(raw[0]);
  halves.data = Bytes::Own(raw[1]);
  brains.data = Bytes::Own(raw[2]);
  Tensor floats = Tensor::FromFloats("w", {2, 3}, values);
  const RowOrder columns({2, 3}, {false, true});
  for (Tensor* tensor : {&doubles, &halves, &brains}) tensor->dims = {2, 3};
  for (Tensor* tensor : {&floats, &doubles, &halves, &brains}) {
    ReadRoom room;
    const float* plain = ReadElements(*tensor, 2, 3, room);
    EXPECT_EQ(std::vector<float>(plain, plain + 3), (std::vector<float>{0.5f, 4, 8}));
    const float* turned = ReadRows(*tensor, columns, 1, 3, room);
    EXPECT_EQ(std::vector<float>(turned, turned + 4), (std::vector<float>{-2, 8, 0.5f, -0.25f}));
  }
}

}  // namespace
}  // namespace lathe::engine
