#include "worker/engine/fusion_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_folder.h"
#include "tests/unit/worker/engine/lint/quantized_models.h"
#include "worker/engine/evaluate/runtime_probe.h"
#include "worker/engine/graph/writer.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builders
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Saves what it is told to in place of what it was given.
class FakeRuntime : public RuntimeProbe {
 public:
  const std::string& version() const override { return version_; }
  absl::StatusOr<std::unique_ptr<RuntimeSession>> Open(const std::string& path,
                                                       const RuntimeOptions& options) override {
    opened_.push_back(path);
    EXPECT_EQ(options.optimization, GraphOptimization::kAll);
    EXPECT_EQ(options.model_bytes, 77);
    if (!error_.ok()) return error_;
    const std::filesystem::path saved(options.optimized_path);
    if (saves_ != nullptr) {
      EXPECT_TRUE(
          WriteModel(*saves_, saved.parent_path().string(), saved.filename().string()).ok());
    }
    return std::unique_ptr<RuntimeSession>();
  }

  absl::Status error_;
  const Model* saves_ = nullptr;
  std::vector<std::string> opened_;

 private:
  const std::string version_ = "9.8.7";
};

class FusionCheckTest : public ::testing::Test {
 protected:
  FusionCheckTest() {
    runtime_.runtime = [this]() -> absl::StatusOr<RuntimeProbe*> { return &fake_; };
    runtime_.scratch_folder = folder_.path();
    runtime_.model_bytes = 77;
  }
  FusionCheck Check(const Model& model) {
    auto check = CheckFusion(model, "model.onnx", runtime_);
    EXPECT_TRUE(check.ok()) << check.status();
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
    return check.ok() ? *std::move(check) : FusionCheck();
  }

  lathe::testing::TempFolder folder_;
  FakeRuntime fake_;
  InspectRuntime runtime_;
};

TEST_F(FusionCheckTest, WhatTheRuntimeSavedIsComparedWithWhatWasMeant) {
  const Model model = LinearModel();
  fake_.saves_ = &model;  // nothing fused
  const FusionCheck check = Check(model);
  EXPECT_EQ(fake_.opened_, std::vector<std::string>{"model.onnx"});
  ASSERT_THAT(check.findings, SizeIs(1));
  EXPECT_EQ(check.findings[0].rule, "not_fused");
  EXPECT_THAT(check.note, HasSubstr("the graph that ONNX Runtime 9.8.7 runs"));
}

TEST_F(FusionCheckTest, AFileThatIsNotLoadedIsAnError) {
  fake_.error_ = absl::InvalidArgumentError("no such operator");
  const FusionCheck check = Check(LinearModel());
  ASSERT_THAT(check.findings, SizeIs(1));
  EXPECT_EQ(check.findings[0].rule, "not_loaded");
  EXPECT_EQ(check.findings[0].severity, Severity::kError);
  EXPECT_THAT(check.findings[0].message, HasSubstr("no such operator"));
}

TEST_F(FusionCheckTest, WhatCannotBeToldIsANoteAndNoFinding) {
  fake_.error_ = absl::ResourceExhaustedError("too little memory");
  FusionCheck check = Check(LinearModel());
  EXPECT_THAT(check.findings, IsEmpty());
  EXPECT_THAT(check.note, HasSubstr("too little memory"));

  fake_.error_ = absl::OkStatus();  // and saves nothing
  check = Check(LinearModel());
  EXPECT_THAT(check.findings, IsEmpty());
  EXPECT_THAT(check.note, HasSubstr("could not be read"));

  runtime_.runtime = []() -> absl::StatusOr<RuntimeProbe*> {
    return absl::FailedPreconditionError("another library");
  };
  check = Check(LinearModel());
  EXPECT_THAT(check.findings, IsEmpty());
  EXPECT_THAT(check.note, HasSubstr("another library"));
}

TEST_F(FusionCheckTest, WhereThereIsNothingToFuseOrNobodyToAskNothingIsLoaded) {
  EXPECT_THAT(Check(FloatConvModel(16)).findings, IsEmpty());
  runtime_.scratch_folder.clear();
  EXPECT_TRUE(CheckFusion(LinearModel(), "model.onnx", runtime_).ok());
  runtime_ = {};
  EXPECT_TRUE(CheckFusion(LinearModel(), "model.onnx", runtime_).ok());
  EXPECT_THAT(fake_.opened_, IsEmpty());
}

}  // namespace
}  // namespace lathe::engine
