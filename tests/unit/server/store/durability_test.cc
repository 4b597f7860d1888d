// Acknowledged is durable: a process that creates jobs is killed at random points, again and again,
// and every job whose acknowledgement got out is there afterwards.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "server/store/sqlite_store.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {
namespace {

constexpr int kLives = 12;
constexpr int kThreads = 4;

// Creates jobs until it is killed; writes "name request-id" to `out` once the store has
// acknowledged. A line is shorter than PIPE_BUF, so lines of different threads never mix, and one
// is in the pipe whole or not at all.
[[noreturn]] void CreateJobsForever(const std::string& path, int life, int out) {
  const auto store = OpenOrDie(path);
  if (store == nullptr) _exit(1);
  const auto run = [&](int thread) {
    for (int i = 0;; ++i) {
      const std::string id = absl::StrCat(life, "-", thread, "-", i);
      const std::string name = absl::StrCat("jobs/", id);
      const absl::Status status = store->Write([&](WriteTransaction& tx) -> absl::Status {
        JobRecord job = MakeJob(name);
        RETURN_IF_ERROR(tx.InsertJob(&job));
        return tx.InsertRequest("s", id, RequestRecord{"fingerprint", name});
      });
      if (!status.ok()) _exit(2);
      const std::string line = absl::StrCat(name, " ", id, "\n");
      if (write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(3);
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back(run, thread);
  for (std::thread& thread : threads) thread.join();
  _exit(0);
}

TEST(Durability, EveryAcknowledgedJobSurvivesAKillAtAnyPoint) {
  TempFolder folder;
  const std::string path = folder.File("db");
  std::mt19937 random(20240607);
  std::vector<std::string> acknowledged;
  for (int life = 0; life < kLives; ++life) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(pipe_fds[0]);
      CreateJobsForever(path, life, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    // Killed after a random number of bytes of acknowledgements: the point of the commit it then is
    // in is random, too.
    const size_t kill_after = std::uniform_int_distribution<size_t>(1, 6000)(random);
    std::string text;
    char buffer[512];
    bool killed = false;
    for (ssize_t n; (n = read(pipe_fds[0], buffer, sizeof(buffer))) > 0;) {
      text.append(buffer, n);
      if (!killed && text.size() >= kill_after) {
        kill(child, SIGKILL);
        killed = true;
      }
    }
    close(pipe_fds[0]);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << WEXITSTATUS(status);
    for (const auto& line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      acknowledged.emplace_back(line);
    }
  }
  ASSERT_GT(acknowledged.size(), static_cast<size_t>(kLives));

  const auto store = OpenOrDie(path);
  ASSERT_NE(store, nullptr);
  ASSERT_TRUE(store
                  ->Read([&](ReadTransaction& tx) -> absl::Status {
                    for (const std::string& line : acknowledged) {
                      const std::vector<std::string> parts = absl::StrSplit(line, ' ');
                      EXPECT_TRUE(tx.GetJob(parts[0]).ok()) << parts[0] << " is lost";
                      // Retrying the request finds that one job.
                      ASSIGN_OR_RETURN(const auto request, tx.FindRequest("s", parts[1]));
                      EXPECT_TRUE(request.has_value() && request->resource == parts[0]) << line;
                    }
                    // And never a job without its request: a transaction is there whole or not at
                    // all.
                    ASSIGN_OR_RETURN(const auto jobs, tx.UnfinishedJobs());
                    EXPECT_GE(jobs.size(), acknowledged.size());
                    for (const JobRecord& job : jobs) {
                      const std::string id = job.job.name().substr(std::string("jobs/").size());
                      ASSIGN_OR_RETURN(const auto request, tx.FindRequest("s", id));
                      EXPECT_TRUE(request.has_value()) << job.job.name();
                    }
                    return absl::OkStatus();
                  })
                  .ok());
}

}  // namespace
}  // namespace lathe::server
