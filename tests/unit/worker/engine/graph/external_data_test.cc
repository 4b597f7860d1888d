#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/onnx_models.h"
#include "worker/engine/graph/reader.h"

namespace lathe::engine {
namespace {

using ::lathe::engine::testing::MatMulModel;
using ::lathe::engine::testing::TempFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Entries = std::vector<std::pair<std::string, std::string>>;

onnx::ModelProto WithExternalWeight(const Entries& entries) {
  onnx::ModelProto model = MatMulModel();
  onnx::TensorProto& weight = *model.mutable_graph()->mutable_initializer(0);
  weight.clear_raw_data();
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : entries) {
    onnx::StringStringEntryProto& entry = *weight.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
  return model;
}

class ExternalDataTest : public ::testing::Test {
 protected:
  ExternalDataTest()
      : parent_(::testing::TempDir(),
                std::string("external_") +
                    ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::create_directories(parent_ / "model/sub");
    parent_.Write("model/w.bin", std::string(100, 'w'));
    parent_.Write("model/sub/w.bin", std::string(48, 's'));
    parent_.Write("secret.bin", std::string(100, '!'));
  }

  absl::StatusOr<Model> ReadWith(const Entries& entries) {
    parent_.Write("model/m.onnx", WithExternalWeight(entries).SerializeAsString());
    return ReadModel((parent_ / "model").string(), "m.onnx");
  }

  void ExpectRefused(const Entries& entries, const std::string& part) {
    const absl::Status status = ReadWith(entries).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    EXPECT_THAT(std::string(status.message()), HasSubstr("tensor 'W'"));
  }

  TempFolder parent_;
};

TEST_F(ExternalDataTest, IsBorrowedFromTheFile) {
  const auto model = ReadWith(
      {{"location", "w.bin"}, {"offset", "4"}, {"length", "48"}, {"checksum", "not looked at"}});
  ASSERT_TRUE(model.ok()) << model.status();
  const Tensor& weight = model->graph->initializers.at("W");
  EXPECT_EQ(weight.data.view(), std::string(48, 'w'));
  EXPECT_TRUE(weight.data.borrowed());
  EXPECT_THAT(model->source_files, ElementsAre("m.onnx", "w.bin"));
}

TEST_F(ExternalDataTest, OffsetAndLengthMayBeMissing) {
  EXPECT_TRUE(ReadWith({{"location", "w.bin"}}).ok());
  EXPECT_TRUE(ReadWith({{"location", "./sub//w.bin"}}).ok());
}

TEST_F(ExternalDataTest, LocationsAreRelativeToTheMainFile) {
  parent_.Write("model/m.onnx", WithExternalWeight({{"location", "w.bin"}}).SerializeAsString());
  const auto model = ReadModel(parent_.path(), "model/m.onnx");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(model->source_files, ElementsAre("model/m.onnx", "model/w.bin"));
}

TEST_F(ExternalDataTest, PathsThatLeaveTheFolderAreRefused) {
  ExpectRefused({{"location", "../secret.bin"}}, "contains '..'");
  ExpectRefused({{"location", "sub/../../secret.bin"}}, "contains '..'");
  ExpectRefused({{"location", (parent_ / "secret.bin").string()}}, "is absolute");
  ExpectRefused({{"location", std::string("w.bin\0x", 7)}}, "NUL");
  ExpectRefused({{"location", "."}}, "names no file");
}

TEST_F(ExternalDataTest, SymbolicLinksAreRefusedAnywhereInThePath) {
  std::filesystem::create_symlink("../secret.bin", parent_ / "model/link.bin");
  std::filesystem::create_directory_symlink("..", parent_ / "model/up");
  std::filesystem::create_symlink("w.bin", parent_ / "model/inside.bin");
  ExpectRefused({{"location", "link.bin"}}, "symbolic link");
  ExpectRefused({{"location", "up/secret.bin"}}, "symbolic link");
  ExpectRefused({{"location", "inside.bin"}}, "symbolic link");
}

TEST_F(ExternalDataTest, WhatIsNoFileIsRefused) {
  ExpectRefused({{"location", "missing.bin"}}, "does not exist");
  ExpectRefused({{"location", "sub"}}, "not a regular file");
  ExpectRefused({{"location", "w.bin/x"}}, "passes through");
  ExpectRefused({{"offset", "0"}}, "'location' (a file name) is missing");
}

TEST_F(ExternalDataTest, RangesThatDoNotFitAreRefused) {
  ExpectRefused({{"location", "w.bin"}, {"offset", "53"}},
                "has 100 bytes, the tensor needs 48 at offset 53");
  ExpectRefused({{"location", "w.bin"}, {"offset", "101"}}, "needs 48 at offset 101");
  ExpectRefused({{"location", "w.bin"}, {"offset", "9223372036854775807"}}, "needs 48 at offset");
  ExpectRefused({{"location", "w.bin"}, {"length", "44"}},
                "length 44 disagrees with type and dims, which take 48");
  for (const char* bad : {"-4", "+4", "0x10", "4 ", "", "99999999999999999999", "1e3"}) {
    ExpectRefused({{"location", "w.bin"}, {"offset", bad}}, "is not a number of bytes");
  }
}

TEST_F(ExternalDataTest, ElementsInBothPlacesAreRefused) {
  onnx::ModelProto model = WithExternalWeight({{"location", "w.bin"}});
  model.mutable_graph()->mutable_initializer(0)->set_raw_data(std::string(48, 'x'));
  parent_.Write("model/m.onnx", model.SerializeAsString());
  EXPECT_THAT(std::string(ReadModel((parent_ / "model").string(), "m.onnx").status().message()),
              HasSubstr("in the file as well"));
}

TEST_F(ExternalDataTest, ModelsFromBytesNeedAFolder) {
  const std::string bytes = WithExternalWeight({{"location", "w.bin"}}).SerializeAsString();
  EXPECT_THAT(std::string(ReadModelFromBytes(bytes).status().message()),
              HasSubstr("'w.bin' is not here"));
  EXPECT_TRUE(ReadModelFromBytes(bytes, (parent_ / "model").string()).ok());
}

}  // namespace
}  // namespace lathe::engine
