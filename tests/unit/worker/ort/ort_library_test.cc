// What is refused as ONNX Runtime's library. What it does is tested with a real one:
// tests/conformance/test_onnxruntime.py.
#include "worker/ort/ort_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace lathe::ort {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void ExpectRefused(const std::string& path, absl::StatusCode code, const char* why) {
  const auto library = OrtLibrary::Load(path, {});
  ASSERT_FALSE(library.ok()) << path;
  EXPECT_EQ(library.status().code(), code) << library.status();
  EXPECT_THAT(std::string(library.status().message()),
              AllOf(HasSubstr(path), HasSubstr(why), HasSubstr("--ort-library")));
}

TEST(OrtLibraryTest, AFileThatDoesNotExist) {
  ExpectRefused("/nonexistent/libonnxruntime.so", absl::StatusCode::kNotFound, "there is no file");
}

TEST(OrtLibraryTest, AFolder) {
  ExpectRefused(::testing::TempDir(), absl::StatusCode::kNotFound, "there is no file");
}

TEST(OrtLibraryTest, AFileThatIsNoLibrary) {
  const lathe::testing::TempFolder folder;
  ExpectRefused(folder.Write("libonnxruntime.so", "text"), absl::StatusCode::kFailedPrecondition,
                "cannot be loaded");
}

TEST(OrtLibraryTest, AnotherLibrary) {
  ExpectRefused(LATHE_OTHER_LIBRARY, absl::StatusCode::kFailedPrecondition, "no OrtGetApiBase");
}

TEST(OrtLibraryTest, AVersionThatIsTooOld) {
  ExpectRefused(LATHE_FAKE_OLD_ORT, absl::StatusCode::kFailedPrecondition, "is version 1.4.0");
}

TEST(OrtLibraryTest, AVersionThatIsNone) {
  ExpectRefused(LATHE_FAKE_ODD_ORT, absl::StatusCode::kFailedPrecondition,
                "does not tell its version");
}

}  // namespace
}  // namespace lathe::ort
