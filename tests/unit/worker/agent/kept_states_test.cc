#include "worker/agent/kept_states.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/temp_folder.h"

namespace lathe::worker {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const std::optional<std::string>& path) {
  if (!path) return "(none)";
  std::ifstream in(*path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class KeptStatesTest : public ::testing::Test {
 protected:
  KeptStatesTest() { fs::create_directories(folder_.File("states")); }
  void Keep(const std::string& job, int64_t token, const std::string& bytes) {
    // As the job does it: a new file takes the name of the old one.
    fs::rename(folder_.Write("part", bytes), folder_.File("state"));
    const auto kept = states_.Keep(job, token, folder_.File("state"));
    ASSERT_TRUE(kept.ok()) << kept.status();
    EXPECT_EQ(ReadFile(*kept), bytes);
  }
  int64_t Files() const {
    return std::distance(fs::directory_iterator(folder_.File("states")), fs::directory_iterator());
  }

  lathe::testing::TempFolder folder_;
  KeptStates states_{folder_.File("states"), 2};
};

TEST_F(KeptStatesTest, TheLastOfAJobIsKeptWhateverBecomesOfItsFile) {
  Keep("jobs/a", 1, "first");
  Keep("jobs/a", 1, "second");
  fs::rename(folder_.Write("part", "third"), folder_.File("state"));
  EXPECT_EQ(ReadFile(states_.Find("jobs/a", 1)), "second");
  fs::remove(folder_.File("state"));
  EXPECT_EQ(ReadFile(states_.Find("jobs/a", 0)), "second");
  EXPECT_EQ(Files(), 1);
  EXPECT_EQ(states_.Find("jobs/a", 2), std::nullopt);
  EXPECT_EQ(states_.Find("jobs/b", 0), std::nullopt);
  states_.Forget("jobs/a");
  EXPECT_EQ(states_.Find("jobs/a", 0), std::nullopt);
  EXPECT_EQ(Files(), 0);
}

TEST_F(KeptStatesTest, TheLeastLatelyKeptGoesFirst) {
  Keep("jobs/a", 1, "a");
  Keep("jobs/b", 2, "b");
  Keep("jobs/a", 1, "a again");
  Keep("jobs/c", 3, "c");
  EXPECT_EQ(ReadFile(states_.Find("jobs/a", 0)), "a again");
  EXPECT_EQ(ReadFile(states_.Find("jobs/b", 0)), "(none)");
  EXPECT_EQ(ReadFile(states_.Find("jobs/c", 0)), "c");
  EXPECT_EQ(Files(), 2);
}

TEST_F(KeptStatesTest, WhatIsNoPlainFileIsRefusedAndTheOneBeforeStays) {
  Keep("jobs/a", 1, "good");
  fs::remove(folder_.File("state"));
  fs::create_symlink("/etc/passwd", folder_.File("state"));
  EXPECT_EQ(states_.Keep("jobs/a", 1, folder_.File("state")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(states_.Keep("jobs/a", 1, folder_.File("none")).ok());
  EXPECT_EQ(ReadFile(states_.Find("jobs/a", 1)), "good");
  EXPECT_EQ(Files(), 1);
}

}  // namespace
}  // namespace lathe::worker
