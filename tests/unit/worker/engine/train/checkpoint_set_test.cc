// The states of a run's training steps as one file.
#include "worker/engine/train/checkpoint_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "tests/support/temp_folder.h"

namespace lathe::engine {
namespace {

using ::testing::HasSubstr;

std::string Encode(const CheckpointSet& set) {
  std::string header;
  return absl::StrJoin(CheckpointPieces(set, &header), "");
}

CheckpointSet Example() {
  return {std::string(64, 'a'), {{0, "first\n state"}, {3, std::string("\0\xff", 2)}, {12, ""}}};
}

TEST(CheckpointSet, SurvivesTheFile) {
  const lathe::testing::TempFolder folder;
  const auto read = ReadCheckpointSet(folder.Write("state", Encode(Example())));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->identity, Example().identity);
  EXPECT_EQ(read->states, Example().states);
  EXPECT_TRUE(ParseCheckpointSet(Encode({std::string(64, '0'), {}})).ok());
}

TEST(CheckpointSet, EveryCutOfAFileIsRefused) {
  const std::string whole = Encode(Example());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(ParseCheckpointSet(whole.substr(0, bytes)).ok()) << bytes;
  }
}

TEST(CheckpointSet, WhatIsNoneIsRefusedWithTheReason) {
  const std::string id(64, 'a');
  struct Case {
    std::string bytes;
    const char* why;
  };
  const std::vector<Case> cases = {
      {"", "first line"},
      {std::string(limits::kMaxCheckpointHeaderBytes, ' ') + "\n", "first line"},
      {"LATHESET2 " + id + "\n", "begin as one"},
      {"LATHESET1\n", "begin as one"},
      {"LATHESET1 " + std::string(64, 'A') + "\n", "no digest"},
      {"LATHESET1 " + id + " 0\n", "list of steps"},
      {"LATHESET1 " + id + " -1:0\n", "list of steps"},
      {absl::StrCat("LATHESET1 ", id, " ", limits::kMaxSteps, ":0\n"), "list of steps"},
      {"LATHESET1 " + id + " 0:99999999999999999999\n", "list of steps"},
      {"LATHESET1 " + id + " 0:5\nfour", "ends early"},
      {"LATHESET1 " + id + " 0:18446744073709551615\nfour", "ends early"},
      {"LATHESET1 " + id + " 2:1 2:1\nab", "twice"},
      {"LATHESET1 " + id + " 0:1\nab", "follows"},
  };
  for (const Case& c : cases) {
    const auto read = ParseCheckpointSet(c.bytes);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(c.why)) << c.bytes.substr(0, 100);
  }
}

TEST(CheckpointSet, AFileThatIsNotThereIsNotFound) {
  const lathe::testing::TempFolder folder;
  EXPECT_TRUE(absl::IsNotFound(ReadCheckpointSet(folder.File("none")).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadCheckpointSet(folder.path()).status()));
}

}  // namespace
}  // namespace lathe::engine
