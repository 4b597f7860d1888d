// What agent and job tell each other survives the way, and nonsense is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "worker/job/event.h"
#include "worker/job/spec.h"

namespace lathe::worker {
namespace {

TEST(JobSpec, SurvivesEncoding) {
  JobSpec spec;
  spec.kind = JobKind::kInspect;
  spec.input_folder = "/in";
  spec.main_file = "a/b \"c\".onnx";
  spec.output_folder = "/out";
  spec.meta_folder = "/meta";
  spec.temp_folder = "/tmp";
  spec.recipe_json = R"({"steps":[]})";
  spec.bindings = {{"batch", 7}};
  spec.threads = 3;
  spec.files = {{"a", "digest", int64_t{1} << 40}};
  spec.datasets = {{"test", "digits", "other", "/data/0"}};
  spec.limits = {1, 2, 3};
  spec.parent_pid = 99;
  spec.ort_library = "/opt/libonnxruntime.so";
  spec.teacher_folder = "/teacher";
  spec.teacher_main_file = "t.onnx";
  spec.checkpoints = {"/states", 60, "/resume/state"};
  const auto decoded = DecodeJobSpec(EncodeJobSpec(spec));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(EncodeJobSpec(*decoded), EncodeJobSpec(spec));
  EXPECT_EQ(decoded->kind, JobKind::kInspect);
  EXPECT_EQ(decoded->main_file, spec.main_file);
  EXPECT_EQ(decoded->files[0].size_bytes, int64_t{1} << 40);
  EXPECT_EQ(decoded->bindings.at("batch"), 7);
  EXPECT_EQ(decoded->limits.cpu_seconds, 2);
  EXPECT_EQ(decoded->ort_library, spec.ort_library);
  EXPECT_EQ(decoded->teacher_main_file, "t.onnx");
  EXPECT_EQ(decoded->checkpoints.seconds, 60);
  EXPECT_EQ(decoded->checkpoints.resume, "/resume/state");
}

TEST(JobSpec, RefusesWhatIsNoSpec) {
  for (const char* text : {"", "{", "[]", "{}", R"({"kind": 7})"}) {
    EXPECT_EQ(DecodeJobSpec(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(JobEvent, SurvivesEncoding) {
  const auto progress = DecodeJobEvent(EncodeJobEvent(ProgressEvent{1, 2, "fp16", 0.25, "a\nb"}));
  ASSERT_TRUE(progress.ok());
  EXPECT_EQ(std::get<ProgressEvent>(*progress).message, "a\nb");
  EXPECT_EQ(std::get<ProgressEvent>(*progress).fraction, 0.25);
  const auto state = DecodeJobEvent(EncodeJobEvent(CheckpointEvent{int64_t{1} << 33}));
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(std::get<CheckpointEvent>(*state).size_bytes, int64_t{1} << 33);
  const auto result = DecodeJobEvent(EncodeJobEvent(ResultEvent{{{"m.onnx", 10}}, "", 3.5, 77}));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(std::get<ResultEvent>(*result).files[0].path, "m.onnx");
  EXPECT_EQ(std::get<ResultEvent>(*result).peak_rss_bytes, 77);
  const auto error = DecodeJobEvent(
      EncodeJobEvent(ErrorEvent{absl::StatusCode::kUnimplemented, "UNSUPPORTED_OP", "no", 5}));
  ASSERT_TRUE(error.ok());
  EXPECT_EQ(std::get<ErrorEvent>(*error).code, absl::StatusCode::kUnimplemented);
}

TEST(JobEvent, IsOneLineWhateverItHolds) {
  EXPECT_EQ(EncodeJobEvent(LogEvent{"a\nb\xff"}).find('\n'), std::string::npos);
}

TEST(JobEvent, RefusesNonsense) {
  for (const char* text :
       {"", "x", "{}", "[[[[", R"({"event":"dance"})", R"({"event":"progress","step_index":"one"})",
        R"({"event":"result","files":[{"path":3}]})"}) {
    EXPECT_EQ(DecodeJobEvent(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  const std::string deep(1 << 20, '[');
  EXPECT_FALSE(DecodeJobEvent(deep).ok());
}

TEST(JobEvent, ForcesNumbersIntoTheirRange) {
  const auto progress = DecodeJobEvent(
      R"({"event":"progress","step_index":0,"step_count":1,"stage":"x","fraction":1e300,"message":""})");
  ASSERT_TRUE(progress.ok());
  EXPECT_EQ(std::get<ProgressEvent>(*progress).fraction, 1);
  const auto nothing = DecodeJobEvent(
      EncodeJobEvent(ProgressEvent{0, 1, "x", std::numeric_limits<double>::quiet_NaN(), ""}));
  // JSON has no NaN: it arrives as null, which is no number.
  EXPECT_FALSE(nothing.ok());
}

TEST(CleanText, ReplacesAndCuts) {
  EXPECT_EQ(CleanText("fine", 10), "fine");
  EXPECT_EQ(CleanText("a\xffz", 10), "a\xef\xbf\xbdz");
  EXPECT_EQ(CleanText("abcdef", 3), "abc...");
  EXPECT_EQ(CleanText("\xc3\xa9\xc3\xa9", 3), "\xc3\xa9\xef\xbf\xbd...");
}

}  // namespace
}  // namespace lathe::worker
