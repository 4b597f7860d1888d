#include "server/store/migrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "SQLiteCpp/Column.h"
#include "SQLiteCpp/Database.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {
namespace {

// The version from which on a job's position does not come from AUTOINCREMENT.
constexpr size_t kJobOrdersVersion = 3;

SQLite::Database OpenRaw(const std::string& path) {
  return SQLite::Database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
}

absl::Status OpenStatus(const std::string& path) {
  static const RealClock clock;
  SqliteStoreOptions options;
  options.path = path;
  return SqliteStore::Open(options, &clock).status();
}

// Tables and indices with their definitions.
std::string Schema(SQLite::Database& db) {
  std::string out;
  SQLite::Statement query(db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
  while (query.executeStep()) absl::StrAppend(&out, query.getColumn(0).getString(), "\n");
  return out;
}

TEST(Migrations, BringAnEmptyFileToTheNewestVersion) {
  TempFolder folder;
  SQLite::Database db = OpenRaw(folder.File("db"));
  ASSERT_TRUE(Migrate(db, Migrations()).ok());
  EXPECT_EQ(db.execAndGet("PRAGMA user_version").getInt(), static_cast<int>(Migrations().size()));
}

TEST(Migrations, RunningThemAgainChangesNothing) {
  TempFolder folder;
  SQLite::Database db = OpenRaw(folder.File("db"));
  ASSERT_TRUE(Migrate(db, Migrations()).ok());
  const std::string schema = Schema(db);
  ASSERT_TRUE(Migrate(db, Migrations()).ok());
  EXPECT_EQ(Schema(db), schema);
}

// From every earlier version, with a job in it, the result is that of a fresh database, and the job
// is still there.
TEST(Migrations, EveryOldVersionArrivesAtTheSameTablesWithItsData) {
  TempFolder folder;
  std::string fresh;
  {
    SQLite::Database db = OpenRaw(folder.File("fresh"));
    ASSERT_TRUE(Migrate(db, Migrations()).ok());
    fresh = Schema(db);
  }
  for (size_t version = 1; version <= Migrations().size(); ++version) {
    SCOPED_TRACE(version);
    const std::string path = folder.File(absl::StrCat("v", version));
    {
      SQLite::Database db = OpenRaw(path);
      ASSERT_TRUE(Migrate(db, Migrations().subspan(0, version)).ok());
      ASSERT_EQ(db.execAndGet("PRAGMA user_version").getInt(), static_cast<int>(version));
      const JobRecord job = MakeJob("jobs/old");
      SQLite::Statement insert(
          db,
          "INSERT INTO jobs VALUES(NULL, 'jobs/old', '', 1, 1, 'models/m', ?, ?, 0, 0, 0, 0, 0, 0, "
          "'', '', 0, 0, 0)");
      const std::string body = job.job.SerializeAsString();
      const std::string attempt = job.attempt.SerializeAsString();
      insert.bind(1, body.data(), static_cast<int>(body.size()));
      insert.bind(2, attempt.data(), static_cast<int>(attempt.size()));
      insert.exec();
      db.exec("INSERT INTO events VALUES(1, 1, 1, x'')");
      // The newest job was deleted; its position, 9, is not to be given again.
      if (version < kJobOrdersVersion) {
        db.exec("UPDATE sqlite_sequence SET seq = 9 WHERE name = 'jobs'");
      } else {
        db.exec("UPDATE counters SET value = 9 WHERE name = 'job_order'");
      }
    }
    {
      const auto store = OpenOrDie(path);
      ASSERT_NE(store, nullptr);
      EXPECT_TRUE(HasJob(*store, "jobs/old"));
      std::vector<v1::JobEvent> events;
      ASSERT_TRUE(store
                      ->Read([&](ReadTransaction& tx) -> absl::Status {
                        ASSIGN_OR_RETURN(events, tx.EventsAfter("jobs/old", 0, 10));
                        return absl::OkStatus();
                      })
                      .ok());
      EXPECT_EQ(events.size(), 1u);
      JobRecord next = MakeJob("jobs/new");
      ASSERT_TRUE(store->Write([&](WriteTransaction& tx) { return tx.InsertJob(&next); }).ok());
      EXPECT_EQ(next.order, 10);
      // A table of the newest step works.
      EXPECT_TRUE(store
                      ->Write([](WriteTransaction& tx) {
                        return tx.PutCheckpoint("jobs/old", {DigestOf('c'), 1, 2});
                      })
                      .ok());
    }
    SQLite::Database db = OpenRaw(path);
    EXPECT_EQ(Schema(db), fresh);
  }
}

TEST(Migrations, ANewerDatabaseIsRefusedAndLeftAlone) {
  TempFolder folder;
  const std::string path = folder.File("db");
  {
    SQLite::Database db = OpenRaw(path);
    ASSERT_TRUE(Migrate(db, Migrations()).ok());
    db.exec("PRAGMA user_version = 99");
  }
  const absl::Status status = OpenStatus(path);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              ::testing::AllOf(::testing::HasSubstr(path), ::testing::HasSubstr("99"),
                               ::testing::HasSubstr("newer")));
  EXPECT_EQ(OpenRaw(path).execAndGet("PRAGMA user_version").getInt(), 99);
}

TEST(Migrations, ADatabaseOfAnotherProgramIsRefused) {
  TempFolder folder;
  const std::string path = folder.File("db");
  OpenRaw(path).exec("CREATE TABLE theirs(x)");
  const absl::Status status = OpenStatus(path);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("another program"));
}

TEST(Migrations, AFileThatIsNoDatabaseIsDataLoss) {
  TempFolder folder;
  const std::string path = folder.File("db");
  std::ofstream(path) << std::string(8192, 'x');
  EXPECT_EQ(OpenStatus(path).code(), absl::StatusCode::kDataLoss);
}

TEST(Migrations, AFailingStepLeavesTheVersionBeforeIt) {
  TempFolder folder;
  SQLite::Database db = OpenRaw(folder.File("db"));
  const std::array steps = {Migrations()[0], "CREATE TABLE half(x); CREATE TABLE nonsense("};
  EXPECT_FALSE(Migrate(db, steps).ok());
  EXPECT_EQ(db.execAndGet("PRAGMA user_version").getInt(), 1);
  EXPECT_FALSE(db.tableExists("half"));
  EXPECT_TRUE(Migrate(db, Migrations()).ok());
}

}  // namespace
}  // namespace lathe::server
