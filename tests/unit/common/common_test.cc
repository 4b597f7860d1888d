#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <limits>
#include <set>
#include <string>

#include "common/build_info.h"
#include "common/checked.h"
#include "common/digest.h"
#include "common/file_error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/status_reason.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

// FIPS 180-4 example "abc", and the empty string.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kEmpty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, KnownAnswers) {
  EXPECT_EQ(Sha256Hex("abc"), kAbc);
  EXPECT_EQ(Sha256Hex(""), kEmpty);
}

TEST(FileError, SaysWhatIsFullAndWhatToDo) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    const absl::Status status = FileError(error, "write /x/y");
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(status), kDiskFull);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write /x/y"));
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(error == EFBIG ? "--file-limit-mb" : "free space"));
  }
  const absl::Status other = FileError(ENOENT, "open /x/y");
  EXPECT_EQ(other.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(other), "");
}

TEST(Digest, StreamsAndCanBeReadMidway) {
  Sha256 sha;
  EXPECT_EQ(sha.HexDigest(), kEmpty);
  sha.Update("a");
  EXPECT_EQ(sha.HexDigest(), Sha256Hex("a"));
  sha.Update("bc");
  EXPECT_EQ(sha.HexDigest(), kAbc);
}

TEST(Digest, OfAFile) {
  const std::string path = ::testing::TempDir() + "/digest_" + std::to_string(getpid());
  std::ofstream(path, std::ios::binary) << "abc";
  const absl::StatusOr<FileDigest> digest = Sha256File(path);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->sha256, kAbc);
  EXPECT_EQ(digest->size_bytes, 3);
  std::remove(path.c_str());
  EXPECT_EQ(Sha256File(path).status().code(), absl::StatusCode::kNotFound);
}

TEST(Digest, ValidationRefusesWhatIsNotOne) {
  EXPECT_TRUE(ValidateDigest(kAbc).ok());
  EXPECT_FALSE(ValidateDigest("").ok());
  EXPECT_FALSE(ValidateDigest(std::string(64, 'g')).ok());
  EXPECT_FALSE(ValidateDigest(std::string(64, 'A')).ok());
  EXPECT_FALSE(ValidateDigest(std::string(63, 'a') + "/").ok());
  EXPECT_FALSE(ValidateDigest(std::string(65, 'a')).ok());
}

TEST(Checked, OverflowIsTold) {
  const int64_t big = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(CheckedAdd(big, 1));
  EXPECT_FALSE(CheckedMul(big, 2));
  EXPECT_EQ(CheckedMul(6, 7), 42);
  const int64_t overflow[] = {int64_t{1} << 32, int64_t{1} << 32};
  EXPECT_FALSE(CheckedProduct(overflow));
  const int64_t zero[] = {0, 5};
  EXPECT_EQ(CheckedProduct(zero), 0);
  const int64_t hidden[] = {0, int64_t{1} << 62, int64_t{1} << 62};  // zero elements, yet hostile
  EXPECT_FALSE(CheckedProduct(hidden));
  const int64_t negative[] = {2, -1};
  EXPECT_FALSE(CheckedProduct(negative));
  EXPECT_EQ(CheckedProduct({}), 1);
}

TEST(Ids, AreUniqueAndSortByTime) {
  RandomIdGenerator ids;
  std::set<std::string> seen;
  std::string last_prefix;
  for (int i = 0; i < 10000; ++i) {
    const std::string id = ids.NewId();
    EXPECT_EQ(id.size(), 20u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz"), std::string::npos);
    EXPECT_TRUE(seen.insert(id).second);
    EXPECT_GE(id.substr(0, 9), last_prefix);
    last_prefix = id.substr(0, 9);
  }
}

TEST(Log, OutsideTextCannotForgeLines) {
  InitLog(LogLevel::kInfo, LogFormat::kText, "test");
  ::testing::internal::CaptureStderr();
  LogInfo("uploaded\nFAKE error", {{"name", "a b\"\n2026 error"}, {"bytes", 42}});
  LogDebug("not shown");
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, HasSubstr("bytes=42"));
  EXPECT_THAT(text, HasSubstr("name=\"a b\\\"\\n2026 error\""));
}

TEST(Log, JsonLinesAreOneObjectEach) {
  InitLog(LogLevel::kWarning, LogFormat::kJson, "test");
  ::testing::internal::CaptureStderr();
  LogInfo("hidden");
  LogWarning("tab\there", {{"k", "v\x01"}});
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("\"message\":\"tab\\u0009here\",\"k\":\"v\\u0001\"}"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(BuildInfo, IdCarriesTheVersion) {
  EXPECT_EQ(std::string(BuildId()).rfind(std::string(Version()) + "+", 0), 0u);
  EXPECT_EQ(std::string(BuildId()).size(), std::string(Version()).size() + 1 + 16);
}

}  // namespace
}  // namespace lathe
