#include "worker/engine/ops/shape_inference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/graph_builder.h"
#include "worker/engine/ops/op_table.h"

namespace lathe::engine {
namespace {

using testing::AddConstantNode;
using testing::AddFunction;
using testing::AddInitializer;
using testing::AddNode;
using testing::AddOutput;
using testing::AddSubgraph;
using testing::AddWeight;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::NewModel;
using testing::Zeros;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

Dim Fixed(int64_t value) { return {value, ""}; }
Dim Named(const std::string& symbol) { return {std::nullopt, symbol}; }

void AddTyped(Graph& graph, const std::string& name, std::vector<Dim> dims,
              DType dtype = DType::kFloat) {
  ValueInfo info = testing::Info(name, dtype);
  info.dims = std::move(dims);
  graph.inputs.push_back(std::move(info));
}

void AddInts(Graph& graph, const std::string& name, std::vector<int64_t> values) {
  const Shape dims = {static_cast<int64_t>(values.size())};
  AddInitializer(graph, Tensor::FromInt64s(name, dims, values));
}

Shape DimsOf(const Model& model, const Inference& inference, const std::string& value) {
  const ValueFact* fact = inference.Find(model.graph.get(), value);
  return fact != nullptr && fact->ranked ? fact->dims : Shape{-1};
}

TEST(InferShapes, BindsSymbolsAndTellsWhichItTookForOne) {
  Model model = NewModel();
  AddTyped(*model.graph, "x", {Named("batch"), Fixed(3), Named("height"), Dim{}});
  AddNode(*model.graph, "Relu", {"x"}, {"y"});
  const Inference inference = InferShapes(model, {{"height", 7}, {"x[3]", 5}, {"widht", 9}});
  EXPECT_THAT(DimsOf(model, inference, "y"), ElementsAre(1, 3, 7, 5));
  EXPECT_EQ(inference.bindings, (Bindings{{"batch", 1}, {"height", 7}, {"x[3]", 5}}));
  EXPECT_THAT(inference.assumed_bindings, ElementsAre("batch"));
  EXPECT_THAT(inference.unused_bindings, ElementsAre("widht"));
}

struct MacsCase {
  const char* name;
  std::function<void(Graph&)> build;
  int64_t macs;
  MacType type = MacType::kFloat32;
};

class Macs : public ::testing::TestWithParam<MacsCase> {};

TEST_P(Macs, AreCountedByHand) {
  Model model = NewModel();
  model.opset_imports["com.microsoft"] = 1;
  GetParam().build(*model.graph);
  const Inference inference = InferShapes(model, {});
  EXPECT_THAT(inference.macs_incomplete, IsEmpty());
  EXPECT_EQ(inference.total.macs.total(), GetParam().macs);
  const int64_t of_type = GetParam().type == MacType::kInt8      ? inference.total.macs.int8
                          : GetParam().type == MacType::kFloat16 ? inference.total.macs.float16
                                                                 : inference.total.macs.float32;
  EXPECT_EQ(of_type, GetParam().macs);
}

INSTANTIATE_TEST_SUITE_P(
    Operators, Macs,
    ::testing::Values(
        MacsCase{"GroupedConv",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(2), Fixed(6), Fixed(9), Fixed(8)});
                   AddWeight(g, "w", {4, 3, 3, 3});
                   Node& conv = AddNode(g, "Conv", {"x", "w"}, {"y"});
                   conv.SetInt("group", 2);
                   conv.SetInts("strides", {2, 1});
                 },
                 2 * 4 * (4 * 6) * 3 * 9},
        MacsCase{"Conv1D",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(1), Fixed(2), Fixed(10)});
                   AddWeight(g, "w", {5, 2, 3});
                   AddNode(g, "Conv", {"x", "w"}, {"y"}).SetInts("dilations", {2});
                 },
                 5 * 6 * 2 * 3},
        MacsCase{"ConvTranspose",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(1), Fixed(4), Fixed(3), Fixed(5)});
                   AddWeight(g, "w", {4, 2, 2, 2});
                   AddNode(g, "ConvTranspose", {"x", "w"}, {"y"}).SetInts("strides", {2, 2});
                 },
                 4 * 15 * 2 * 4},
        MacsCase{"GemmTransposed",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(5), Fixed(7)});
                   AddWeight(g, "w", {3, 7});
                   AddNode(g, "Gemm", {"x", "w"}, {"y"}).SetInt("transB", 1);
                 },
                 5 * 7 * 3},
        MacsCase{"BroadcastMatMul",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(2), Fixed(1), Fixed(5), Fixed(7)});
                   AddWeight(g, "w", {3, 7, 4});
                   AddNode(g, "MatMul", {"x", "w"}, {"y"});
                 },
                 2 * 3 * 5 * 7 * 4},
        MacsCase{"MatMulOfVectors",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(9)});
                   AddWeight(g, "w", {9});
                   AddNode(g, "MatMul", {"x", "w"}, {"y"});
                 },
                 9},
        MacsCase{
            "BidirectionalLstm",
            [](Graph& g) {
              AddTyped(g, "x", {Fixed(6), Fixed(2), Fixed(5)});
              AddWeight(g, "w", {2, 12, 5});
              AddWeight(g, "r", {2, 12, 3});
              AddNode(g, "LSTM", {"x", "w", "r"}, {"y"}).SetString("direction", "bidirectional");
            },
            6 * 2 * 2 * 12 * (5 + 3)},
        MacsCase{"EinsumWithContraction",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(2), Fixed(3), Fixed(4)});
                   AddWeight(g, "w", {4, 5});
                   AddNode(g, "Einsum", {"x", "w"}, {"y"}).SetString("equation", "bij, jk -> bik");
                 },
                 2 * 3 * 4 * 5},
        MacsCase{"EinsumWithoutContraction",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(2), Fixed(3)});
                   AddWeight(g, "w", {3});
                   AddNode(g, "Einsum", {"x", "w"}, {"y"}).SetString("equation", "ij,j->ij");
                 },
                 0},
        MacsCase{"QLinearConv",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(1), Fixed(2), Fixed(4), Fixed(4)}, DType::kUint8);
                   AddWeight(g, "s", {});
                   AddInitializer(g, Zeros("z", DType::kUint8, {}));
                   AddInitializer(g, Zeros("w", DType::kInt8, {3, 2, 1, 1}));
                   AddInitializer(g, Zeros("wz", DType::kInt8, {}));
                   AddNode(g, "QLinearConv", {"x", "s", "z", "w", "s", "wz", "s", "z"}, {"y"});
                 },
                 3 * 16 * 2, MacType::kInt8},
        MacsCase{"ProductOfDequantizedValues",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(4), Fixed(6)}, DType::kUint8);
                   AddInitializer(g, Zeros("w", DType::kInt8, {6, 3}));
                   AddWeight(g, "s", {});
                   AddNode(g, "DequantizeLinear", {"x", "s"}, {"xd"});
                   AddNode(g, "DequantizeLinear", {"w", "s"}, {"wd"});
                   AddNode(g, "MatMul", {"xd", "wd"}, {"y"});
                 },
                 4 * 6 * 3, MacType::kInt8},
        MacsCase{"WeightsAloneQuantizedStayFloatArithmetic",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(4), Fixed(6)});
                   AddInitializer(g, Zeros("w", DType::kInt8, {6, 3}));
                   AddWeight(g, "s", {});
                   AddNode(g, "DequantizeLinear", {"w", "s"}, {"wd"});
                   AddNode(g, "MatMul", {"x", "wd"}, {"y"});
                 },
                 4 * 6 * 3},
        MacsCase{"HalfPrecision",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(4), Fixed(6)}, DType::kFloat16);
                   AddInitializer(g, Zeros("w", DType::kFloat16, {6, 3}));
                   AddNode(g, "MatMul", {"x", "w"}, {"y"});
                 },
                 4 * 6 * 3, MacType::kFloat16},
        MacsCase{
            "MatMulNBitsAtLevelFour",
            [](Graph& g) {
              AddTyped(g, "x", {Fixed(2), Fixed(5), Fixed(32)});
              AddInitializer(g, Zeros("b", DType::kUint8, {7, 2, 8}));
              AddWeight(g, "s", {14});
              Node& node = AddNode(g, "MatMulNBits", {"x", "b", "s"}, {"y"}, "", "com.microsoft");
              node.SetInt("K", 32);
              node.SetInt("N", 7);
              node.SetInt("bits", 4);
              node.SetInt("block_size", 16);
              node.SetInt("accuracy_level", 4);
            },
            2 * 5 * 32 * 7, MacType::kInt8},
        MacsCase{"ConstantsAreMultipliedAtLoad",
                 [](Graph& g) {
                   AddTyped(g, "x", {Fixed(2)});
                   AddWeight(g, "a", {4, 4});
                   AddWeight(g, "b", {4, 4});
                   AddNode(g, "MatMul", {"a", "b"}, {"c"});
                 },
                 0}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(InferShapes, EvaluatesShapeArithmetic) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {Named("n"), Fixed(12), Fixed(8)});
  AddInts(g, "zero", {0});
  AddInts(g, "four", {4});
  AddInts(g, "rest", {-1});
  AddNode(g, "Shape", {"x"}, {"s"});
  AddNode(g, "Gather", {"s", "zero"}, {"n"});
  AddNode(g, "Mul", {"n", "four"}, {"n4"});
  AddNode(g, "Concat", {"n4", "rest", "four"}, {"target"}).SetInt("axis", 0);
  AddNode(g, "Reshape", {"x", "target"}, {"y"});
  EXPECT_THAT(DimsOf(model, InferShapes(model, {{"n", 2}}), "y"), ElementsAre(8, 6, 4));
}

TEST(InferShapes, CountsALoopAsOftenAsItsConstantTripCountSays) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {Fixed(2), Fixed(3)});
  AddWeight(g, "w", {3, 3});
  AddInitializer(g, Tensor::FromInt64s("trips", {}, std::vector<int64_t>{5}));
  Node& loop = AddNode(g, "Loop", {"trips", "", "x"}, {"y", "all"}, "loop");
  Graph& body = AddSubgraph(g, loop, "body");
  for (const char* name : {"i", "go", "state"}) testing::AddInput(body, name);
  AddNode(body, "MatMul", {"state", "w"}, {"next"});
  for (const char* name : {"go", "next", "next"}) AddOutput(body, name);
  Inference inference = InferShapes(model, {});
  EXPECT_EQ(inference.total.macs.total(), 5 * 2 * 3 * 3);
  EXPECT_THAT(DimsOf(model, inference, "y"), ElementsAre(2, 3));
  EXPECT_THAT(DimsOf(model, inference, "all"), ElementsAre(5, 2, 3));
  EXPECT_THAT(inference.assumptions, IsEmpty());

  loop.inputs[0] = "";
  inference = InferShapes(model, {});
  EXPECT_EQ(inference.total.macs.total(), 2 * 3 * 3);
  EXPECT_THAT(inference.assumptions, ElementsAre(HasSubstr("Loop 'loop': how often")));
}

TEST(InferShapes, CountsTheDearerBranchOfAnIf) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {Fixed(2), Fixed(3)});
  AddTyped(g, "c", {}, DType::kBool);
  AddWeight(g, "w", {3, 3});
  Node& node = AddNode(g, "If", {"c"}, {"y"}, "choice");
  Graph& yes = AddSubgraph(g, node, "then_branch");
  AddNode(yes, "Identity", {"x"}, {"a"});
  AddOutput(yes, "a");
  Graph& no = AddSubgraph(g, node, "else_branch");
  AddNode(no, "MatMul", {"x", "w"}, {"a"});
  AddOutput(no, "a");
  const Inference inference = InferShapes(model, {});
  EXPECT_EQ(inference.total.macs.total(), 18);
  EXPECT_THAT(DimsOf(model, inference, "y"), ElementsAre(2, 3));
  EXPECT_THAT(inference.assumptions, ElementsAre(HasSubstr("If 'choice'")));
}

TEST(InferShapes, FollowsCallsOfFunctionsWithTheAttributesOfTheCall) {
  Model model = NewModel();
  AddTyped(*model.graph, "x", {Fixed(2), Fixed(3)});
  AddWeight(*model.graph, "w", {3, 4});
  Function& function = AddFunction(model, "Linear", {"a", "b"}, {"c"});
  AddNode(*function.body, "MatMul", {"a", "b"}, {"t"});
  Node& flatten = AddNode(*function.body, "Flatten", {"t"}, {"c"});
  Attribute axis;
  axis.name = "axis";
  axis.kind = Attribute::Kind::kInt;
  axis.extra = std::string("\xaa\x01\x01k", 4);  // ref_attr_name = "k"
  flatten.attributes.push_back(std::move(axis));
  AddNode(*model.graph, "Linear", {"x", "w"}, {"y"}, "", "local").SetInt("k", 0);
  AddNode(*model.graph, "Linear", {"x", "w"}, {"z"}, "", "local").SetInt("k", 1);
  const Inference inference = InferShapes(model, {});
  EXPECT_THAT(DimsOf(model, inference, "y"), ElementsAre(1, 8));
  EXPECT_THAT(DimsOf(model, inference, "z"), ElementsAre(2, 4));
  EXPECT_EQ(inference.total.macs.total(), 2 * (2 * 3 * 4));
}

TEST(InferShapes, AFunctionThatCallsItselfIsNamedAndEnds) {
  Model model = NewModel();
  AddTyped(*model.graph, "x", {Fixed(2)});
  Function& function = AddFunction(model, "Ever", {"a"}, {"b"});
  AddNode(*function.body, "Ever", {"a"}, {"b"}, "", "local");
  AddNode(*model.graph, "Ever", {"x"}, {"y"}, "", "local");
  EXPECT_THAT(InferShapes(model, {}).macs_incomplete, ElementsAre(HasSubstr("calls itself")));
}

TEST(InferShapes, NamesWhatItCannotCountAndGoesOn) {
  Model model = NewModel();
  Graph& g = *model.graph;
  model.opset_imports["acme"] = 1;
  AddTyped(g, "x", {Fixed(2), Fixed(3)});
  AddWeight(g, "w", {3, 4});
  AddNode(g, "Frobnicate", {"x"}, {"t"}, "odd", "acme");
  AddNode(g, "MatMul", {"t", "w"}, {"y"}, "after");
  AddNode(g, "MatMul", {"x", "w"}, {"z"}, "beside");
  const Inference inference = InferShapes(model, {});
  EXPECT_THAT(inference.macs_incomplete,
              ElementsAre(HasSubstr("acme.Frobnicate"), HasSubstr("MatMul 'after'")));
  EXPECT_EQ(inference.total.macs.total(), 2 * 3 * 4);
}

TEST(InferShapes, UsesTheDeclaredShapeWhereItsOwnRulesEnd) {
  Model model = NewModel();
  Graph& g = *model.graph;
  model.opset_imports["acme"] = 1;
  AddTyped(g, "x", {Fixed(2), Fixed(3)});
  AddWeight(g, "w", {3, 4});
  AddNode(g, "Frobnicate", {"x"}, {"t"}, "odd", "acme");
  AddNode(g, "MatMul", {"t", "w"}, {"y"});
  ValueInfo info = testing::Info("t");
  info.dims = {Fixed(5), Fixed(3)};
  g.value_infos["t"] = info;
  EXPECT_EQ(InferShapes(model, {}).total.macs.total(), 5 * 3 * 4);
}

TEST(InferShapes, DataDependentExtentsAreAssumedAndSaid) {
  Model model = NewModel();
  AddTyped(*model.graph, "x", {Fixed(2), Fixed(3)});
  AddNode(*model.graph, "NonZero", {"x"}, {"y"}, "nz");
  const Inference inference = InferShapes(model, {});
  EXPECT_THAT(DimsOf(model, inference, "y"), ElementsAre(2, 1));
  EXPECT_THAT(inference.assumptions, ElementsAre(HasSubstr("NonZero 'nz'")));
}

// Arithmetic on hostile numbers ends in "unknown", not in an overflow (ubsan watches).
TEST(InferShapes, HostileNumbersAreUnknownShapes) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {Fixed(1), Fixed(2), Fixed(8), Fixed(8)});
  AddTyped(g, "huge", {Fixed(kMax), Fixed(kMax)});
  AddWeight(g, "w", {2, 2, 3, 3});
  AddInts(g, "big", {kMax, kMax, kMax, kMax});
  AddInts(g, "pads", {kMax, kMax, kMax, kMax, kMax, kMax, kMax, kMax});
  AddInts(g, "low", {std::numeric_limits<int64_t>::min()});
  AddInts(g, "high", {kMax});
  AddInts(g, "two", {2});
  AddNode(g, "Relu", {"huge"}, {"y0"});
  AddNode(g, "Tile", {"x", "big"}, {"y1"});
  AddNode(g, "Expand", {"x", "big"}, {"y2"});
  AddNode(g, "Pad", {"x", "pads"}, {"y3"});
  AddNode(g, "ConstantOfShape", {"big"}, {"y4"});
  AddNode(g, "Reshape", {"x", "big"}, {"y5"});
  Node& conv = AddNode(g, "Conv", {"x", "w"}, {"y6"});
  conv.SetInts("dilations", {kMax, kMax});
  conv.SetInts("strides", {kMax, kMax});
  Node& up = AddNode(g, "ConvTranspose", {"x", "w"}, {"y7"});
  up.SetInts("strides", {kMax, kMax});
  AddNode(g, "DepthToSpace", {"x"}, {"y8"}).SetInt("blocksize", kMax);
  AddNode(g, "Conv", {"x", "w"}, {"y9"}).SetInt("group", kMax);
  AddNode(g, "Concat", {"huge", "huge"}, {"y10"}).SetInt("axis", 0);
  AddNode(g, "Einsum", {"huge", "huge"}, {"y11"}).SetString("equation", "ij,jk->ik");
  AddNode(g, "Range", {"low", "high", "two"}, {"y12"});
  const Inference inference = InferShapes(model, {});
  for (int i = 0; i <= 12; ++i) {
    const std::string name = "y" + std::to_string(i);
    EXPECT_THAT(DimsOf(model, inference, name), ElementsAre(-1)) << name;
  }
  // What a Slice may ask for, on the other hand, is all there is.
  AddNode(g, "Slice", {"x", "low", "high", "two"}, {"z"});
  EXPECT_THAT(DimsOf(model, InferShapes(model, {}), "z"), ElementsAre(1, 2, 8, 8));
}

TEST(InferShapes, MacsSaturateInsteadOfWrappingRound) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "a", {Fixed(int64_t{1} << 24), Fixed(int64_t{1} << 24)});
  for (int i = 0; i < 8; ++i) {
    const std::string y = "y" + std::to_string(i);
    AddNode(g, "MatMul", {"a", "a"}, {y});
  }
  EXPECT_EQ(InferShapes(model, {}).total.macs.total(), kMax);
}

TEST(InferShapes, ATableThatIsLookedUpCountsTheRowsRead) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "ids", {Fixed(1), Fixed(3)}, DType::kInt64);
  AddWeight(g, "table", {1000, 16});
  AddNode(g, "Gather", {"table", "ids"}, {"rows"});
  AddWeight(g, "w", {16, 2});
  AddNode(g, "MatMul", {"rows", "w"}, {"y"});
  const Inference inference = InferShapes(model, {});
  EXPECT_EQ(inference.stored_bytes, (3 * 16 + 16 * 2) * 4);
  // Gather: ids, rows read, rows written; MatMul: rows, y. (Ids are int64.)
  EXPECT_EQ(inference.total.moved.activations(), 3 * 8 + 3 * 16 * 4 + 3 * 16 * 4 + 3 * 2 * 4);
}

TEST(InferShapes, ConstantsBehindChainsAreCountedAsStored) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {Fixed(1), Fixed(6)});
  AddInitializer(g, Zeros("q", DType::kInt8, {6, 3}));
  AddWeight(g, "scale", {1, 3});
  AddNode(g, "Cast", {"q"}, {"f"}).SetInt("to", 1);
  AddNode(g, "Mul", {"f", "scale"}, {"w"});
  AddNode(g, "MatMul", {"x", "w"}, {"y"});
  const Inference inference = InferShapes(model, {});
  EXPECT_EQ(inference.stored_bytes, 18 + 12);
  EXPECT_EQ(inference.total.moved.activations(), (6 + 3) * 4);
  EXPECT_EQ(inference.total.macs.float32, 18);
}

TEST(OpTable, KnowsNoOperatorTwiceAndAlwaysHasAShapeRule) {
  for (const char* op : {"Conv", "MatMul", "LSTM", "Shape"}) {
    const OpRule* rule = FindOpRule("", op);
    ASSERT_NE(rule, nullptr) << op;
    EXPECT_STREQ(rule->op, op);
    EXPECT_NE(rule->infer, nullptr);
    EXPECT_EQ(FindOpRule("ai.onnx", op), rule);
    EXPECT_EQ(FindOpRule("acme", op), nullptr);
  }
}

}  // namespace
}  // namespace lathe::engine
