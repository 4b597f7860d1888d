#include "worker/engine/train/trainable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/graph_builder.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/run/executor.h"
#include "worker/engine/train/tape.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using namespace lathe::engine::testing;  // NOLINT: the builder

std::vector<std::string> NamesOf(const Trainable& trainable) {
  std::vector<std::string> names;
  for (const Parameter& parameter : trainable.parameters()) names.push_back(parameter.name);
  return names;
}

Parameter& Named(Trainable& trainable, const std::string& name) {
  for (Parameter& parameter : trainable.parameters()) {
    if (parameter.name == name) return parameter;
  }
  ADD_FAILURE() << "no parameter " << name;
  return trainable.parameters()[0];
}

Tensor Codes(const std::string& name, DType dtype, const Shape& dims, const std::string& data) {
  return Tensor::Make(name, dtype, dims, data).value();
}

Tensor Halves(const std::string& name, const Shape& dims, const std::vector<float>& values) {
  std::string data;
  for (const float v : values) {
    const uint16_t half = FloatToHalf(v);
    data.append(reinterpret_cast<const char*>(&half), 2);
  }
  return Tensor::Make(name, DType::kFloat16, dims, data).value();
}

// x [2, 4] times a weight `w` that `build` computes from constants.
template <typename Build>
Model ProductWith(Build&& build, int64_t opset = 21) {
  Model model = NewModel(opset, 10);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  graph.inputs[0].dims = std::vector<Dim>{{2, ""}, {4, ""}};
  build(graph);
  AddNode(graph, "MatMul", {"x", "w"}, {"y"}, "product");
  AddOutput(graph, "y");
  EXPECT_TRUE(VerifyModel(model).ok());
  return model;
}

// What the training copy computes with the parameters as they are.
std::vector<float> TapeOutputs(const Trainable& trainable, const Value& x) {
  const auto tape = Tape::Make(trainable.model(), {}, {});
  EXPECT_TRUE(tape.ok()) << tape.status();
  std::map<std::string, Value> inputs = {{"x", x}};
  std::vector<std::vector<float>> held;
  held.reserve(trainable.parameters().size());
  for (const Parameter& parameter : trainable.parameters()) {
    held.push_back(parameter.values);
    if (parameter.grid) Project(*parameter.grid, parameter.values, held.back());
    inputs[parameter.input] = Value::Borrow(DType::kFloat, parameter.dims, held.back().data());
  }
  const auto outputs = (*tape)->Forward(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  const auto y = (*outputs)[0].As<float>();
  return {y.begin(), y.end()};
}

std::vector<float> ExecutorOutputs(const Model& model, const Value& x) {
  ExecutorOptions options;
  options.optimize = false;
  const auto executor = Executor::Make(model, options);
  EXPECT_TRUE(executor.ok()) << executor.status();
  const auto outputs = (*executor)->Run({{"x", x}});
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  const auto y = (*outputs)[0].As<float>();
  return {y.begin(), y.end()};
}

// Moves every latent value and every scale, writes them out, and compares.
void ExpectWhatIsExportedIsWhatWasComputed(const Model& model, const std::string& codes) {
  auto trainable = Trainable::Make(model, {});
  ASSERT_TRUE(trainable.ok()) << trainable.status();
  ASSERT_THAT(NamesOf(*trainable), ElementsAre(codes));
  const std::vector<float> xs = Values(8);
  const Value x = Value::Borrow(DType::kFloat, {2, 4}, xs.data());
  EXPECT_EQ(TapeOutputs(*trainable, x), ExecutorOutputs(model, x));
  Parameter& parameter = trainable->parameters()[0];
  ASSERT_TRUE(parameter.grid.has_value());
  for (size_t i = 0; i < parameter.values.size(); ++i) {
    parameter.values[i] += 0.37f * static_cast<float>(i % 5) - 0.8f;
  }
  for (size_t s = 0; s < parameter.grid->scales.size(); ++s) {
    parameter.grid->scales[s] *= 1.0f + 0.1f * static_cast<float>(s + 1);
  }
  SettleScales(*parameter.grid);
  Model written = CloneModel(model);
  ASSERT_TRUE(trainable->WriteTo(written).ok());
  ASSERT_TRUE(VerifyModel(written).ok());
  EXPECT_EQ(TapeOutputs(*trainable, x), ExecutorOutputs(written, x));
  EXPECT_NE(ExecutorOutputs(model, x), ExecutorOutputs(written, x));
}

TEST(TrainableTest, IntegersOfDequantizeLinearPerChannel) {
  ExpectWhatIsExportedIsWhatWasComputed(
      ProductWith([](Graph& graph) {
        AddInitializer(graph,
                       Codes("q", DType::kInt8, {4, 3},
                             std::string("\x01\xfe\x03\x04\xff\x06\xf9\x08\x02\x05\x7f\x81", 12)));
        AddInitializer(graph, Tensor::FromFloats("s", {3}, std::vector<float>{0.1f, 0.2f, 0.3f}));
        AddNode(graph, "DequantizeLinear", {"q", "s"}, {"w"}, "dq").SetInt("axis", 1);
      }),
      "q");
}

TEST(TrainableTest, IntegersOfDequantizeLinearByBlocksOfFourBits) {
  ExpectWhatIsExportedIsWhatWasComputed(
      ProductWith([](Graph& graph) {
        AddInitializer(
            graph, Codes("q", DType::kInt4, {4, 3}, std::string("\x21\x7f\x8e\x10\x53\x7c", 6)));
        AddInitializer(graph,
                       Tensor::FromFloats("s", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
        Node& node = AddNode(graph, "DequantizeLinear", {"q", "s"}, {"w"}, "dq");
        node.SetInt("axis", 0);
        node.SetInt("block_size", 2);
      }),
      "q");
}

TEST(TrainableTest, IntegersOfCastSubMulWithHalfScalesAndAnotherShape) {
  ExpectWhatIsExportedIsWhatWasComputed(
      ProductWith([](Graph& graph) {
        AddInitializer(graph,
                       Codes("q", DType::kUint8, {2, 2, 3},
                             std::string("\x01\x0e\x03\x04\x0f\x06\x09\x08\x02\x05\x07\x01", 12)));
        AddInitializer(graph, Codes("z", DType::kUint8, {2, 1, 1}, std::string("\x07\x08", 2)));
        AddInitializer(graph, Halves("s", {2, 1, 1}, {0.11f, 0.23f}));
        AddInitializer(graph, Tensor::FromInt64s("shape", {2}, std::vector<int64_t>{4, 3}));
        AddNode(graph, "Cast", {"q"}, {"qf"}).SetInt("to", 1);
        AddNode(graph, "Cast", {"z"}, {"zf"}).SetInt("to", 1);
        AddNode(graph, "Cast", {"s"}, {"sf"}).SetInt("to", 1);
        AddNode(graph, "Sub", {"qf", "zf"}, {"c"});
        AddNode(graph, "Mul", {"c", "sf"}, {"scaled"});
        AddNode(graph, "Reshape", {"scaled", "shape"}, {"w"});
      }),
      "q");
}

TEST(TrainableTest, ConstantsBehindAnythingThatPassesThemOnAreFoundOnce) {
  const Model model = ProductWith([](Graph& graph) {
    AddWeight(graph, "stored", {3, 4});
    AddWeight(graph, "bias", {3});
    AddWeight(graph, "temperature", {});
    AddNode(graph, "Identity", {"stored"}, {"same"});
    AddNode(graph, "Transpose", {"same"}, {"w"});
    AddNode(graph, "MatMul", {"x", "w"}, {"again"}, "shared");
    AddNode(graph, "Add", {"again", "bias"}, {"biased"}, "add");
    AddNode(graph, "Mul", {"biased", "temperature"}, {"unused"}, "scale");
  });
  const auto trainable = Trainable::Make(model, {});
  ASSERT_TRUE(trainable.ok()) << trainable.status();
  EXPECT_THAT(NamesOf(*trainable), UnorderedElementsAre("stored", "bias"));
}

TEST(TrainableTest, GlobsFreezeAndReasonsAreTold) {
  const Model model = ProductWith([](Graph& graph) { AddWeight(graph, "w", {4, 3}); });
  TrainableOptions options;
  options.selected = [](const std::string& name, const std::string&) { return name != "w"; };
  const auto none = Trainable::Make(model, options);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("w: not selected"));
}

TEST(TrainableTest, ManyZerosOfAMatrixCountAsPrunedAndThoseOfABiasDoNot) {
  const Model model = ProductWith([](Graph& graph) {
    std::vector<float> w = Values(12);
    for (size_t i = 0; i < w.size(); i += 2) w[i] = 0;
    AddInitializer(graph, Tensor::FromFloats("w", {4, 3}, w));
    AddInitializer(graph, Tensor::FromFloats("b", {3}, std::vector<float>{0, 0, 0}));
    AddNode(graph, "Gemm", {"x", "w", "b"}, {"other"}, "gemm");
  });
  auto trainable = Trainable::Make(model, {});
  ASSERT_TRUE(trainable.ok()) << trainable.status();
  EXPECT_THAT(Named(*trainable, "w").mask, ElementsAre(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1));
  EXPECT_THAT(Named(*trainable, "b").mask, IsEmpty());
  EXPECT_TRUE(Named(*trainable, "w").decays);
  EXPECT_FALSE(Named(*trainable, "b").decays);
}

TEST(TrainableTest, LatentValuesStartWhereTheWeightsWereBeforeTheyWereRounded) {
  const auto rounded = [](Graph& graph) {
    AddInitializer(graph,
                   Codes("w_q", DType::kInt8, {4, 3},
                         std::string("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", 12)));
    AddInitializer(graph, Tensor::FromFloats("s", {}, std::vector<float>{0.5f}));
    AddNode(graph, "DequantizeLinear", {"w_q", "s"}, {"w"}, "dq");
  };
  const Model model = ProductWith(rounded);
  std::vector<float> exact;
  for (int i = 1; i <= 12; ++i) exact.push_back(0.5f * static_cast<float>(i) + 0.2f);
  const Model before = ProductWith([&](Graph& graph) {
    AddInitializer(graph, Tensor::FromFloats("w", {4, 3}, exact));
  });
  TrainableOptions options;
  options.before = &before;
  auto trainable = Trainable::Make(model, options);
  ASSERT_TRUE(trainable.ok()) << trainable.status();
  EXPECT_EQ(trainable->parameters()[0].values, exact);
  // Another weight of the same name is not taken for it.
  const Model other = ProductWith([&](Graph& graph) { AddWeight(graph, "w", {4, 3}); });
  options.before = &other;
  trainable = Trainable::Make(model, options);
  ASSERT_TRUE(trainable.ok());
  EXPECT_EQ(trainable->parameters()[0].values[3], 2.0f);
}

}  // namespace
}  // namespace lathe::engine
