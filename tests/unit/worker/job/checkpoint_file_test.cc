// The state of a training run on disk: whole or not there.
#include "worker/job/checkpoint_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/temp_folder.h"

namespace lathe::worker {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class CheckpointFileTest : public ::testing::Test {
 protected:
  CheckpointFile Make(int64_t max_bytes = 1000) {
    return CheckpointFile(folder_.path(), 60, max_bytes, [this] { return now_; });
  }
  testing::TempFolder folder_;
  double now_ = 1000;
};

TEST_F(CheckpointFileTest, IsDueAnIntervalAfterTheStartAndAfterEachSave) {
  CheckpointFile file = Make();
  EXPECT_FALSE(file.Due());
  now_ += 59;
  EXPECT_FALSE(file.Due());
  now_ += 1;
  EXPECT_TRUE(file.Due());
  ASSERT_TRUE(file.Save({"state"}).ok());
  EXPECT_FALSE(file.Due());
  now_ += 60;
  EXPECT_TRUE(file.Due());
}

TEST_F(CheckpointFileTest, HoldsTheLastStateWhole) {
  CheckpointFile file = Make();
  EXPECT_EQ(*file.Save({"head ", "first"}), 10);
  EXPECT_EQ(ReadFile(file.path()), "head first");
  std::ifstream reader(file.path(), std::ios::binary);
  EXPECT_EQ(*file.Save({"x"}), 1);
  EXPECT_EQ(ReadFile(file.path()), "x");
  // Who had it open goes on reading what it was.
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "head first");
  EXPECT_FALSE(std::filesystem::exists(file.path() + ".part"));
}

TEST_F(CheckpointFileTest, AStateThatIsTooLargeOrCannotBeWrittenLeavesTheOneBefore) {
  CheckpointFile file = Make(/*max_bytes=*/5);
  ASSERT_TRUE(file.Save({"12345"}).ok());
  now_ += 60;
  const absl::Status large = file.Save({"123", "456"}).status();
  EXPECT_EQ(large.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(large.message()), ::testing::HasSubstr("6 bytes; at most 5"));
  EXPECT_FALSE(file.Due());                                  // not tried again at every step
  std::filesystem::create_directory(file.path() + ".part");  // in the way
  EXPECT_FALSE(file.Save({"6"}).ok());
  EXPECT_EQ(ReadFile(file.path()), "12345");
}

}  // namespace
}  // namespace lathe::worker
