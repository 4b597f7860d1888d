#include "worker/agent/ort_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/temp_folder.h"

namespace lathe::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A program in place of lathe-job.
class OrtCheckTest : public ::testing::Test {
 protected:
  std::string Program(const std::string& body) {
    const std::string path = folder_.Write("job", "#!/bin/sh\n" + body + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  const lathe::testing::TempFolder folder_;
};

TEST_F(OrtCheckTest, TheVersionIsWhatTheProcessTells) {
  const auto version = CheckOrtLibrary(
      Program("test \"$1\" = --ort-version && test \"$2\" = /lib.so && echo 1.32.0"), "/lib.so");
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(*version, "1.32.0");
}

TEST_F(OrtCheckTest, TheProcessSeesNoneOfTheWorkersSecrets) {
  setenv("LATHE_TOKEN", "hush", 1);
  const auto version = CheckOrtLibrary(Program("echo \"v${LATHE_TOKEN}${HOME}\""), "/lib.so");
  unsetenv("LATHE_TOKEN");
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(*version, "v");
}

TEST_F(OrtCheckTest, WhatItSaysIsWrongIsPassedOn) {
  const auto version = CheckOrtLibrary(Program("echo 'too old' >&2; exit 1"), "/lib.so");
  EXPECT_EQ(version.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(version.status().message()),
              AllOf(HasSubstr("--ort-library"), HasSubstr("too old")));
}

TEST_F(OrtCheckTest, ALibraryThatCrashesIsRefused) {
  const auto version = CheckOrtLibrary(Program("echo 1.0; kill -SEGV $$"), "/lib.so");
  EXPECT_EQ(version.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(version.status().message()), HasSubstr("signal 11"));
}

TEST_F(OrtCheckTest, NoVersionAndEndlessOnesAreRefused) {
  for (const char* body : {"exit 0", "head -c 100000 /dev/zero | tr '\\0' x"}) {
    EXPECT_EQ(CheckOrtLibrary(Program(body), "/lib.so").status().code(),
              absl::StatusCode::kFailedPrecondition)
        << body;
  }
}

TEST_F(OrtCheckTest, OneThatNeverEndsIsEnded) {
  const auto version =
      CheckOrtLibrary(Program("exec sleep 600"), "/lib.so", absl::Milliseconds(50));
  EXPECT_EQ(version.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(OrtCheckTest, AMissingProgramIsNamed) {
  const auto version = CheckOrtLibrary("/nonexistent/lathe-job", "/lib.so");
  EXPECT_EQ(version.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(version.status().message()), HasSubstr("/nonexistent/lathe-job"));
}

}  // namespace
}  // namespace lathe::worker
