#include "client/cli/data_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/recipe/text.h"
#include "tests/support/array_files.h"
#include "tests/support/temp_folder.h"

namespace lathe::cli {
namespace {

using ::lathe::testing::NpyFloats;
using ::lathe::testing::NpyInts;
using ::lathe::testing::Zip;
using ::lathe::testing::ZipPart;
using ::testing::HasSubstr;

// A field of a protobuf message: bytes, or a small number.
std::string Bytes(int number, const std::string& content) {
  std::string out;
  out.push_back(static_cast<char>(number << 3 | 2));
  out.push_back(static_cast<char>(content.size()));
  return out + content;
}
std::string Number(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}

// A ValueInfoProto of a float tensor; an axis below 0 is the symbol N.
std::string Info(const std::string& name, const std::vector<int>& dims) {
  std::string shape;
  for (const int dim : dims) shape += Bytes(1, dim < 0 ? Bytes(2, "N") : Number(1, dim));
  return Bytes(1, name) + Bytes(2, Bytes(1, Number(1, 1) + Bytes(2, shape)));
}

// ir_version, and a graph with the input pixels [N, 3, 4, 4] and an initializer that is an input.
std::string Onnx() {
  const std::string graph = Bytes(5, Number(2, 1) + Bytes(8, "w")) +
                            Bytes(11, Info("pixels", {-1, 3, 4, 4})) + Bytes(11, Info("w", {2})) +
                            Bytes(12, Info("scores", {-1, 5})) + Bytes(12, Info("more", {-1}));
  return Number(1, 8) + Bytes(7, graph);
}

class DataCheck : public ::testing::Test {
 protected:
  absl::Status Check(const std::vector<ZipPart>& parts, const std::string& sections = "") {
    return CheckData(folder_.Write("m.onnx", Onnx()), *ParseRecipe("steps: [fp16]\n" + sections),
                     {folder_.Write("d.npz", Zip(parts))});
  }
  std::string Refusal(const std::vector<ZipPart>& parts, const std::string& sections = "") {
    const absl::Status status = Check(parts, sections);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  lathe::testing::TempFolder folder_;
};

ZipPart Floats(const std::string& key, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return {.name = key + ".npy",
          .content = NpyFloats(shape, std::vector<float>(static_cast<size_t>(count)))};
}
ZipPart Ints(const std::string& key, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return {.name = key + ".npy",
          .content = NpyInts(shape, std::vector<int64_t>(static_cast<size_t>(count)))};
}

TEST_F(DataCheck, DataThatFitPass) {
  EXPECT_TRUE(Check({Floats("pixels", {2, 3, 4, 4}), Ints("labels", {2})}).ok());
  EXPECT_TRUE(Check({Ints("x", {2, 3, 4, 4})}).ok()) << "integers become floats";
  EXPECT_TRUE(
      Check({Floats("pixels", {2, 8, 8, 3})}, "preprocess: {layout: NHWC, resize: [4, 4]}").ok());
  EXPECT_TRUE(Check({Floats("pixels", {2, 3, 4, 4})}, "evaluate: {output: more}").ok());
}

TEST_F(DataCheck, WhatHeadersTellIsRefused) {
  EXPECT_THAT(Refusal({Floats("pixel", {2, 3, 4, 4})}),
              HasSubstr("d.npz: key 'pixel': the model has no such input; did you mean 'pixels'?"));
  EXPECT_THAT(Refusal({Ints("labels", {2})}),
              HasSubstr("holds no array for the input 'pixels'; it has the keys labels"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 3, 4, 5})}),
              HasSubstr("key 'pixels': expected float32 [N,3,4,4] for the input 'pixels', got "
                        "float32 [2,3,4,5]: axis 3 must be 4, not 5"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 48})}), HasSubstr("expected 4 axes"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 3, 4, 4}), Ints("labels", {3})}),
              HasSubstr("key 'labels': holds 3 examples, but 'pixels' holds 2"));
  EXPECT_THAT(Refusal({Floats("pixels", {0, 3, 4, 4})}), HasSubstr("holds no examples"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 3, 4, 4})}, "preprocess: {resize: [5, 5]}"),
              HasSubstr("an example of which is [3,5,5] after preprocess"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 3, 4, 4})}, "evaluate: {output: score}"),
              HasSubstr("evaluate.output: the model has no output 'score'; it has scores, more"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 3, 4, 4})}, "evaluate: {boxes_output: b}"),
              HasSubstr("evaluate.boxes_output"));
  const absl::Status text =
      CheckData(folder_.Write("m.onnx", Onnx()), *ParseRecipe("steps: [fp16]"),
                {folder_.Write("d.txt", "pixels,labels\n1,2\n")});
  EXPECT_EQ(text.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.message()), HasSubstr("d.txt"));
}

TEST_F(DataCheck, WhatIsNotReadHereIsLeftToTheJob) {
  const std::string data = folder_.Write("d.npz", Zip({Floats("pixel", {2})}));
  const Recipe recipe = *ParseRecipe("steps: [fp16]");
  EXPECT_TRUE(CheckData("models/abc", recipe, {data}).ok());
  const std::string whole = Onnx();
  for (size_t size = 0; size < whole.size(); ++size) {
    // Cut anywhere it is no ONNX file, or one without an end that can be missed here.
    const absl::Status status =
        CheckData(folder_.Write("cut.onnx", whole.substr(0, size)), recipe, {data});
    EXPECT_TRUE(status.ok()) << size << ": " << status;
  }
  EXPECT_TRUE(CheckData(folder_.Write("m.onnx", whole),
                        *ParseRecipe("steps: [fp16]\nevaluate: {task: none}"), {data})
                  .ok());
}

}  // namespace
}  // namespace lathe::cli
