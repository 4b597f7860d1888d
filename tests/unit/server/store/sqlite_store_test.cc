#include "server/store/sqlite_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <vector>

#include "SQLiteCpp/Database.h"
#include "absl/synchronization/notification.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {
namespace {

using ::testing::ElementsAre;

// Whether a thread of this process waits for something.
bool Sleeps(int thread_id) {
  if (thread_id == 0) return false;
  std::ifstream file(absl::StrCat("/proc/self/task/", thread_id, "/stat"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.substr(name_end + 2, 1) == "S";
}

class SqliteStoreTest : public ::testing::Test {
 protected:
  void Reopen() {
    store_.reset();
    store_ = OpenOrDie(folder_.File("db"));
  }

  TempFolder folder_;
  std::unique_ptr<SqliteStore> store_ = OpenOrDie(folder_.File("db"));
};

TEST_F(SqliteStoreTest, JobKeepsEveryFieldAcrossReopening) {
  JobRecord job = MakeJob("jobs/1");
  job.tenant = "t";
  job.kind = v1::ATTEMPT_KIND_COMPRESS;
  ASSERT_TRUE(InsertJob(*store_, job).ok());
  JobRecord changed;
  ASSERT_TRUE(store_
                  ->Write([&](WriteTransaction& tx) -> absl::Status {
                    ASSIGN_OR_RETURN(changed, tx.GetJob("jobs/1"));
                    changed.job.set_state(v1::JOB_STATE_RUNNING);
                    changed.job.set_event_sequence(7);
                    changed.lease_token = 11;
                    changed.attempts_begun = 2;
                    changed.queued_time = absl::FromUnixMicros(1234567);
                    changed.pending_spent = absl::Microseconds(77);
                    changed.attempt_time = absl::FromUnixMicros(7654321);
                    changed.completed_token = 10;
                    changed.completed_outcome = "outcome";
                    changed.report_text_digest = DigestOf('t');
                    changed.log_lines = 3;
                    changed.log_bytes = 44;
                    changed.progress_events = 5;
                    return tx.UpdateJob(changed);
                  })
                  .ok());
  Reopen();
  JobRecord found;
  ASSERT_TRUE(store_
                  ->Read([&](ReadTransaction& tx) -> absl::Status {
                    ASSIGN_OR_RETURN(found, tx.GetJob("jobs/1"));
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(found.order, changed.order);
  EXPECT_EQ(found.tenant, "t");
  EXPECT_EQ(found.kind, v1::ATTEMPT_KIND_COMPRESS);
  EXPECT_EQ(found.job.SerializeAsString(), changed.job.SerializeAsString());
  EXPECT_EQ(found.attempt.SerializeAsString(), job.attempt.SerializeAsString());
  EXPECT_EQ(found.lease_token, 11);
  EXPECT_EQ(found.attempts_begun, 2);
  EXPECT_EQ(found.queued_time, absl::FromUnixMicros(1234567));
  EXPECT_EQ(found.pending_spent, absl::Microseconds(77));
  EXPECT_EQ(found.attempt_time, absl::FromUnixMicros(7654321));
  EXPECT_EQ(found.completed_token, 10);
  EXPECT_EQ(found.completed_outcome, "outcome");
  EXPECT_EQ(found.report_text_digest, DigestOf('t'));
  EXPECT_EQ(found.log_lines, 3);
  EXPECT_EQ(found.log_bytes, 44);
  EXPECT_EQ(found.progress_events, 5);
}

TEST_F(SqliteStoreTest, UnknownNamesAreNotFoundAndKnownOnesExistAlready) {
  EXPECT_TRUE(absl::IsNotFound(
      store_->Read([](ReadTransaction& tx) { return tx.GetModel("models/x").status(); })));
  EXPECT_TRUE(absl::IsNotFound(
      store_->Write([](WriteTransaction& tx) { return tx.DeleteModel("models/x"); })));
  EXPECT_TRUE(absl::IsNotFound(
      store_->Write([](WriteTransaction& tx) { return tx.AppendEvent("jobs/x", {}); })));
  ASSERT_TRUE(InsertJob(*store_, MakeJob("jobs/1")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(InsertJob(*store_, MakeJob("jobs/1"))));
}

TEST_F(SqliteStoreTest, PagesAreNewestFirstAndEndWithZero) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(InsertJob(*store_, MakeJob(absl::StrCat("jobs/", i))).ok());
  }
  JobRecord internal = MakeJob("jobs/inspect");
  internal.kind = v1::ATTEMPT_KIND_INSPECT;
  ASSERT_TRUE(InsertJob(*store_, internal).ok());
  std::vector<std::string> names;
  int64_t before = 0;
  int pages = 0;
  do {
    ASSERT_TRUE(store_
                    ->Read([&](ReadTransaction& tx) -> absl::Status {
                      ASSIGN_OR_RETURN(const auto page, tx.ListJobs({}, before, 2));
                      for (const auto& job : page.items) names.push_back(job.name());
                      before = page.next_before;
                      return absl::OkStatus();
                    })
                    .ok());
    ++pages;
  } while (before != 0);
  EXPECT_THAT(names, ElementsAre("jobs/4", "jobs/3", "jobs/2", "jobs/1", "jobs/0"));
  EXPECT_EQ(pages, 3);
}

TEST_F(SqliteStoreTest, ListFiltersByStateAndModel) {
  JobRecord other = MakeJob("jobs/other");
  other.job.set_model("models/other");
  JobRecord failed = MakeJob("jobs/failed");
  failed.job.set_state(v1::JOB_STATE_FAILED);
  for (const JobRecord& job : {MakeJob("jobs/1"), other, failed}) {
    ASSERT_TRUE(InsertJob(*store_, job).ok());
  }
  const auto list = [&](const JobFilter& filter) {
    std::vector<std::string> names;
    EXPECT_TRUE(store_
                    ->Read([&](ReadTransaction& tx) -> absl::Status {
                      ASSIGN_OR_RETURN(const auto page, tx.ListJobs(filter, 0, 10));
                      for (const auto& job : page.items) names.push_back(job.name());
                      return absl::OkStatus();
                    })
                    .ok());
    return names;
  };
  EXPECT_THAT(list({v1::JOB_STATE_FAILED, ""}), ElementsAre("jobs/failed"));
  EXPECT_THAT(list({v1::JOB_STATE_UNSPECIFIED, "models/other"}), ElementsAre("jobs/other"));
  EXPECT_THAT(list({v1::JOB_STATE_PENDING, "models/m"}), ElementsAre("jobs/1"));
  EXPECT_THAT(list({v1::JOB_STATE_SUCCEEDED, ""}), ElementsAre());
}

TEST_F(SqliteStoreTest, LeaseTokensGrowAcrossReopeningAndNeverRepeatAfterARollback) {
  int64_t last = 0;
  for (int life = 0; life < 3; ++life) {
    for (int i = 0; i < 5; ++i) {
      int64_t token = 0;
      ASSERT_TRUE(store_
                      ->Write([&](WriteTransaction& tx) -> absl::Status {
                        ASSIGN_OR_RETURN(token, tx.NextLeaseToken());
                        return absl::OkStatus();
                      })
                      .ok());
      EXPECT_GT(token, last);
      last = token;
    }
    Reopen();
  }
}

TEST_F(SqliteStoreTest, AFailedTransactionKeepsNothing) {
  const absl::Status status = store_->Write([](WriteTransaction& tx) -> absl::Status {
    JobRecord job = MakeJob("jobs/1");
    RETURN_IF_ERROR(tx.InsertJob(&job));
    RETURN_IF_ERROR(tx.InsertModel(MakeModel("models/m", 'a')));
    return absl::AbortedError("no");
  });
  EXPECT_TRUE(absl::IsAborted(status));
  EXPECT_FALSE(HasJob(*store_, "jobs/1"));
  EXPECT_TRUE(absl::IsNotFound(
      store_->Read([](ReadTransaction& tx) { return tx.GetModel("models/m").status(); })));
}

// Holds the writer in one transaction until others have queued, so that they surely share the next
// commit.
// Another caller's thread may run the work, so its exception must end where it was thrown.
TEST_F(SqliteStoreTest, AWriteThatThrowsKeepsNothingAndTheStoreGoesOn) {
  const absl::Status thrown = store_->Write([](WriteTransaction& tx) -> absl::Status {
    JobRecord record = MakeJob("jobs/half");
    EXPECT_TRUE(tx.InsertJob(&record).ok());
    throw std::runtime_error("a bug");
  });
  EXPECT_EQ(thrown.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(thrown.message()), ::testing::HasSubstr("a bug"));
  EXPECT_FALSE(HasJob(*store_, "jobs/half"));
  EXPECT_TRUE(InsertJob(*store_, MakeJob("jobs/whole")).ok());
}

TEST_F(SqliteStoreTest, WritesThatWaitShareACommitAndAFailureUndoesOnlyItself) {
  store_.reset();
  SqliteStoreOptions options;
  options.path = folder_.File("db");
  std::vector<int> commits;
  options.on_commit = [&](absl::Duration, int writes) { commits.push_back(writes); };
  store_ = OpenOrDie(options);

  absl::Notification entered;
  absl::Notification leave;
  std::thread holder([&] {
    EXPECT_TRUE(store_
                    ->Write([&](WriteTransaction&) {
                      entered.Notify();
                      leave.WaitForNotification();
                      return absl::OkStatus();
                    })
                    .ok());
  });
  entered.WaitForNotification();
  constexpr int kWriters = 8;
  std::vector<absl::Status> statuses(kWriters);
  std::vector<std::thread> writers;
  std::vector<std::atomic<int>> thread_ids(kWriters);
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      thread_ids[i].store(gettid());
      statuses[i] = store_->Write([i](WriteTransaction& tx) -> absl::Status {
        JobRecord job = MakeJob(absl::StrCat("jobs/", i));
        RETURN_IF_ERROR(tx.InsertJob(&job));
        if (i == 3) return absl::InvalidArgumentError("three is refused");
        if (i == 5) {  // a duplicate is refused by the database itself
          JobRecord again = MakeJob("jobs/5");
          return tx.InsertJob(&again);
        }
        return absl::OkStatus();
      });
    });
  }
  // A thread that has said who it is and sleeps has queued its write: the writer is held, so
  // nothing else can stop it.
  for (int i = 0; i < kWriters; ++i) {
    while (!Sleeps(thread_ids[i].load())) std::this_thread::yield();
  }
  leave.Notify();
  for (std::thread& writer : writers) writer.join();
  holder.join();
  for (int i = 0; i < kWriters; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(HasJob(*store_, absl::StrCat("jobs/", i)), i != 3 && i != 5);
    if (i == 3) {
      EXPECT_TRUE(absl::IsInvalidArgument(statuses[i]));
    } else if (i == 5) {
      EXPECT_TRUE(absl::IsAlreadyExists(statuses[i]));
    } else {
      EXPECT_TRUE(statuses[i].ok()) << statuses[i];
    }
  }
  EXPECT_THAT(commits, ElementsAre(1, kWriters));
}

TEST_F(SqliteStoreTest, ConcurrentWritersAllSucceedInFewerCommitsThanWrites) {
  store_.reset();
  SqliteStoreOptions options;
  options.path = folder_.File("db");
  std::atomic<int> commits{0};
  options.on_commit = [&](absl::Duration, int) { commits.fetch_add(1); };
  store_ = OpenOrDie(options);
  constexpr int kThreads = 16;
  constexpr int kEach = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        EXPECT_TRUE(InsertJob(*store_, MakeJob(absl::StrCat("jobs/", t, "-", i))).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<int64_t> counts;
  ASSERT_TRUE(store_
                  ->Read([&](ReadTransaction& tx) -> absl::Status {
                    ASSIGN_OR_RETURN(counts, tx.CountJobs());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(counts[v1::JOB_STATE_PENDING], kThreads * kEach);
  EXPECT_LT(commits.load(), kThreads * kEach);
}

TEST_F(SqliteStoreTest, ReadersSeeWhatWasAcknowledgedAndNothingInBetween) {
  // Each write inserts a pair; a reader must never see half of one.
  std::atomic<bool> stop{false};
  std::atomic<int64_t> acknowledged{0};
  std::thread writer([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_TRUE(store_
                      ->Write([&](WriteTransaction& tx) -> absl::Status {
                        JobRecord a = MakeJob(absl::StrCat("jobs/a", i));
                        JobRecord b = MakeJob(absl::StrCat("jobs/b", i));
                        RETURN_IF_ERROR(tx.InsertJob(&a));
                        return tx.InsertJob(&b);
                      })
                      .ok());
      acknowledged.store(2 * (i + 1));
    }
    stop.store(true);
  });
  while (!stop.load()) {
    const int64_t before = acknowledged.load();
    int64_t pending = 0;
    ASSERT_TRUE(store_
                    ->Read([&](ReadTransaction& tx) -> absl::Status {
                      ASSIGN_OR_RETURN(const auto counts, tx.CountJobs());
                      pending = counts[v1::JOB_STATE_PENDING];
                      return absl::OkStatus();
                    })
                    .ok());
    EXPECT_EQ(pending % 2, 0);
    EXPECT_GE(pending, before);
  }
  writer.join();
}

TEST_F(SqliteStoreTest, EventsAndLogsComeInOrderAfterASequence) {
  ASSERT_TRUE(InsertJob(*store_, MakeJob("jobs/1")).ok());
  ASSERT_TRUE(store_
                  ->Write([](WriteTransaction& tx) -> absl::Status {
                    for (int i = 1; i <= 6; ++i) {
                      v1::JobEvent event;
                      event.set_sequence(i);
                      if (i % 2 == 0) {
                        event.mutable_log()->set_line(absl::StrCat("line ", i));
                        event.mutable_log()->set_sequence(i);
                      } else {
                        event.mutable_progress()->set_fraction(i);
                      }
                      RETURN_IF_ERROR(tx.AppendEvent("jobs/1", event));
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  std::vector<int64_t> events;
  std::vector<std::string> lines;
  ASSERT_TRUE(store_
                  ->Read([&](ReadTransaction& tx) -> absl::Status {
                    ASSIGN_OR_RETURN(const auto found, tx.EventsAfter("jobs/1", 2, 3));
                    for (const auto& event : found) events.push_back(event.sequence());
                    ASSIGN_OR_RETURN(const auto logs, tx.LogsAfter("jobs/1", 2, 10));
                    for (const auto& log : logs) lines.push_back(log.line());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_THAT(events, ElementsAre(3, 4, 5));
  EXPECT_THAT(lines, ElementsAre("line 4", "line 6"));
  // A sequence that exists is refused: events never change.
  EXPECT_TRUE(absl::IsAlreadyExists(store_->Write([](WriteTransaction& tx) {
    v1::JobEvent event;
    event.set_sequence(6);
    return tx.AppendEvent("jobs/1", event);
  })));
}

TEST_F(SqliteStoreTest, ThinningHalvesProgressKeepsTheNewestAndLeavesLogsAlone) {
  ASSERT_TRUE(InsertJob(*store_, MakeJob("jobs/1")).ok());
  int64_t left = 0;
  std::vector<int64_t> sequences;
  ASSERT_TRUE(store_
                  ->Write([&](WriteTransaction& tx) -> absl::Status {
                    for (int i = 1; i <= 7; ++i) {
                      v1::JobEvent event;
                      event.set_sequence(i);
                      if (i == 2) {
                        event.mutable_log()->set_line("a line");
                      } else {
                        event.mutable_progress();
                      }
                      RETURN_IF_ERROR(tx.AppendEvent("jobs/1", event));
                    }
                    ASSIGN_OR_RETURN(left, tx.ThinProgressEvents("jobs/1"));
                    sequences.clear();
                    ASSIGN_OR_RETURN(const auto events, tx.EventsAfter("jobs/1", 0, 100));
                    for (const auto& event : events) sequences.push_back(event.sequence());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(left, 3);
  EXPECT_THAT(sequences, ElementsAre(2, 3, 5, 7));
}

TEST_F(SqliteStoreTest, DeletingAJobTakesItsEvents) {
  ASSERT_TRUE(InsertJob(*store_, MakeJob("jobs/1")).ok());
  ASSERT_TRUE(store_
                  ->Write([](WriteTransaction& tx) -> absl::Status {
                    v1::JobEvent event;
                    event.set_sequence(1);
                    event.mutable_progress();
                    RETURN_IF_ERROR(tx.AppendEvent("jobs/1", event));
                    RETURN_IF_ERROR(tx.DeleteJob("jobs/1"));
                    JobRecord again = MakeJob("jobs/1");
                    RETURN_IF_ERROR(tx.InsertJob(&again));
                    return tx.AppendEvent("jobs/1", event);  // its sequence is free
                  })
                  .ok());
}

TEST_F(SqliteStoreTest, ThePositionOfADeletedJobIsNeverGivenAgain) {
  const auto insert = [&](const char* name, v1::AttemptKind kind) {
    JobRecord record = MakeJob(name);
    record.kind = kind;
    EXPECT_TRUE(store_->Write([&](WriteTransaction& tx) { return tx.InsertJob(&record); }).ok());
    return record.order;
  };
  insert("jobs/1", v1::ATTEMPT_KIND_COMPRESS);
  const int64_t newest = insert("jobs/2", v1::ATTEMPT_KIND_COMPRESS);
  ASSERT_TRUE(store_->Write([](WriteTransaction& tx) { return tx.DeleteJob("jobs/2"); }).ok());
  // Also after a restart, which has nothing but the file to know it from.
  store_.reset();
  store_ = OpenOrDie(folder_.File("db"));
  const int64_t internal = insert("jobs/3", v1::ATTEMPT_KIND_INSPECT);
  EXPECT_GT(internal, newest);
  ASSERT_TRUE(store_->Write([](WriteTransaction& tx) { return tx.DeleteInternalJobs(); }).ok());
  EXPECT_GT(insert("jobs/4", v1::ATTEMPT_KIND_COMPRESS), internal);
}

TEST_F(SqliteStoreTest, OrphanRequestsGoAndOthersStay) {
  ASSERT_TRUE(InsertJob(*store_, MakeJob("jobs/1")).ok());
  int64_t dropped = 0;
  ASSERT_TRUE(store_
                  ->Write([&](WriteTransaction& tx) -> absl::Status {
                    RETURN_IF_ERROR(tx.InsertRequest("s", "kept", {"f", "jobs/1"}));
                    RETURN_IF_ERROR(tx.InsertRequest("s", "orphan", {"f", "jobs/gone"}));
                    ASSIGN_OR_RETURN(dropped, tx.DeleteOrphanRequests(absl::InfiniteFuture()));
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(dropped, 1);
  ASSERT_TRUE(store_
                  ->Read([&](ReadTransaction& tx) -> absl::Status {
                    ASSIGN_OR_RETURN(const auto kept, tx.FindRequest("s", "kept"));
                    EXPECT_TRUE(kept.has_value());
                    ASSIGN_OR_RETURN(const auto orphan, tx.FindRequest("s", "orphan"));
                    EXPECT_FALSE(orphan.has_value());
                    ASSIGN_OR_RETURN(const auto other, tx.FindRequest("other scope", "kept"));
                    EXPECT_FALSE(other.has_value());
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(SqliteStoreTest, ADamagedRowIsDataLossAndNamesTheJob) {
  ASSERT_TRUE(InsertJob(*store_, MakeJob("jobs/1")).ok());
  store_.reset();
  SQLite::Database(folder_.File("db"), SQLite::OPEN_READWRITE)
      .exec("UPDATE jobs SET body = x'ff' WHERE name = 'jobs/1'");
  store_ = OpenOrDie(folder_.File("db"));
  const absl::Status status =
      store_->Read([](ReadTransaction& tx) { return tx.GetJob("jobs/1").status(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(status), "STORAGE_CORRUPT");
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("jobs/1"));
}

}  // namespace
}  // namespace lathe::server
