#include "worker/engine/graph/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <string>

#include "common/file_error.h"
#include "common/status_reason.h"
#include "google/protobuf/util/message_differencer.h"
#include "tests/support/onnx_models.h"
#include "worker/engine/graph/reader.h"

namespace lathe::engine {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::lathe::engine::testing::AddProtoNode;
using ::lathe::engine::testing::AddProtoWeight;
using ::lathe::engine::testing::MatMulModel;
using ::lathe::engine::testing::SetType;
using ::lathe::engine::testing::TempFolder;
using ::testing::HasSubstr;

onnx::ModelProto Reparse(const std::string& bytes) {
  onnx::ModelProto proto;
  EXPECT_TRUE(proto.ParseFromString(bytes));
  return proto;
}

std::string RoundTrip(const std::string& bytes) {
  const auto model = ReadModelFromBytes(bytes);
  EXPECT_TRUE(model.ok()) << model.status();
  const auto written = SerializeModel(*model);
  EXPECT_TRUE(written.ok()) << written.status();
  return *written;
}

// A model with something in every corner, also what the IR does not model and fields newer than
// libonnx.
onnx::ModelProto FullModel() {
  onnx::ModelProto model = MatMulModel();
  model.set_producer_version("3");
  model.set_domain("org.example");
  model.set_model_version(-7);
  model.set_doc_string("doc");
  onnx::StringStringEntryProto& entry = *model.add_metadata_props();
  entry.set_key("k");
  entry.set_value("v");
  onnx::OperatorSetIdProto& second = *model.add_opset_import();
  second.set_domain("org.example");
  second.set_version(3);
  model.add_training_info()->mutable_initialization()->set_name("train");
  model.mutable_unknown_fields()->AddLengthDelimited(26, "configuration");

  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_doc_string("graph doc");
  SetType(*graph.add_value_info(), "h", 3);
  graph.mutable_value_info(0)->set_doc_string("hidden");
  graph.mutable_value_info(0)->mutable_unknown_fields()->AddVarint(77, 5);
  graph.add_quantization_annotation()->set_tensor_name("W");
  graph.mutable_unknown_fields()->AddLengthDelimited(16, "graph metadata");
  onnx::SparseTensorProto& sparse = *graph.add_sparse_initializer();
  sparse.mutable_values()->set_name("sparse");
  sparse.mutable_values()->set_data_type(1);
  sparse.mutable_values()->add_dims(1);
  sparse.mutable_values()->add_float_data(4);
  sparse.mutable_indices()->set_data_type(7);
  sparse.mutable_indices()->add_dims(1);
  sparse.mutable_indices()->add_int64_data(2);
  sparse.add_dims(5);
  graph.mutable_initializer(0)->set_doc_string("weight doc");
  graph.mutable_initializer(0)->mutable_unknown_fields()->AddLengthDelimited(16, "tensor metadata");

  onnx::NodeProto& node = AddProtoNode(graph, "Everything", {"y", ""}, {"z", "", "q"});
  node.set_domain("org.example");
  node.set_doc_string("node doc");
  node.mutable_unknown_fields()->AddLengthDelimited(8, "overload");
  const auto add = [&](const std::string& name,
                       onnx::AttributeProto::AttributeType type) -> onnx::AttributeProto& {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(type);
    return attribute;
  };
  add("f", onnx::AttributeProto::FLOAT).set_f(0.5f);
  add("i", onnx::AttributeProto::INT).set_i(-3);
  add("s", onnx::AttributeProto::STRING).set_s(std::string("\0\xFF", 2));
  add("floats", onnx::AttributeProto::FLOATS).add_floats(1.5f);
  onnx::AttributeProto& ints = add("ints", onnx::AttributeProto::INTS);
  ints.add_ints(-1);
  ints.add_ints(int64_t{1} << 60);
  ints.set_doc_string("attribute doc");
  add("no ints", onnx::AttributeProto::INTS);
  add("strings", onnx::AttributeProto::STRINGS).add_strings("x");
  onnx::TensorProto& constant = *add("t", onnx::AttributeProto::TENSOR).mutable_t();
  constant.set_data_type(onnx::TensorProto::STRING);
  constant.add_dims(1);
  constant.add_string_data("text");
  onnx::TensorProto& odd = *add("tensors", onnx::AttributeProto::TENSORS).add_tensors();
  odd.set_data_type(99);
  odd.add_int32_data(1);
  onnx::GraphProto& body = *add("g", onnx::AttributeProto::GRAPH).mutable_g();
  body.set_name("body");
  AddProtoNode(body, "Identity", {"h"}, {"o"});
  body.add_output()->set_name("o");
  add("graphs", onnx::AttributeProto::GRAPHS).add_graphs()->set_name("one of many");
  add("type", onnx::AttributeProto::TYPE_PROTO)
      .mutable_tp()
      ->mutable_tensor_type()
      ->set_elem_type(1);
  add("sparse", onnx::AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor()->add_dims(9);
  onnx::AttributeProto& future = *node.add_attribute();
  future.set_name("future");
  future.mutable_unknown_fields()->AddVarint(20, 42);  // a kind nobody knows yet
  future.mutable_unknown_fields()->AddVarint(99, 1);

  onnx::FunctionProto& function = *model.add_functions();
  function.set_name("F");
  function.set_domain("org.example");
  function.add_input("a");
  function.add_output("b");
  function.add_attribute("alpha");
  function.set_doc_string("function doc");
  function.mutable_unknown_fields()->AddLengthDelimited(11, "attribute_proto");
  onnx::NodeProto& inner = *function.add_node();
  inner.set_op_type("LeakyRelu");
  inner.add_input("a");
  inner.add_output("b");
  onnx::AttributeProto& reference = *inner.add_attribute();
  reference.set_name("alpha");
  reference.set_type(onnx::AttributeProto::FLOAT);
  reference.set_ref_attr_name("alpha");
  function.add_opset_import()->set_version(17);
  return model;
}

TEST(WriterTest, ARoundTripKeepsEverything) {
  const onnx::ModelProto before = FullModel();
  const std::string written = RoundTrip(before.SerializeAsString());
  onnx::ModelProto after = Reparse(written);
  // The one freedom taken: domain "" is written out in opset imports.
  onnx::ModelProto expected = before;
  expected.mutable_functions(0)->mutable_opset_import(0)->set_domain("");
  MessageDifferencer differencer;
  std::string report;
  differencer.ReportDifferencesToString(&report);
  EXPECT_TRUE(differencer.Compare(expected, after)) << report;
}

TEST(WriterTest, ASecondRoundTripIsTheSameBytes) {
  const std::string once = RoundTrip(FullModel().SerializeAsString());
  EXPECT_EQ(RoundTrip(once), once);
}

TEST(WriterTest, ValueInfosThatWereNotTouchedAreTheSameBytes) {
  const std::string before = FullModel().graph().value_info(0).SerializeAsString();
  EXPECT_THAT(RoundTrip(FullModel().SerializeAsString()), HasSubstr(before));
}

TEST(WriterTest, AModifiedValueInfoKeepsWhatIsNotModelled) {
  auto model = ReadModelFromBytes(FullModel().SerializeAsString());
  ASSERT_TRUE(model.ok());
  ValueInfo& info = model->graph->value_infos.at("h");
  info.modified = true;
  info.dtype = DType::kFloat16;
  info.dims = std::vector<Dim>{Dim{2, ""}, Dim{std::nullopt, "n"}, Dim{}};
  const onnx::ModelProto after = Reparse(*SerializeModel(*model));
  const onnx::ValueInfoProto& written = after.graph().value_info(0);
  EXPECT_EQ(written.doc_string(), "hidden");
  EXPECT_EQ(written.unknown_fields().field_count(), 1);
  const auto& tensor = written.type().tensor_type();
  EXPECT_EQ(tensor.elem_type(), 10);
  ASSERT_EQ(tensor.shape().dim_size(), 3);
  EXPECT_EQ(tensor.shape().dim(0).dim_value(), 2);
  EXPECT_EQ(tensor.shape().dim(1).dim_param(), "n");
  EXPECT_FALSE(tensor.shape().dim(2).has_dim_value() || tensor.shape().dim(2).has_dim_param());
}

class WriterFileTest : public ::testing::Test {
 protected:
  WriterFileTest()
      : folder_(::testing::TempDir(),
                std::string("writer_") +
                    ::testing::UnitTest::GetInstance()->current_test_info()->name()) {}

  // 300 KiB in W (not a multiple of 64), 2 KiB in V, 8 bytes in B; a 4 KiB constant in a node.
  Model BigModel() {
    onnx::ModelProto proto = MatMulModel();
    onnx::GraphProto& graph = *proto.mutable_graph();
    AddProtoWeight(graph, "big", {300, 257}).mutable_raw_data()->replace(0, 3, "big");
    AddProtoWeight(graph, "medium", {512}).mutable_raw_data()->replace(0, 3, "med");
    AddProtoWeight(graph, "small", {2});
    onnx::NodeProto& node = AddProtoNode(graph, "Constant", {}, {"c"});
    onnx::AttributeProto& value = *node.add_attribute();
    value.set_name("value");
    value.set_type(onnx::AttributeProto::TENSOR);
    value.mutable_t()->set_data_type(1);
    value.mutable_t()->add_dims(1024);
    value.mutable_t()->set_raw_data(std::string(4096, 'c'));
    auto model = ReadModelFromBytes(proto.SerializeAsString());
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  TempFolder folder_;
};

TEST_F(WriterFileTest, OneFileHasTheBytesOfSerializeModel) {
  const Model model = BigModel();
  const auto files = WriteModel(model, folder_.path(), "m.onnx");
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 1u);
  const std::string written = folder_.Read("m.onnx");
  EXPECT_EQ((*files)[0].path, "m.onnx");
  EXPECT_EQ((*files)[0].size_bytes, static_cast<int64_t>(written.size()));
  EXPECT_TRUE(written == *SerializeModel(model));
}

TEST_F(WriterFileTest, PastTheLimitInitializersGoToADataFile) {
  const Model model = BigModel();
  WriteOptions options;
  options.max_single_file_bytes = 8000;
  const auto files = WriteModel(model, folder_.path(), "m.onnx", options);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[1].path, "m.onnx.data");
  EXPECT_EQ((*files)[1].size_bytes, static_cast<int64_t>(folder_.Read("m.onnx.data").size()));
  const onnx::ModelProto proto = Reparse(folder_.Read("m.onnx"));
  for (const onnx::TensorProto& tensor : proto.graph().initializer()) {
    const bool large = tensor.name() == "big" || tensor.name() == "medium";
    EXPECT_EQ(tensor.data_location() == onnx::TensorProto::EXTERNAL, large) << tensor.name();
    for (const auto& entry : tensor.external_data()) {
      if (entry.key() == "location") {
        EXPECT_EQ(entry.value(), "m.onnx.data");
      } else if (entry.key() == "offset") {
        EXPECT_EQ(std::stoll(entry.value()) % 64, 0);
      }
    }
  }
  EXPECT_FALSE(proto.graph().node(2).attribute(0).t().has_data_location());

  const auto again = ReadModel(folder_.path(), "m.onnx");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(*SerializeModel(*again) == *SerializeModel(model));
}

TEST_F(WriterFileTest, ConstantsInNodesFollowWhenThatIsNotEnough) {
  const Model model = BigModel();
  WriteOptions options;
  options.max_single_file_bytes = 2000;
  ASSERT_TRUE(WriteModel(model, folder_.path(), "m.onnx", options).ok());
  EXPECT_LT(folder_.Read("m.onnx").size(), 2000u);
  const auto again = ReadModel(folder_.path(), "m.onnx");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(*SerializeModel(*again) == *SerializeModel(model));
}

TEST_F(WriterFileTest, AModelCanBeWrittenOverItself) {
  const Model model = BigModel();
  WriteOptions options;
  options.max_single_file_bytes = 2000;
  ASSERT_TRUE(WriteModel(model, folder_.path(), "m.onnx", options).ok());
  const std::string data = folder_.Read("m.onnx.data");
  const auto mapped = ReadModel(folder_.path(), "m.onnx");
  ASSERT_TRUE(mapped.ok());
  ASSERT_TRUE(WriteModel(*mapped, folder_.path(), "m.onnx", options).ok());
  EXPECT_TRUE(folder_.Read("m.onnx.data") == data);
}

TEST_F(WriterFileTest, AFullDiskIsToldAndLeavesNothingBehind) {
  const Model model = BigModel();
  // A limit on file sizes is what a full disk looks like to write(2), short of mounting one.
  struct rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit low = {100 << 10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const absl::Status status = WriteModel(model, folder_.path(), "m.onnx").status();
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ReasonOf(status), kDiskFull);
  EXPECT_THAT(std::string(status.message()), HasSubstr("m.onnx"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--file-limit-mb"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(WriterFileTest, FoldersThatAreMissingOrLeftAreRefused) {
  const Model model = BigModel();
  EXPECT_EQ(WriteModel(model, folder_.path() + "/no", "m.onnx").status().code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(WriteModel(model, folder_.path(), "../m.onnx").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lathe::engine
