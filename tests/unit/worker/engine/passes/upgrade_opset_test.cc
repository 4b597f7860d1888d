// The form each adapter writes. That the lifted models compute the same is shown by
// tests/conformance/test_opset_upgrade.py.
#include "worker/engine/passes/upgrade_opset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder's words
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// One node between x and y, lifted to 21.
class Lifting {
 public:
  explicit Lifting(int64_t opset, const std::string& op, std::vector<std::string> inputs = {"x"},
                   std::vector<std::string> outputs = {"y"})
      : model(NewModel(opset)) {
    AddInput(*model.graph, "x");
    AddOutput(*model.graph, "y");
    node = &AddNode(*model.graph, op, std::move(inputs), std::move(outputs), "node");
  }

  absl::Status To(int64_t target) { return UpgradeOpset(model, target, nullptr); }
  void Lift() {
    const absl::Status status = To(21);
    ASSERT_TRUE(status.ok()) << status;
  }
  // The constant at input `index`.
  std::vector<int64_t> Ints(size_t index) const {
    return index < node->inputs.size() && model.graph->initializers.contains(node->inputs[index])
               ? model.graph->initializers.at(node->inputs[index]).ToInt64s().value()
               : std::vector<int64_t>{};
  }
  std::vector<float> Floats(size_t index) const {
    return index < node->inputs.size() && model.graph->initializers.contains(node->inputs[index])
               ? model.graph->initializers.at(node->inputs[index]).ToFloats().value()
               : std::vector<float>{};
  }

  Model model;
  Node* node;
};

void DeclareRank(Model& model, int64_t rank) { model.graph->inputs[0].dims.emplace(rank); }

TEST(UpgradeOpset, SetsOpsetAndIrVersionAndSaysSo) {
  Lifting lifting(12, "Relu");
  std::vector<std::string> notes;
  ASSERT_TRUE(UpgradeOpset(lifting.model, 21, &notes).ok());
  EXPECT_EQ(lifting.model.OpsetVersion(""), 21);
  EXPECT_EQ(lifting.model.ir_version, 10);
  EXPECT_THAT(notes, ElementsAre("lifted from opset 12 to 21"));
}

TEST(UpgradeOpset, LeavesNewerModelsAlone) {
  Lifting lifting(22, "Relu");
  std::vector<std::string> notes;
  ASSERT_TRUE(UpgradeOpset(lifting.model, 21, &notes).ok());
  EXPECT_EQ(lifting.model.OpsetVersion(""), 22);
  EXPECT_EQ(lifting.model.ir_version, 8);
  EXPECT_THAT(notes, IsEmpty());
}

TEST(UpgradeOpset, DropsInputsThatNameInitializersWhenItPassesIr4) {
  Lifting lifting(8, "MatMul", {"x", "w"});
  lifting.model.ir_version = 3;
  AddInput(*lifting.model.graph, "w");
  AddWeight(*lifting.model.graph, "w", {2, 2});
  lifting.Lift();
  EXPECT_FALSE(lifting.model.graph->IsInput("w"));
  EXPECT_TRUE(lifting.model.graph->IsInput("x"));
}

TEST(UpgradeOpset, KeepsNodesInPlace) {
  Lifting lifting(11, "Relu");
  const Node* before = lifting.node;
  lifting.Lift();
  EXPECT_EQ(lifting.model.graph->nodes[0].get(), before);
}

TEST(UpgradeOpset, StopsAtTheTarget) {
  Lifting lifting(11, "ReduceMean");
  lifting.node->SetInts("axes", {1});
  ASSERT_TRUE(lifting.To(17).ok());
  EXPECT_THAT(lifting.node->IntsAttribute("axes"), ElementsAre(1));  // an input since 18
  EXPECT_EQ(lifting.model.ir_version, 8);
}

TEST(UpgradeOpset, SharesEqualConstants) {
  Lifting lifting(12, "Unsqueeze", {"x"}, {"a"});
  lifting.node->SetInts("axes", {0});
  AddNode(*lifting.model.graph, "Unsqueeze", {"a"}, {"y"}).SetInts("axes", {0});
  lifting.Lift();
  EXPECT_THAT(lifting.model.graph->initializers, SizeIs(1));
}

TEST(UpgradeOpset, ReachesSubgraphsAndFunctions) {
  Model model = NewModel(12);
  Node& branch = AddNode(*model.graph, "If", {"c"}, {"y"}, "if");
  Graph& then_branch = AddSubgraph(*model.graph, branch, "then_branch");
  AddNode(then_branch, "Squeeze", {"x"}, {"t"}).SetInts("axes", {2});
  Function& function = AddFunction(model, "F", {"X"}, {"Y"});
  function.opset_imports[""] = 11;
  AddNode(*function.body, "Squeeze", {"X"}, {"Y"}).SetInts("axes", {3});
  ASSERT_TRUE(UpgradeOpset(model, 21, nullptr).ok());
  EXPECT_THAT(then_branch.nodes[0]->inputs, SizeIs(2));
  EXPECT_THAT(then_branch.initializers, SizeIs(1));
  EXPECT_EQ(function.opset_imports[""], 21);
  EXPECT_THAT(OpTypes(*function.body), ElementsAre("Constant", "Squeeze"));
}

TEST(UpgradeOpset, LeavesOtherDomainsAlone) {
  Lifting lifting(11, "Anything");
  lifting.node->domain = "acme";
  lifting.Lift();
  EXPECT_EQ(lifting.node->op_type, "Anything");
}

// ---- Adapters
// ---------------------------------------------------------------------------------------------------------------

TEST(Adapters, AxesBecomeAnInput) {
  for (const char* op :
       {"Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd",
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"}) {
    Lifting lifting(11, op);
    lifting.node->SetInts("axes", {0, -1});
    lifting.Lift();
    EXPECT_EQ(lifting.node->FindAttribute("axes"), nullptr) << op;
    EXPECT_THAT(lifting.Ints(1), ElementsAre(0, -1)) << op;
  }
}

TEST(Adapters, ReductionOverEverythingStaysOne) {
  Lifting lifting(11, "ReduceSum");
  lifting.node->SetInts("axes", {});
  lifting.Lift();
  EXPECT_THAT(lifting.node->inputs, ElementsAre("x"));
  EXPECT_EQ(lifting.node->FindAttribute("noop_with_empty_axes"), nullptr);
}

TEST(Adapters, SoftmaxAlongTheLastAxisKeepsItsForm) {
  for (const char* op : {"Softmax", "LogSoftmax", "Hardmax"}) {
    Lifting lifting(11, op);
    DeclareRank(lifting.model, 2);
    lifting.Lift();
    EXPECT_THAT(OpTypes(*lifting.model.graph), ElementsAre(op));
    EXPECT_EQ(lifting.node->IntAttribute("axis", 99), -1);
  }
  Lifting negative(11, "Softmax");
  negative.node->SetInt("axis", -1);
  negative.Lift();
  EXPECT_THAT(OpTypes(*negative.model.graph), ElementsAre("Softmax"));
}

TEST(Adapters, SoftmaxAlongAnotherAxisIsDoneOnAMatrix) {
  for (const bool declared : {false, true}) {
    Lifting lifting(11, "Softmax");
    if (declared) DeclareRank(lifting.model, 4);
    lifting.Lift();
    const Graph& graph = *lifting.model.graph;
    ASSERT_THAT(OpTypes(graph), ElementsAre("Shape", "Flatten", "Softmax", "Reshape"));
    EXPECT_EQ(graph.nodes[1]->IntAttribute("axis", 99), 1);
    EXPECT_EQ(graph.nodes[2]->IntAttribute("axis", 99), -1);
    EXPECT_THAT(graph.nodes[3]->outputs, ElementsAre("y"));
    EXPECT_EQ(graph.nodes[3]->inputs[0], graph.nodes[2]->outputs[0]);
  }
}

TEST(Adapters, SplitSizesBecomeAnInputOrANumber) {
  Lifting sized(11, "Split", {"x"}, {"y", "z"});
  sized.node->SetInts("split", {3, 5});
  sized.Lift();
  EXPECT_THAT(sized.Ints(1), ElementsAre(3, 5));
  EXPECT_EQ(sized.node->FindAttribute("num_outputs"), nullptr);
  Lifting equal(11, "Split", {"x"}, {"y", "z"});
  equal.Lift();
  EXPECT_EQ(equal.node->IntAttribute("num_outputs", 0), 2);
}

TEST(Adapters, ClipBoundsBecomeInputs) {
  Lifting both(10, "Clip");
  both.node->SetFloat("min", 0);
  both.node->SetFloat("max", 6);
  both.Lift();
  EXPECT_THAT(both.Floats(1), ElementsAre(0));
  EXPECT_THAT(both.Floats(2), ElementsAre(6));
  EXPECT_THAT(both.node->attributes, IsEmpty());
  Lifting upper(10, "Clip");
  upper.node->SetFloat("max", 6);
  upper.Lift();
  EXPECT_EQ(upper.node->inputs[1], "");
  EXPECT_THAT(upper.Floats(2), ElementsAre(6));
}

TEST(Adapters, ClipBoundsHaveTheTypeOfTheData) {
  Lifting lifting(10, "Clip");
  lifting.model.graph->inputs[0].dtype = DType::kFloat16;
  lifting.node->SetFloat("max", 6);
  lifting.Lift();
  const Tensor& bound = lifting.model.graph->initializers.at(lifting.node->inputs[2]);
  EXPECT_EQ(bound.dtype, DType::kFloat16);
  EXPECT_THAT(bound.dims, IsEmpty());
}

TEST(Adapters, PadsBecomeInputs) {
  Lifting plain(10, "Pad");
  plain.node->SetInts("pads", {0, 1, 0, 2});
  plain.Lift();
  EXPECT_THAT(plain.Ints(1), ElementsAre(0, 1, 0, 2));
  EXPECT_THAT(plain.node->inputs, SizeIs(2));
  Lifting valued(10, "Pad");
  valued.node->SetInts("pads", {0, 1, 0, 2});
  valued.node->SetFloat("value", 1.5f);
  valued.Lift();
  EXPECT_THAT(valued.Floats(2), ElementsAre(1.5f));
}

TEST(Adapters, SliceBoundsBecomeInputs) {
  Lifting lifting(9, "Slice");
  lifting.node->SetInts("starts", {1, 2});
  lifting.node->SetInts("ends", {3, 9999});
  lifting.node->SetInts("axes", {0, 2});
  lifting.Lift();
  EXPECT_THAT(lifting.Ints(1), ElementsAre(1, 2));
  EXPECT_THAT(lifting.Ints(2), ElementsAre(3, 9999));
  EXPECT_THAT(lifting.Ints(3), ElementsAre(0, 2));
}

TEST(Adapters, TopKCountBecomesAnInput) {
  Lifting lifting(9, "TopK", {"x"}, {"y", "i"});
  lifting.node->SetInt("k", 3);
  lifting.Lift();
  EXPECT_THAT(lifting.Ints(1), ElementsAre(3));
}

TEST(Adapters, UpsampleBecomesResize) {
  Lifting lifting(8, "Upsample");
  Attribute scales;
  scales.name = "scales";
  scales.kind = Attribute::Kind::kFloats;
  scales.floats = {1, 1, 2, 2};
  lifting.node->attributes.push_back(std::move(scales));
  lifting.Lift();
  EXPECT_EQ(lifting.node->op_type, "Resize");
  EXPECT_THAT(lifting.Floats(2), ElementsAre(1, 1, 2, 2));
  EXPECT_EQ(lifting.node->StringAttribute("coordinate_transformation_mode", ""), "asymmetric");
  EXPECT_EQ(lifting.node->StringAttribute("nearest_mode", ""), "floor");
}

TEST(Adapters, UpsampleWithComputedScalesNeedsNoKnowledgeOfThem) {
  Lifting lifting(9, "Upsample", {"x", "scales"});
  AddInput(*lifting.model.graph, "scales");
  lifting.node->SetString("mode", "linear");
  lifting.Lift();
  EXPECT_EQ(lifting.node->inputs[2], "scales");
  EXPECT_EQ(lifting.node->FindAttribute("nearest_mode"), nullptr);
}

TEST(Adapters, Resize10SamplesByDirection) {
  for (const auto& [scale, mode] : {std::pair(2.0f, "floor"), std::pair(0.5f, "ceil")}) {
    Lifting lifting(10, "Resize", {"x", "scales"});
    AddInitializer(*lifting.model.graph,
                   Tensor::FromFloats("scales", {4}, std::vector<float>{1, 1, scale, scale}));
    lifting.Lift();
    EXPECT_EQ(lifting.node->StringAttribute("nearest_mode", ""), mode);
    EXPECT_EQ(lifting.node->inputs[2], "scales");
  }
}

TEST(Adapters, DropoutRatioBecomesAnInputAndTheUnreadMaskGoes) {
  Lifting lifting(9, "Dropout", {"x"}, {"y", "mask"});
  lifting.node->SetFloat("ratio", 0.25f);
  lifting.Lift();
  EXPECT_THAT(lifting.node->outputs, ElementsAre("y"));
  EXPECT_THAT(lifting.Floats(1), ElementsAre(0.25f));
}

TEST(Adapters, BatchNormalizationLosesSpatialAndEmptyOutputs) {
  Lifting lifting(8, "BatchNormalization", {"x", "s", "b", "m", "v"}, {"y", "", "", ""});
  lifting.node->SetInt("spatial", 1);
  lifting.Lift();
  EXPECT_EQ(lifting.node->FindAttribute("spatial"), nullptr);
  EXPECT_THAT(lifting.node->outputs, ElementsAre("y"));
}

TEST(Adapters, ScatterIsRenamed) {
  Lifting lifting(9, "Scatter", {"x", "i", "u"});
  lifting.Lift();
  EXPECT_EQ(lifting.node->op_type, "ScatterElements");
}

TEST(Adapters, GridSampleModesAreRenamed) {
  for (const auto& [old_mode, new_mode] :
       {std::pair("", "linear"), std::pair("bilinear", "linear"), std::pair("bicubic", "cubic"),
        std::pair("nearest", "nearest")}) {
    Lifting lifting(16, "GridSample", {"x", "g"});
    if (*old_mode != '\0') lifting.node->SetString("mode", old_mode);
    lifting.Lift();
    EXPECT_EQ(lifting.node->StringAttribute("mode", ""), new_mode);
  }
}

TEST(Adapters, DftAxisBecomesAnInputDefaultIncluded) {
  Lifting lifting(17, "DFT");
  lifting.Lift();
  EXPECT_EQ(lifting.node->inputs[1], "");
  EXPECT_THAT(lifting.Ints(2), ElementsAre(1));
}

TEST(Adapters, GroupNormalizationGetsAScaleForEachChannel) {
  Lifting lifting(18, "GroupNormalization", {"x", "s", "b"});
  lifting.node->SetInt("num_groups", 2);
  lifting.Lift();
  EXPECT_THAT(OpTypes(*lifting.model.graph),
              ElementsAre("Shape", "Div", "Concat", "Reshape", "Expand", "Reshape", "Reshape",
                          "Expand", "Reshape", "GroupNormalization"));
  EXPECT_NE(lifting.node->inputs[1], "s");
}

TEST(Adapters, RoiAlignKeepsItsOldPixels) {
  Lifting lifting(10, "RoiAlign", {"x", "r", "b"});
  lifting.Lift();
  EXPECT_EQ(lifting.node->StringAttribute("coordinate_transformation_mode", ""),
            "output_half_pixel");
}

// ---- Refusals
// ---------------------------------------------------------------------------------------------------------------

// The lift fails, names the node, and changes nothing, although an earlier node could be lifted.
void ExpectRefused(Lifting& lifting, const std::string& reason) {
  Node& earlier = AddNode(*lifting.model.graph, "Squeeze", {"x"}, {"earlier"});
  earlier.SetInts("axes", {0});
  std::rotate(lifting.model.graph->nodes.begin(), lifting.model.graph->nodes.end() - 1,
              lifting.model.graph->nodes.end());
  const int64_t opset = lifting.model.OpsetVersion("");
  const size_t initializers = lifting.model.graph->initializers.size();
  const absl::Status status = lifting.To(21);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'node'"));
  EXPECT_EQ(lifting.model.OpsetVersion(""), opset);
  EXPECT_EQ(lifting.model.ir_version, 8);
  EXPECT_THAT(earlier.IntsAttribute("axes"), ElementsAre(0));
  EXPECT_EQ(lifting.model.graph->initializers.size(), initializers);
}

TEST(RefusedLifts, UnknownOperators) {
  Lifting lifting(11, "ImageScaler");
  ExpectRefused(lifting, "not an operator of ai.onnx");
}

TEST(RefusedLifts, NonSpatialBatchNormalization) {
  Lifting lifting(8, "BatchNormalization");
  lifting.node->SetInt("spatial", 0);
  ExpectRefused(lifting, "spatial = 0");
}

TEST(RefusedLifts, TrainingBatchNormalization) {
  Lifting lifting(12, "BatchNormalization", {"x", "s", "b", "m", "v"}, {"y", "mean", "var"});
  ExpectRefused(lifting, "form for training");
}

TEST(RefusedLifts, BatchedScan) {
  Lifting lifting(8, "Scan");
  ExpectRefused(lifting, "works on batches");
}

TEST(RefusedLifts, ReadDropoutMask) {
  Lifting lifting(9, "Dropout", {"x"}, {"y", "mask"});
  AddOutput(*lifting.model.graph, "mask");
  ExpectRefused(lifting, "its mask is read");
}

TEST(RefusedLifts, ClipOfAnUndeclaredTypeAmongSeveral) {
  Lifting lifting(10, "Clip", {"undeclared"});
  lifting.node->SetFloat("min", 0);
  AddInput(*lifting.model.graph, "half", DType::kFloat16);
  ExpectRefused(lifting, "is not declared");
}

TEST(RefusedLifts, NearestResizeOfUnknownOrMixedDirection) {
  Lifting unknown(10, "Resize", {"x", "scales"});
  ExpectRefused(unknown, "not constant");
  Lifting mixed(10, "Resize", {"x", "scales"});
  AddInitializer(*mixed.model.graph,
                 Tensor::FromFloats("scales", {2}, std::vector<float>{2, 0.5f}));
  ExpectRefused(mixed, "shrinks others");
}

TEST(RefusedLifts, MalformedNodes) {
  Lifting pad(10, "Pad");
  ExpectRefused(pad, "no pads");
  Lifting slice(9, "Slice");
  ExpectRefused(slice, "no starts");
  Lifting topk(9, "TopK");
  ExpectRefused(topk, "no k");
  Lifting upsample(8, "Upsample");
  ExpectRefused(upsample, "no scales");
}

TEST(RefusedLifts, AttributesOfAFunctionsCall) {
  Lifting lifting(11, "Squeeze");
  onnx::AttributeProto reference;
  reference.set_ref_attr_name("a");
  lifting.node->SetInts("axes", {});
  lifting.node->FindAttribute("axes")->extra = reference.SerializePartialAsString();
  ExpectRefused(lifting, "refers to an attribute of the function");
}

TEST(RefusedLifts, OpsetsBelowSeven) {
  Lifting lifting(6, "Relu");
  const absl::Status status = lifting.To(21);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("opset 6"));
}

TEST(RefusedLifts, TargetsOutOfRange) {
  Lifting lifting(11, "Relu");
  EXPECT_EQ(lifting.To(22).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(lifting.To(6).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lathe::engine
