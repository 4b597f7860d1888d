// Full disks and limits: a clean error, an intact database, and work again once there is room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <thread>
#include <vector>

#include "SQLiteCpp/Column.h"
#include "SQLiteCpp/Database.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/store/sqlite_error.h"
#include "server/store/sqlite_store.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {
namespace {

JobRecord BigJob(const std::string& name, size_t bytes) {
  JobRecord job = MakeJob(name);
  (*job.job.mutable_labels())["padding"] = std::string(bytes, 'x');
  return job;
}

void ExpectIntact(const std::string& path) {
  SQLite::Database db(path, SQLite::OPEN_READWRITE);
  EXPECT_EQ(db.execAndGet("PRAGMA integrity_check").getString(), "ok");
  EXPECT_EQ(db.execAndGet("SELECT COUNT(*) FROM pragma_foreign_key_check").getInt(), 0);
}

TEST(StorageFaults, AFullDatabaseRefusesAndWorksAgainAfterDeletion) {
  TempFolder folder;
  SqliteStoreOptions options;
  options.path = folder.File("db");
  options.max_pages = 200;
  auto store = OpenOrDie(options);
  std::vector<std::string> kept;
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    const std::string name = absl::StrCat("jobs/", i);
    status = InsertJob(*store, BigJob(name, 10'000));
    if (status.ok()) kept.push_back(name);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), "STORAGE_FULL");
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("free space"));
  ASSERT_GT(kept.size(), 10u);
  for (const std::string& name : kept) EXPECT_TRUE(HasJob(*store, name)) << name;
  // Room again: the same store goes on.
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(store->Write([&](WriteTransaction& tx) { return tx.DeleteJob(kept[i]); }).ok());
  }
  EXPECT_TRUE(InsertJob(*store, BigJob("jobs/after", 10'000)).ok());
  store.reset();
  ExpectIntact(options.path);
}

TEST(StorageFaults, AWriteThatDoesNotFitDoesNotTakeItsNeighboursWithIt) {
  TempFolder folder;
  SqliteStoreOptions options;
  options.path = folder.File("db");
  options.max_pages = 300;
  auto store = OpenOrDie(options);
  // Many small ones and a huge one at the same time, several rounds, so that they often share a
  // commit.
  for (int round = 0; round < 10; ++round) {
    std::vector<std::thread> threads;
    std::atomic<int> refused{0};
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        const std::string name = absl::StrCat("jobs/", round, "-", i);
        if (i == 4) {
          if (!InsertJob(*store, BigJob(name, 4'000'000)).ok()) refused.fetch_add(1);
        } else {
          EXPECT_TRUE(InsertJob(*store, MakeJob(name)).ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(refused.load(), 1);
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(HasJob(*store, absl::StrCat("jobs/", round, "-", i)), i != 4);
    }
  }
  store.reset();
  ExpectIntact(options.path);
}

TEST(StorageFaults, AnIgnoredFaultInsideATransactionStillFailsIt) {
  TempFolder folder;
  SqliteStoreOptions options;
  options.path = folder.File("db");
  options.max_pages = 100;
  auto store = OpenOrDie(options);
  const absl::Status status = store->Write([](WriteTransaction& tx) {
    JobRecord big = BigJob("jobs/big", 4'000'000);
    tx.InsertJob(&big).IgnoreError();
    return absl::OkStatus();
  });
  EXPECT_EQ(ReasonOf(status), "STORAGE_FULL");
  EXPECT_TRUE(InsertJob(*store, MakeJob("jobs/small")).ok());
}

// A process of its own, because the limit cannot be raised again without privilege and gtest writes
// files, too.
TEST(StorageFaults, ALimitOnFileSizeIsStorageFullAndGoesWhenItIsRaised) {
  TempFolder folder;
  const std::string path = folder.File("db");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const auto store = OpenOrDie(path);
    if (store == nullptr || !InsertJob(*store, MakeJob("jobs/before")).ok()) _exit(1);
    rlimit limit{400'000, RLIM_INFINITY};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(2);
    absl::Status status;
    for (int i = 0; i < 500 && status.ok(); ++i) {
      status = InsertJob(*store, BigJob(absl::StrCat("jobs/", i), 20'000));
    }
    if (ReasonOf(status) != "STORAGE_FULL") {
      std::cerr << status << std::endl;
      _exit(3);
    }
    if (!HasJob(*store, "jobs/before")) _exit(4);
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(5);
    if (!InsertJob(*store, MakeJob("jobs/after")).ok()) _exit(6);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const auto store = OpenOrDie(path);
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(HasJob(*store, "jobs/before"));
  EXPECT_TRUE(HasJob(*store, "jobs/after"));
}

// The real thing where the system allows mounting (as root): a small file system that is full.
TEST(StorageFaults, AFullFileSystemRefusesAndWorksAgainOnceThereIsRoom) {
  TempFolder folder;
  const std::string mount_point = folder.File("small");
  std::filesystem::create_directories(mount_point);
  if (mount("lathe_test", mount_point.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "cannot mount a tmpfs here; the limits of file and database are tested above";
  }
  {
    auto store = OpenOrDie(mount_point + "/db");
    ASSERT_NE(store, nullptr);
    ASSERT_TRUE(InsertJob(*store, MakeJob("jobs/before")).ok());
    {
      std::ofstream filler(mount_point + "/filler");
      for (int i = 0; i < 2000 && filler; ++i) filler << std::string(1024, 'x') << std::flush;
    }
    absl::Status status;
    for (int i = 0; i < 500 && status.ok(); ++i) {
      status = InsertJob(*store, BigJob(absl::StrCat("jobs/", i), 2'000));
    }
    EXPECT_EQ(ReasonOf(status), "STORAGE_FULL") << status;
    EXPECT_TRUE(HasJob(*store, "jobs/before"));
    std::filesystem::remove(mount_point + "/filler");
    EXPECT_TRUE(InsertJob(*store, MakeJob("jobs/after")).ok());
    store.reset();
    ExpectIntact(mount_point + "/db");
  }
  EXPECT_EQ(umount(mount_point.c_str()), 0);
}

TEST(StorageFaults, EachKindOfErrorHasItsCodeAndReason) {
  struct Case {
    int code;
    int system_errno;
    absl::StatusCode expected;
    const char* reason;
  };
  const Case cases[] = {
      {SQLITE_FULL, 0, absl::StatusCode::kResourceExhausted, "STORAGE_FULL"},
      {SQLITE_IOERR_WRITE, ENOSPC, absl::StatusCode::kResourceExhausted, "STORAGE_FULL"},
      {SQLITE_IOERR_WRITE, EDQUOT, absl::StatusCode::kResourceExhausted, "STORAGE_FULL"},
      {SQLITE_IOERR_FSYNC, EIO, absl::StatusCode::kUnavailable, "STORAGE_UNAVAILABLE"},
      {SQLITE_IOERR_READ, 0, absl::StatusCode::kUnavailable, "STORAGE_UNAVAILABLE"},
      {SQLITE_BUSY, 0, absl::StatusCode::kUnavailable, "STORAGE_UNAVAILABLE"},
      {SQLITE_READONLY, 0, absl::StatusCode::kUnavailable, "STORAGE_UNAVAILABLE"},
      {SQLITE_CORRUPT, 0, absl::StatusCode::kDataLoss, "STORAGE_CORRUPT"},
      {SQLITE_NOTADB, 0, absl::StatusCode::kDataLoss, "STORAGE_CORRUPT"},
      {SQLITE_CONSTRAINT_UNIQUE, 0, absl::StatusCode::kAlreadyExists, ""},
      {SQLITE_CONSTRAINT_FOREIGNKEY, 0, absl::StatusCode::kInternal, ""},
      {SQLITE_MISUSE, 0, absl::StatusCode::kInternal, ""},
  };
  for (const Case& one : cases) {
    const absl::Status status = SqliteErrorToStatus(one.code, one.system_errno, "m");
    EXPECT_EQ(status.code(), one.expected) << one.code;
    EXPECT_EQ(ReasonOf(status), one.reason) << one.code;
  }
}

TEST(StorageFaults, ALockHeldByAnotherProgramIsUnavailableAndPasses) {
  TempFolder folder;
  SqliteStoreOptions options;
  options.path = folder.File("db");
  options.busy_timeout = absl::Milliseconds(20);
  auto store = OpenOrDie(options);
  SQLite::Database other(options.path, SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  EXPECT_EQ(ReasonOf(InsertJob(*store, MakeJob("jobs/1"))), "STORAGE_UNAVAILABLE");
  EXPECT_TRUE(absl::IsNotFound(
      store->Read([](ReadTransaction& tx) { return tx.GetJob("jobs/1").status(); })));
  other.exec("ROLLBACK");
  EXPECT_TRUE(InsertJob(*store, MakeJob("jobs/1")).ok());
}

}  // namespace
}  // namespace lathe::server
