// Local workers as real processes: a script that says how it was started, then waits to be stopped.
#include "server/supervisor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <set>

#include "absl/strings/str_split.h"
#include "tests/support/temp_folder.h"

namespace lathe::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Started {
  pid_t pid = 0;
  std::vector<std::string> arguments;
  // The value of a flag; "" without it.
  std::string Flag(const std::string& flag) const {
    for (size_t i = 0; i + 1 < arguments.size(); ++i) {
      if (arguments[i] == flag) return arguments[i + 1];
    }
    return "";
  }
  std::string name() const { return Flag("--name"); }
  std::string id() const { return Flag("--worker-id"); }
};

class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() {
    EXPECT_EQ(mkfifo(folder_.File("told").c_str(), 0600), 0);
    // Read and write, so that neither side waits for the other to open it.
    told_ = fdopen(open(folder_.File("told").c_str(), O_RDWR | O_CLOEXEC), "r+");
    options_.binary = Script("exec sleep 600");
    options_.folder = folder_.path();
    options_.workers = 1;
  }
  ~SupervisorTest() override { fclose(told_); }

  std::string Script(const std::string& then) {
    const std::string path = folder_.Write(
        "worker",
        absl::StrCat("#!/bin/sh\necho \"$$ $*\" > ", folder_.File("told"), "\n", then, "\n"));
    chmod(path.c_str(), 0700);
    return path;
  }
  // Waits for the next worker to tell that it runs.
  Started Next() {
    char line[4096];
    EXPECT_NE(fgets(line, sizeof(line), told_), nullptr);
    std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \n"), absl::SkipEmpty());
    Started out;
    out.pid = atoi(words[0].c_str());
    out.arguments.assign(words.begin() + 1, words.end());
    return out;
  }
  static bool Lives(pid_t pid) { return kill(pid, 0) == 0 || errno != ESRCH; }

  lathe::testing::TempFolder folder_;
  RandomIdGenerator ids_;
  SupervisorOptions options_;
  FILE* told_ = nullptr;
};

TEST_F(SupervisorTest, EachWorkerGetsTheCommonArgumentsAFolderAndAName) {
  options_.workers = 2;
  options_.arguments = {"--server", "127.0.0.1:1"};
  Supervisor supervisor(options_, &ids_);
  ASSERT_TRUE(supervisor.Start().ok());
  std::set<std::string> names;
  for (int i = 0; i < 2; ++i) {
    const Started started = Next();
    names.insert(started.name());
    const char index = started.name().back();
    EXPECT_THAT(started.arguments,
                ElementsAre("--server", "127.0.0.1:1", "--cache-dir",
                            folder_.File(absl::StrCat("worker-", std::string(1, index))), "--name",
                            absl::StrCat("local-", std::string(1, index)), "--worker-id",
                            StartsWith(absl::StrCat(started.name(), "-"))));
  }
  EXPECT_THAT(names, ElementsAre("local-0", "local-1"));
}

TEST_F(SupervisorTest, AWorkerThatDiesIsStartedAgain) {
  Supervisor supervisor(options_, &ids_);
  ASSERT_TRUE(supervisor.Start().ok());
  const Started first = Next();
  kill(first.pid, SIGKILL);
  const Started second = Next();
  EXPECT_EQ(second.name(), first.name());
  EXPECT_NE(second.pid, first.pid);
}

TEST_F(SupervisorTest, ADeathIsToldOnceWithTheIdOfThatLifeAndItsCause) {
  absl::Mutex mutex;
  std::vector<std::pair<std::string, std::string>> deaths;
  options_.on_exit = [&](const std::string& worker_id, const std::string& cause) {
    absl::MutexLock lock(&mutex);
    deaths.emplace_back(worker_id, cause);
  };
  Supervisor supervisor(options_, &ids_);
  ASSERT_TRUE(supervisor.Start().ok());
  const Started first = Next();
  kill(first.pid, SIGKILL);
  const Started second = Next();  // the death is told before
  EXPECT_NE(second.id(), first.id());
  supervisor.Stop();  // what it ends itself is no death
  absl::MutexLock lock(&mutex);
  ASSERT_EQ(deaths.size(), 1u);
  EXPECT_EQ(deaths[0].first, first.id());
  EXPECT_THAT(deaths[0].second, HasSubstr("signal 9"));
}

TEST_F(SupervisorTest, AWorkerThatEndsAtOnceIsTriedAgainAndAgain) {
  options_.binary = Script("exit 3");
  Supervisor supervisor(options_, &ids_);
  ASSERT_TRUE(supervisor.Start().ok());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Next().name(), "local-0");
}

TEST_F(SupervisorTest, StoppingEndsAllWorkers) {
  options_.workers = 3;
  std::set<pid_t> pids;
  Supervisor supervisor(options_, &ids_);
  ASSERT_TRUE(supervisor.Start().ok());
  for (int i = 0; i < 3; ++i) pids.insert(Next().pid);
  supervisor.Stop();
  for (const pid_t pid : pids) EXPECT_FALSE(Lives(pid));
  supervisor.Stop();  // once more changes nothing
}

TEST_F(SupervisorTest, AWorkerThatIgnoresTheSignalIsKilled) {
  options_.binary = Script("trap '' TERM\nexec sleep 600");
  options_.kill_after = absl::Milliseconds(50);
  Supervisor supervisor(options_, &ids_);
  ASSERT_TRUE(supervisor.Start().ok());
  const pid_t pid = Next().pid;
  supervisor.Stop();
  EXPECT_FALSE(Lives(pid));
}

TEST_F(SupervisorTest, AProgramThatCannotRunIsNamedWithTheFlags) {
  options_.binary = folder_.File("nothing");
  const absl::Status status = Supervisor(options_, &ids_).Start();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.binary));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--worker-binary"));
}

TEST_F(SupervisorTest, NoWorkersNeedNoProgram) {
  options_.binary = folder_.File("nothing");
  options_.workers = 0;
  EXPECT_TRUE(Supervisor(options_, &ids_).Start().ok());
}

}  // namespace
}  // namespace lathe::server
