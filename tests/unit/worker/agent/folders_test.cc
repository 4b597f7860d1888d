#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/ids.h"
#include "worker/agent/process_folder.h"
#include "worker/agent/work_folder.h"

namespace lathe::worker {
namespace {

namespace fs = std::filesystem;

class FoldersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/folders-" + RandomIdGenerator().NewId();
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string root_;
};

TEST_F(FoldersTest, WorkersShareACacheFolder) {
  const auto first = ProcessFolder::Create(root_, "a");
  const auto second = ProcessFolder::Create(root_, "b");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(fs::is_directory((*first)->path()));
  EXPECT_NE((*first)->path(), (*second)->path());
}

TEST_F(FoldersTest, WhatADeadWorkerLeftIsRemoved) {
  const pid_t child = fork();
  if (child == 0) {
    const auto folder = ProcessFolder::Create(root_, "dead");
    std::ofstream((*folder)->path() + "/left") << "bytes";
    _exit(0);  // as if killed: no destructor
  }
  waitpid(child, nullptr, 0);
  ASSERT_TRUE(fs::exists(root_ + "/worker-dead/left"));
  const auto folder = ProcessFolder::Create(root_, "next");
  ASSERT_TRUE(folder.ok());
  EXPECT_FALSE(fs::exists(root_ + "/worker-dead"));
}

TEST_F(FoldersTest, TheFolderGoesWithItsOwner) {
  std::string path;
  {
    const auto folder = ProcessFolder::Create(root_, "a");
    path = (*folder)->path();
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(FoldersTest, AFolderThatCannotBeIsNamed) {
  fs::create_directories(root_);
  std::ofstream(root_ + "/file") << "x";
  const auto folder = ProcessFolder::Create(root_ + "/file/below", "a");
  EXPECT_FALSE(folder.ok());
  EXPECT_THAT(folder.status().message(), ::testing::HasSubstr(root_ + "/file/below"));
}

TEST_F(FoldersTest, PlacesInputsAsLinksOrCopies) {
  const auto folder = WorkFolder::Create(root_);
  ASSERT_TRUE(folder.ok());
  std::ofstream(root_ + "/cached") << "weights";
  ASSERT_TRUE((*folder)->Place(root_ + "/cached", (*folder)->in(), "a/b/model", true).ok());
  ASSERT_TRUE((*folder)->Place(root_ + "/cached", (*folder)->in(), "copy", false).ok());
  EXPECT_EQ(fs::hard_link_count((*folder)->in() + "/a/b/model"), 2u);
  EXPECT_EQ(fs::hard_link_count((*folder)->in() + "/copy"), 1u);
  EXPECT_EQ(fs::file_size((*folder)->in() + "/copy"), 7u);
}

TEST_F(FoldersTest, PathsThatLeaveTheirFolderAreRefused) {
  const auto folder = WorkFolder::Create(root_);
  ASSERT_TRUE(folder.ok());
  std::ofstream(root_ + "/cached") << "x";
  for (const std::string& path :
       {std::string(""), std::string("/etc/passwd"), std::string("../up"), std::string("a/../../b"),
        std::string("./a"), std::string("a//b"), std::string("a/"), std::string("a\0b", 3),
        std::string(5000, 'a')}) {
    EXPECT_FALSE(IsSafeRelativePath(path)) << path;
    EXPECT_EQ((*folder)->Place(root_ + "/cached", (*folder)->in(), path, true).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(RegularFileBelow((*folder)->out(), path).ok());
  }
  EXPECT_TRUE(IsSafeRelativePath("a..b/...c"));
}

TEST_F(FoldersTest, LinksInAResultAreNotFollowed) {
  const auto folder = WorkFolder::Create(root_);
  ASSERT_TRUE(folder.ok());
  const std::string out = (*folder)->out();
  std::ofstream(out + "/real") << "x";
  fs::create_symlink("/etc/passwd", out + "/link");
  fs::create_symlink("/etc", out + "/folder");
  fs::create_directory(out + "/directory");
  EXPECT_TRUE(RegularFileBelow(out, "real").ok());
  for (const char* path : {"link", "folder/passwd", "directory", "missing"}) {
    EXPECT_EQ(RegularFileBelow(out, path).status().code(), absl::StatusCode::kInvalidArgument)
        << path;
  }
}

}  // namespace
}  // namespace lathe::worker
