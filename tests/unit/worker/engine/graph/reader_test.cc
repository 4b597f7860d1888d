#include "worker/engine/graph/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/onnx_models.h"
#include "worker/engine/graph/verifier.h"

namespace lathe::engine {
namespace {

using ::lathe::engine::testing::AddProtoNode;
using ::lathe::engine::testing::MatMulModel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Model ReadOrDie(const onnx::ModelProto& proto) {
  absl::StatusOr<Model> model = ReadModelFromBytes(proto.SerializeAsString());
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

void ExpectRefused(const std::string& bytes, const std::vector<std::string>& parts) {
  const absl::StatusOr<Model> model = ReadModelFromBytes(bytes);
  ASSERT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << model.status();
  for (const std::string& part : parts)
    EXPECT_THAT(std::string(model.status().message()), HasSubstr(part));
}

// Field `number` holding `content`, as on the wire.
std::string Field(int number, const std::string& content) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  size_t length = content.size();
  for (; length >= 0x80; length >>= 7) out.push_back(static_cast<char>(length | 0x80));
  out.push_back(static_cast<char>(length));
  return out + content;
}

TEST(ReaderTest, ReadsTheWholeOfASmallModel) {
  const Model model = ReadOrDie(MatMulModel());
  EXPECT_EQ(model.ir_version, 8);
  EXPECT_EQ(model.opset_imports.at(""), 17);
  const Graph& graph = *model.graph;
  EXPECT_EQ(graph.name, "main");
  ASSERT_EQ(graph.nodes.size(), 2u);
  EXPECT_EQ(graph.nodes[0]->name, "fc");
  EXPECT_EQ(graph.nodes[0]->op_type, "MatMul");
  EXPECT_THAT(graph.nodes[0]->inputs, ElementsAre("x", "W"));
  const Tensor& weight = graph.initializers.at("W");
  EXPECT_EQ(weight.dtype, DType::kFloat);
  EXPECT_THAT(weight.dims, ElementsAre(4, 3));
  EXPECT_TRUE(weight.data.borrowed());
  EXPECT_EQ((*weight.ToFloats())[11], 1.75f);
  ASSERT_EQ(graph.inputs.size(), 1u);
  EXPECT_EQ(graph.inputs[0].dtype, DType::kFloat);
  ASSERT_TRUE(graph.inputs[0].dims.has_value());
  EXPECT_EQ((*graph.inputs[0].dims)[0].symbol, "batch");
  EXPECT_EQ((*graph.inputs[0].dims)[1].value, 4);
  EXPECT_FALSE(graph.inputs[0].modified);
}

// Every way a type may be stored comes out as the same raw bytes.
TEST(ReaderTest, TypedFieldsBecomeRawBytes) {
  struct Case {
    const char* name;
    int32_t dtype;
    int64_t elements;
    std::function<void(onnx::TensorProto&)> fill;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"float", 1, 2, [](auto& t) { t.add_float_data(1.0f), t.add_float_data(-2.0f); },
       std::string("\0\0\x80\x3F\0\0\0\xC0", 8)},
      {"complex64", 14, 1, [](auto& t) { t.add_float_data(1.0f), t.add_float_data(-2.0f); },
       std::string("\0\0\x80\x3F\0\0\0\xC0", 8)},
      {"double", 11, 1, [](auto& t) { t.add_double_data(1.0); },
       std::string("\0\0\0\0\0\0\xF0\x3F", 8)},
      {"int8", 3, 2, [](auto& t) { t.add_int32_data(-1), t.add_int32_data(5); }, "\xFF\x05"},
      {"uint8", 2, 1, [](auto& t) { t.add_int32_data(200); }, "\xC8"},
      {"bool", 9, 2, [](auto& t) { t.add_int32_data(0), t.add_int32_data(256); },
       std::string("\0\1", 2)},
      {"int16", 5, 1, [](auto& t) { t.add_int32_data(-2); }, "\xFE\xFF"},
      {"int32", 6, 1, [](auto& t) { t.add_int32_data(-2); }, "\xFE\xFF\xFF\xFF"},
      {"float16", 10, 1, [](auto& t) { t.add_int32_data(0x3C00); }, std::string("\0\x3C", 2)},
      {"bfloat16", 16, 1, [](auto& t) { t.add_int32_data(0x3F80); }, "\x80\x3F"},
      {"float8", 17, 1, [](auto& t) { t.add_int32_data(0x38); }, "\x38"},
      {"int4", 22, 3, [](auto& t) { t.add_int32_data(0x21), t.add_int32_data(0x03); }, "\x21\x03"},
      {"uint2", 25, 5, [](auto& t) { t.add_int32_data(0xE4), t.add_int32_data(0x01); }, "\xE4\x01"},
      {"int64", 7, 1, [](auto& t) { t.add_int64_data(-2); }, "\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF"},
      {"uint32", 12, 1, [](auto& t) { t.add_uint64_data(7); }, std::string("\7\0\0\0", 4)},
      {"uint64", 13, 1, [](auto& t) { t.add_uint64_data(7); }, std::string("\7\0\0\0\0\0\0\0", 8)},
      {"raw int4", 22, 3, [](auto& t) { t.set_raw_data("\x21\x03"); }, "\x21\x03"},
      {"empty raw beside typed", 2, 1, [](auto& t) { t.set_raw_data(""), t.add_int32_data(9); },
       "\x09"},
      {"nothing", 1, 0, [](auto&) {}, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    onnx::ModelProto proto = MatMulModel();
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name("t");
    tensor.set_data_type(c.dtype);
    tensor.add_dims(c.elements);
    c.fill(tensor);
    const Model model = ReadOrDie(proto);
    EXPECT_EQ(model.graph->initializers.at("t").data.view(), c.expected);
  }
}

TEST(ReaderTest, FieldsMayComeInAnyOrderAndUnpacked) {
  // raw_data first, then name, type, dims: nothing may depend on the order.
  onnx::TensorProto data;
  data.set_raw_data(std::string(8, '\1'));
  onnx::TensorProto rest;
  rest.set_name("t");
  rest.set_data_type(1);
  rest.add_dims(2);
  std::string unpacked = "\x10\x01\x08\x02\x42\x01t";             // type 1, dims 2, name "t"
  unpacked += std::string("\x25\0\0\x80\x3F\x25\0\0\0\xC0", 10);  // float_data twice, not packed
  for (const std::string& tensor :
       {data.SerializeAsString() + rest.SerializeAsString(), unpacked}) {
    const auto model = ReadModelFromBytes(Field(7, Field(5, tensor)));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->graph->initializers.at("t").byte_size(), 8);
  }
}

TEST(ReaderTest, StringsAndUnknownTypesAreKept) {
  onnx::ModelProto proto = MatMulModel();
  onnx::TensorProto& strings = *proto.mutable_graph()->add_initializer();
  strings.set_name("s");
  strings.set_data_type(onnx::TensorProto::STRING);
  strings.add_dims(2);
  strings.add_string_data("a");
  strings.add_string_data("");
  onnx::TensorProto& odd = *proto.mutable_graph()->add_initializer();
  odd.set_name("odd");
  odd.set_data_type(99);
  odd.add_dims(5);
  odd.set_raw_data("??");
  const Model model = ReadOrDie(proto);
  EXPECT_THAT(model.graph->initializers.at("s").strings, ElementsAre("a", ""));
  EXPECT_EQ(static_cast<int>(model.graph->initializers.at("odd").dtype), 99);
  EXPECT_EQ(model.graph->initializers.at("odd").data.view(), "??");
}

TEST(ReaderTest, DomainAiOnnxIsTheEmptyOne) {
  onnx::ModelProto proto = MatMulModel();
  proto.mutable_opset_import(0)->set_domain("ai.onnx");
  proto.mutable_graph()->mutable_node(0)->set_domain("ai.onnx");
  const Model model = ReadOrDie(proto);
  EXPECT_EQ(model.opset_imports.at(""), 17);
  EXPECT_EQ(model.graph->nodes[0]->domain, "");
  EXPECT_TRUE(VerifyModel(model).ok());
}

TEST(ReaderTest, NodesOutOfOrderAreSortedStably) {
  onnx::ModelProto proto = MatMulModel();
  proto.mutable_graph()->mutable_node()->SwapElements(0, 1);
  AddProtoNode(*proto.mutable_graph(), "Neg", {"x"}, {"n"});
  const Model model = ReadOrDie(proto);
  EXPECT_EQ(model.graph->nodes[0]->op_type, "MatMul");
  EXPECT_EQ(model.graph->nodes[1]->op_type, "Relu");
  EXPECT_EQ(model.graph->nodes[2]->op_type, "Neg");
  EXPECT_TRUE(VerifyModel(model).ok());
}

TEST(ReaderTest, SubgraphsKnowTheirParent) {
  onnx::ModelProto proto = MatMulModel();
  onnx::NodeProto& node = AddProtoNode(*proto.mutable_graph(), "If", {"c"}, {"z"});
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name("then_branch");
  attribute.set_type(onnx::AttributeProto::GRAPH);
  attribute.mutable_g()->set_name("then");
  const Model model = ReadOrDie(proto);
  const Attribute* then_branch = model.graph->nodes[2]->FindAttribute("then_branch");
  ASSERT_NE(then_branch, nullptr);
  ASSERT_EQ(then_branch->graphs.size(), 1u);
  EXPECT_EQ(then_branch->graphs[0]->parent, model.graph.get());
}

TEST(ReaderTest, AttributesWithoutATypeTakeThatOfTheirValue) {
  onnx::ModelProto proto = MatMulModel();
  onnx::AttributeProto& ints = *proto.mutable_graph()->mutable_node(0)->add_attribute();
  ints.set_name("axes");
  ints.add_ints(-1);
  ints.add_ints(2);
  const Model model = ReadOrDie(proto);
  EXPECT_EQ(model.graph->nodes[0]->attributes[0].kind, Attribute::Kind::kInts);
  EXPECT_THAT(model.graph->nodes[0]->attributes[0].ints, ElementsAre(-1, 2));
}

TEST(ReaderTest, ReferencesToFunctionAttributesHaveNoKind) {
  onnx::ModelProto proto = MatMulModel();
  onnx::AttributeProto& reference = *proto.mutable_graph()->mutable_node(0)->add_attribute();
  reference.set_name("value");
  reference.set_type(onnx::AttributeProto::TENSOR);
  reference.set_ref_attr_name("outer");
  const Model model = ReadOrDie(proto);
  EXPECT_EQ(model.graph->nodes[0]->attributes[0].kind, Attribute::Kind::kUndefined);
  onnx::AttributeProto extra;
  ASSERT_TRUE(extra.ParseFromString(model.graph->nodes[0]->attributes[0].extra));
  EXPECT_EQ(extra.ref_attr_name(), "outer");
}

TEST(ReaderRefusalTest, FilesThatAreNoModels) {
  ExpectRefused("", {"empty (0 bytes)"});
  ExpectRefused("\x08\x08", {"without a graph"});
  ExpectRefused("this is no protobuf at all, but text", {"at byte"});
  ExpectRefused(std::string(64, '\0'), {"field number 0"});
  ExpectRefused("\x3A\x00garbage", {"at byte"});
  ExpectRefused("\x38\x05", {"graph", "must be a string or message, got an integer"});
  ExpectRefused("\x3C", {"group"});
  const std::string twice = MatMulModel().SerializeAsString();
  ExpectRefused(twice + twice, {"graph", "occurs twice"});
}

TEST(ReaderRefusalTest, EveryPrefixOfAModel) {
  const std::string whole = MatMulModel().SerializeAsString();
  for (size_t length = 0; length < whole.size(); ++length) {
    const absl::StatusOr<Model> model = ReadModelFromBytes(whole.substr(0, length));
    // A cut between two fields leaves a sound protobuf; then something is missing, which the
    // verifier tells.
    const absl::Status status = model.ok() ? VerifyModel(*model) : model.status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << "prefix of " << length;
  }
}

TEST(ReaderRefusalTest, LengthsThatClaimTwoGigabytes) {
  // graph { node { ... 2^31 - 1 bytes
  ExpectRefused("\x3A\xFF\xFF\xFF\xFF\x07",
                {"field 7 at byte 0", "claims 2147483647 bytes, 0 are left"});
  ExpectRefused(std::string("\x3A\x07\x0A\xFF\xFF\xFF\xFF\x07x", 9),
                {"graph.field 1 at byte 2", "claims 2147483647"});
  // A tensor that claims them by its dims.
  onnx::ModelProto proto = MatMulModel();
  proto.mutable_graph()->mutable_initializer(0)->set_dims(0, int64_t{1} << 28);
  ExpectRefused(proto.SerializeAsString(),
                {"graph.initializer[0]", "'W'", "takes 3221225472 bytes, its data has 48"});
}

TEST(ReaderRefusalTest, GraphsNestedTooDeeply) {
  const std::string kind_graph = "\xA0\x01\x05";
  std::string graph;
  for (int depth = 0; depth < 400; ++depth) {
    graph = Field(1, Field(5, kind_graph + Field(6, graph)));
    if (depth == 20) {
      EXPECT_TRUE(ReadModelFromBytes(Field(7, graph)).ok());
    }
  }
  ExpectRefused(Field(7, graph), {"nested deeper than 24"});
}

TEST(ReaderRefusalTest, GroupsAndTypesNestedTooDeeply) {
  // Groups occur only in unknown fields; they are skipped without recursion, within a bound.
  ExpectRefused(std::string(100000, '\x7B'), {"nested deeper than 200"});
  // A sequence of sequences of ...
  std::string type;
  for (int depth = 0; depth < 300; ++depth) type = Field(4, Field(1, type));
  ExpectRefused(Field(7, Field(11, Field(1, "x") + Field(2, type))),
                {"graph.input[0]", "nested too deeply"});
}

TEST(ReaderRefusalTest, TensorsThatDisagreeWithThemselves) {
  struct Case {
    const char* message;
    std::function<void(onnx::TensorProto&)> spoil;
  };
  constexpr int64_t kHuge = int64_t{1} << 40;
  const std::vector<Case> cases = {
      {"with dims [4,3] takes 48 bytes, its data has 47",
       [](auto& t) { t.mutable_raw_data()->pop_back(); }},
      {"its data has 0", [](auto& t) { t.clear_raw_data(); }},
      {"negative dimension in dims [-4,3]", [](auto& t) { t.set_dims(0, -4); }},
      {"overflows", [](auto& t) { t.set_dims(0, kHuge), t.set_dims(1, kHuge); }},
      {"more bytes than can be counted",
       [](auto& t) { t.set_dims(0, std::numeric_limits<int64_t>::max() / 4); }},
      {"more than 64 dimensions",
       [](auto& t) {
         for (int i = 0; i < 70; ++i) t.add_dims(1);
       }},
      {"both in raw_data and in float_data", [](auto& t) { t.add_float_data(1); }},
      {"must be in raw_data or float_data, not in int64_data",
       [](auto& t) { t.clear_raw_data(), t.add_int64_data(1); }},
      {"as well", [](auto& t) { t.clear_raw_data(), t.add_int64_data(1), t.add_double_data(1); }},
      {"string must be in string_data", [](auto& t) { t.set_data_type(8); }},
      {"has 12 elements, string_data has 1",
       [](auto& t) { t.set_data_type(8), t.clear_raw_data(), t.add_string_data("x"); }},
      {"segment", [](auto& t) { t.mutable_segment()->set_begin(0); }},
  };
  for (const Case& c : cases) {
    onnx::ModelProto proto = MatMulModel();
    c.spoil(*proto.mutable_graph()->mutable_initializer(0));
    ExpectRefused(proto.SerializeAsString(), {"graph.initializer[0]", "at byte", c.message});
  }
}

TEST(ReaderRefusalTest, InitializerNamedTwice) {
  onnx::ModelProto proto = MatMulModel();
  *proto.mutable_graph()->add_initializer() = proto.graph().initializer(0);
  ExpectRefused(proto.SerializeAsString(), {"initializer 'W' occurs twice"});
}

TEST(ReaderRefusalTest, AttributesWithoutTheTensorOrGraphTheySpeakOf) {
  for (const auto type : {onnx::AttributeProto::TENSOR, onnx::AttributeProto::GRAPH}) {
    onnx::ModelProto proto = MatMulModel();
    onnx::AttributeProto& attribute = *proto.mutable_graph()->mutable_node(0)->add_attribute();
    attribute.set_name("value");
    attribute.set_type(type);
    ExpectRefused(proto.SerializeAsString(),
                  {"graph.node[0].attribute[0]", "'value' must have one"});
  }
}

TEST(ReaderRefusalTest, MissingFilesAndFilesOutsideTheFolder) {
  const testing::TempFolder folder(::testing::TempDir(), "reader_missing");
  EXPECT_EQ(ReadModel(folder.path(), "no.onnx").status().code(), absl::StatusCode::kNotFound);
  for (const char* path : {"../x.onnx", "/etc/passwd", "a/../../x.onnx", "", "."}) {
    EXPECT_EQ(ReadModel(folder.path(), path).status().code(), absl::StatusCode::kInvalidArgument)
        << path;
  }
  std::filesystem::create_directory(folder / "dir.onnx");
  EXPECT_EQ(ReadModel(folder.path(), "dir.onnx").status().code(),
            absl::StatusCode::kInvalidArgument);
  folder.Write("empty.onnx", "");
  const absl::Status empty = ReadModel(folder.path(), "empty.onnx").status();
  EXPECT_EQ(empty.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(empty.message()), HasSubstr("empty.onnx: is empty"));
}

}  // namespace
}  // namespace lathe::engine
