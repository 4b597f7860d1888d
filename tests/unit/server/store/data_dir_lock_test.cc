#include "server/store/data_dir_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {
namespace {

TEST(DataDirLock, SecondOwnerIsRefusedWithDirectoryAndProcess) {
  TempFolder folder;
  auto first = DataDirLock::Acquire(folder.path());
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = DataDirLock::Acquire(folder.path());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), ::testing::HasSubstr(folder.path()));
  EXPECT_THAT(std::string(second.status().message()),
              ::testing::HasSubstr(absl::StrCat("process ", getpid())));
}

TEST(DataDirLock, IsFreeAgainAfterItsOwnerLetGo) {
  TempFolder folder;
  { ASSERT_TRUE(DataDirLock::Acquire(folder.path()).ok()); }
  EXPECT_TRUE(DataDirLock::Acquire(folder.path()).ok());
}

TEST(DataDirLock, GoesWithAKilledProcess) {
  TempFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto lock = DataDirLock::Acquire(folder.path());
    const char answer = lock.ok() ? 'y' : 'n';
    if (write(ready[1], &answer, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  const auto refused = DataDirLock::Acquire(folder.path());
  EXPECT_THAT(std::string(refused.status().message()),
              ::testing::HasSubstr(absl::StrCat("process ", child)));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(DataDirLock::Acquire(folder.path()).ok());
  close(ready[0]);
  close(ready[1]);
}

TEST(DataDirLock, IsNotInheritedByAnExecutedChild) {
  TempFolder folder;
  auto lock = DataDirLock::Acquire(folder.path());
  ASSERT_TRUE(lock.ok());
  const pid_t child = fork();
  if (child == 0) {
    execlp("sleep", "sleep", "60", nullptr);
    _exit(127);
  }
  // The child execs at its own pace: until then it shares the lock.
  const std::string exe = absl::StrCat("/proc/", child, "/comm");
  std::string name;
  while (name != "sleep" && kill(child, 0) == 0) {
    std::ifstream comm(exe);
    std::getline(comm, name);
  }
  lock->reset();
  EXPECT_TRUE(DataDirLock::Acquire(folder.path()).ok());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(DataDirLock, MakesAPrivateDirectory) {
  TempFolder folder;
  const std::string path = folder.File("a/b");
  ASSERT_TRUE(DataDirLock::Acquire(path).ok());
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST(DataDirLock, AFileInThePlaceOfTheDirectoryIsAnError) {
  TempFolder folder;
  std::ofstream(folder.File("data")) << "x";
  const auto lock = DataDirLock::Acquire(folder.File("data"));
  EXPECT_FALSE(lock.ok());
  EXPECT_THAT(std::string(lock.status().message()), ::testing::HasSubstr(folder.File("data")));
}

}  // namespace
}  // namespace lathe::server
