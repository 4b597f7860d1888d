// LayerCalibration: Hessians against sums in float64, on what the layers really see.
#include "worker/engine/methods/layer_calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/recipe/text.h"
#include "tests/support/array_files.h"
#include "tests/support/graph_builder.h"
#include "tests/support/temp_folder.h"
#include "worker/engine/linalg/randomized_range.h"

namespace lathe::engine {
namespace {

using lathe::testing::NpyFloats;
using lathe::testing::NpyInts;
using lathe::testing::Zip;
using testing::AddInitializer;
using testing::AddNode;
using testing::AddOutput;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::NewModel;

constexpr int64_t kExamples = 50;  // more than a batch
constexpr int64_t kWidth = 12;

std::vector<float> Normals(uint64_t seed, int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(BinomialNormal(seed, i));
  return values;
}

// H = 2 X^T X / rows of rows [count, length], in float64.
std::vector<double> NaiveHessian(const std::vector<float>& rows, int64_t length) {
  std::vector<double> h(static_cast<size_t>(length * length));
  const auto count = static_cast<int64_t>(rows.size()) / length;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = 0; j < length; ++j) {
        h[i * length + j] += 2.0 * rows[r * length + i] * rows[r * length + j] / count;
      }
    }
  }
  return h;
}

class LayerCalibrationTest : public ::testing::Test {
 protected:
  LayerCalibrationTest() : model_(NewModel(17)), parallel_(MakeThreadPool(2)) {}

  void Input(const std::string& name, DType dtype, Shape an_example) {
    ValueInfo info = testing::Info(name, dtype);
    info.dims = std::vector<Dim>(1 + an_example.size());
    (*info.dims)[0].symbol = "n";
    for (size_t i = 0; i < an_example.size(); ++i) (*info.dims)[i + 1].value = an_example[i];
    model_.graph->inputs.push_back(info);
  }
  void Weights(const std::string& name, Shape dims, uint64_t seed = 3) {
    AddInitializer(*model_.graph,
                   Tensor::FromFloats(name, dims, Normals(seed, testing::Elements(dims))));
  }

  // Reads `npy` as the examples of input "x".
  LayerCalibration& Start(const std::string& npy) {
    const std::string path = folder_.Write("d.npz", Zip({{.name = "x.npy", .content = npy}}));
    DataNeeds needs;
    needs.test = needs.train = false;
    auto plan = OpenData({{"calibration", "d.npz", "", path}}, *ParseRecipe("steps: [fp16]"),
                         model_, needs);
    EXPECT_TRUE(plan.ok()) << plan.status();
    plan_ = *std::move(plan);
    data_.emplace(&*plan_.calibration, /*batch_size=*/8);
    weights_ = FindWeights(model_);
    calibration_.emplace(&model_, &weights_, std::vector<bool>(weights_.size(), true), &*data_,
                         nullptr, parallel_.get());
    return *calibration_;
  }

  LayerInputs Of(size_t index) {
    auto found = calibration_->Of(index);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *std::move(found) : LayerInputs();
  }

  // Sums of float32 products are within 1e-5 of those of float64: some dozen terms a batch, and a
  // blend of batches each time.
  static void ExpectHessian(const LayerInputs& found, const std::vector<float>& rows,
                            int64_t length) {
    ASSERT_NE(found.moments, nullptr) << found.why_not;
    const std::vector<double> wanted = NaiveHessian(rows, length);
    ASSERT_EQ(found.moments->hessian.size(), wanted.size());
    double largest = 0;
    for (const double h : wanted) largest = std::max(largest, std::abs(h));
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_NEAR(found.moments->hessian[i], wanted[i], 1e-5 * largest) << i;
    }
  }

  Model model_;
  lathe::testing::TempFolder folder_;
  DataPlan plan_;
  std::optional<CalibrationData> data_;
  std::vector<Weight> weights_;
  std::unique_ptr<Parallel> parallel_;
  std::optional<LayerCalibration> calibration_;
};

TEST_F(LayerCalibrationTest, AHessianIsThatOfAllExamplesWhateverTheBatches) {
  Input("x", DType::kFloat, {kWidth});
  Weights("w", {kWidth, 3});
  AddNode(*model_.graph, "MatMul", {"x", "w"}, {"y"});
  AddOutput(*model_.graph, "y");
  const std::vector<float> x = Normals(1, kExamples * kWidth);
  Start(NpyFloats({kExamples, kWidth}, x));
  const LayerInputs found = Of(0);
  ExpectHessian(found, x, kWidth);
  double sum = 0;
  for (int64_t e = 0; e < kExamples; ++e) sum += std::abs(x[static_cast<size_t>(e * kWidth)]);
  EXPECT_NEAR(found.moments->mean_abs[0], sum / kExamples, 1e-5);
}

TEST_F(LayerCalibrationTest, ALaterLayerSeesWhatEarlierOnesHaveBecome) {
  Input("x", DType::kFloat, {kWidth});
  Weights("w1", {kWidth, 4});
  Weights("w2", {4, 2});
  AddNode(*model_.graph, "MatMul", {"x", "w1"}, {"h"});
  AddNode(*model_.graph, "MatMul", {"h", "w2"}, {"y"});
  AddOutput(*model_.graph, "y");
  Start(NpyFloats({kExamples, kWidth}, Normals(1, kExamples * kWidth)));
  Of(0);
  // The first layer is rounded to something simple: h is now four times x's first column.
  std::vector<float> simple(kWidth * 4, 0.0f);
  for (size_t c = 0; c < 4; ++c) simple[c] = static_cast<float>(c + 1);
  model_.graph->initializers.at("w1") = Tensor::FromFloats("w1", {kWidth, 4}, simple);
  const std::vector<float> x = Normals(1, kExamples * kWidth);
  std::vector<float> h;
  for (int64_t e = 0; e < kExamples; ++e) {
    for (int c = 0; c < 4; ++c) h.push_back(x[static_cast<size_t>(e * kWidth)] * (c + 1));
  }
  ExpectHessian(Of(1), h, 4);
  EXPECT_EQ(calibration_->passes(), 2);
}

TEST_F(LayerCalibrationTest, LayersOfOneInputShareAHessianAndAPass) {
  Input("x", DType::kFloat, {kWidth});
  Weights("q", {kWidth, 3});
  Weights("k", {5, kWidth});
  AddNode(*model_.graph, "MatMul", {"x", "q"}, {"a"});
  AddNode(*model_.graph, "Gemm", {"x", "k"}, {"b"}).SetInt("transB", 1);
  AddOutput(*model_.graph, "a");
  AddOutput(*model_.graph, "b");
  Start(NpyFloats({kExamples, kWidth}, Normals(1, kExamples * kWidth)));
  const LayerInputs q = Of(0);
  const LayerInputs k = Of(1);
  EXPECT_NE(q.moments, nullptr);
  EXPECT_EQ(q.moments, k.moments);
  EXPECT_EQ(q.source, k.source);
  EXPECT_EQ(calibration_->passes(), 1);
}

TEST_F(LayerCalibrationTest, ARowOfManyTimesTheUsualLengthCountsAsEightOfThem) {
  Input("x", DType::kFloat, {kWidth});
  Weights("w", {kWidth, 3});
  AddNode(*model_.graph, "MatMul", {"x", "w"}, {"y"});
  AddOutput(*model_.graph, "y");
  // Rows of length 1, one for each of the first axes in turn, but for one of 1000 along the last.
  std::vector<float> x(kExamples * kWidth, 0.0f);
  for (int64_t e = 0; e < kExamples; ++e) {
    x[static_cast<size_t>(e * kWidth + e % (kWidth - 1))] = 1;
  }
  std::fill_n(x.begin(), kWidth, 0.0f);
  x[kWidth - 1] = 1000;
  Start(NpyFloats({kExamples, kWidth}, x));
  x[kWidth - 1] = 8;
  ExpectHessian(Of(0), x, kWidth);
}

TEST_F(LayerCalibrationTest, AConvolutionHasAHessianOfPatchesForEachGroup) {
  Input("x", DType::kFloat, {4, 3, 3});
  Weights("w", {6, 2, 1, 1});
  AddNode(*model_.graph, "Conv", {"x", "w"}, {"y"}).SetInt("group", 2);
  AddOutput(*model_.graph, "y");
  const std::vector<float> x = Normals(1, kExamples * 36);
  Start(NpyFloats({kExamples, 4, 3, 3}, x));
  const LayerInputs found = Of(0);
  ASSERT_NE(found.moments, nullptr) << found.why_not;
  EXPECT_EQ(found.moments->parts, 2);
  EXPECT_EQ(found.moments->length, 2);
  for (int64_t group = 0; group < 2; ++group) {
    std::vector<float> rows;
    for (int64_t e = 0; e < kExamples; ++e) {
      for (int64_t at = 0; at < 9; ++at) {
        for (int64_t c = 0; c < 2; ++c) {
          rows.push_back(x[static_cast<size_t>((e * 4 + group * 2 + c) * 9 + at)]);
        }
      }
    }
    const std::vector<double> wanted = NaiveHessian(rows, 2);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(found.moments->Part(group)[i], wanted[static_cast<size_t>(i)], 1e-4) << group;
    }
  }
}

TEST_F(LayerCalibrationTest, AnEmbeddingIsToldHowOftenEachRowIsRead) {
  Input("x", DType::kInt64, {3});
  Weights("table", {5, 4});
  AddNode(*model_.graph, "Gather", {"table", "x"}, {"y"});
  AddOutput(*model_.graph, "y");
  Start(NpyInts({4, 3}, {0, 1, 1, 4, -1, 1, 2, 2, 2, 0, 0, 1}));
  const LayerInputs found = Of(0);
  ASSERT_NE(found.lookups, nullptr) << found.why_not;
  EXPECT_THAT(*found.lookups, ElementsAre(3, 4, 3, 0, 2));  // -1 is the last row
}

TEST_F(LayerCalibrationTest, WhatNoExampleShowsIsSaid) {
  Input("x", DType::kFloat, {kWidth});
  Weights("wide", {1, LayerCalibration::kMostInputs + 1});
  Weights("w", {1, 8, kWidth});
  Weights("r", {1, 8, 2});
  AddNode(*model_.graph, "Unsqueeze", {"x", "axis"}, {"steps"});
  AddInitializer(*model_.graph,
                 Tensor::Make("axis", DType::kInt64, {1}, std::string(8, '\0')).value());
  AddNode(*model_.graph, "LSTM", {"steps", "w", "r"}, {"y"});
  AddNode(*model_.graph, "MatMul", {"y", "wide_turned"}, {"z"});
  Weights("wide_turned", {2, 3});
  AddNode(*model_.graph, "Expand", {"x", "long"}, {"e"});
  AddInitializer(*model_.graph,
                 Tensor::Make("long", DType::kInt64, {1}, std::string(8, '\1')).value());
  AddNode(*model_.graph, "Gemm", {"e", "wide"}, {"t"}).SetInt("transB", 1);
  AddOutput(*model_.graph, "z");
  AddOutput(*model_.graph, "t");
  Start(NpyFloats({kExamples, kWidth}, Normals(1, kExamples * kWidth)));
  std::map<std::string, std::string> why;
  for (size_t i = 0; i < weights_.size(); ++i) {
    // Those that can be had would run the model, and this one's Expand is too long.
    if (weights_[i].source_name != "wide" && weights_[i].source_name != "r") continue;
    why[weights_[i].source_name] = Of(i).why_not;
  }
  EXPECT_THAT(why["wide"], HasSubstr("it has 16385 inputs"));
  EXPECT_THAT(why["r"], HasSubstr("how its inputs meet its weight is not known"));
  EXPECT_EQ(calibration_->passes(), 0);
}

TEST_F(LayerCalibrationTest, InputsTooLargeToSquareGiveNone) {
  Input("x", DType::kFloat, {kWidth});
  Weights("w", {kWidth, 3});
  AddNode(*model_.graph, "MatMul", {"x", "w"}, {"y"});
  AddOutput(*model_.graph, "y");
  Start(NpyFloats({kExamples, kWidth}, std::vector<float>(kExamples * kWidth, 1e30f)));
  const LayerInputs found = Of(0);
  EXPECT_EQ(found.moments, nullptr);
  EXPECT_THAT(found.why_not, HasSubstr("too large to square"));
}

TEST_F(LayerCalibrationTest, AModelThatCannotRunIsAnError) {
  Input("x", DType::kFloat, {kWidth});
  Weights("w", {kWidth, 3});
  AddNode(*model_.graph, "MatMul", {"x", "w"}, {"h"});
  AddNode(*model_.graph, "Unheard", {"h"}, {"y"}, "unheard", "com.example");
  AddOutput(*model_.graph, "y");
  Start(NpyFloats({kExamples, kWidth}, Normals(1, kExamples * kWidth)));
  EXPECT_EQ(calibration_->Of(0).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace lathe::engine
