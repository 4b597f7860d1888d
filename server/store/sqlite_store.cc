#include "server/store/sqlite_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "server/store/migrations.h"
#include "server/store/sqlite_connection.h"
#include "server/store/sqlite_error.h"
#include "server/store/sqlite_transaction.h"

namespace lathe::server {
namespace {

using WriteWork = std::function<absl::Status(WriteTransaction&)>;
using ReadWork = std::function<absl::Status(ReadTransaction&)>;

// Writes that share one commit at most: bounds how long the first of them waits.
constexpr size_t kMaxBatch = 512;
// Pages of the WAL from which an idle, and a busy, writer copies them into the database.
constexpr int kIdleCheckpointPages = 1000;
constexpr int kBusyCheckpointPages = 16'000;

}  // namespace

class SqliteStore::Impl {
 public:
  Impl(SqliteStoreOptions options, const Clock* clock)
      : options_(std::move(options)), clock_(*clock) {}

  ~Impl() {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Impl::IsIdle));
      stopping_ = true;
    }
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Start();
  absl::Status Write(const WriteWork& work);
  absl::Status Read(const ReadWork& work);

 private:
  // One call of Write that waits for its answer. Lives on the caller's stack.
  struct Waiting {
    const WriteWork* work;
    absl::Status status;
    absl::Notification done;
  };

  // Writes for a caller that found the connection free.
  void WriteOwn(Waiting* own) noexcept;
  void WriterLoop();
  // Writes what is queued until nothing is, and checkpoints. The writer thread has the connection.
  void WriteQueued() noexcept;
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !writing_; }
  bool WriterIsWanted() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return wanted_ || stopping_; }

  void RunBatch(const std::vector<Waiting*>& batch);
  // All of the batch in one transaction. False when it had to be rolled back as a whole: nothing is
  // answered then.
  bool TryTogether(const std::vector<Waiting*>& batch);
  absl::Status RunAlone(const WriteWork& work);
  // Runs `work` in the open transaction; a fault of storage wins over its own answer.
  absl::Status RunWork(const WriteWork& work);
  absl::Status Commit(int writes);
  void Rollback();
  bool CheckpointIsDue(bool idle) const {
    return wal_pages_ >= (idle ? kIdleCheckpointPages : kBusyCheckpointPages);
  }
  void Checkpoint();

  bool HasIdleReader() const ABSL_SHARED_LOCKS_REQUIRED(readers_mutex_) {
    return !idle_readers_.empty();
  }

  const SqliteStoreOptions options_;
  const Clock& clock_;

  // Used by whoever has the connection: a caller that found it free, or the writer thread.
  std::unique_ptr<SqliteConnection> writer_;
  int wal_pages_ = 0;

  absl::Mutex mutex_;
  // Somebody has the connection.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  // It is, or is about to be, the writer thread.
  bool wanted_ ABSL_GUARDED_BY(mutex_) = false;
  // Empty unless somebody has the connection.
  std::deque<Waiting*> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  absl::Mutex readers_mutex_;
  std::vector<std::unique_ptr<SqliteConnection>> idle_readers_ ABSL_GUARDED_BY(readers_mutex_);

  std::thread thread_;
};

absl::Status SqliteStore::Impl::Start() {
  ASSIGN_OR_RETURN(writer_, SqliteConnection::Open(options_.path, SqliteConnection::Role::kWriter,
                                                   options_.busy_timeout));
  RETURN_IF_ERROR(Migrate(writer_->db(), Migrations()));
  try {
    if (options_.max_pages > 0) {
      writer_->db().execAndGet(absl::StrCat("PRAGMA max_page_count = ", options_.max_pages));
    }
  } catch (const SQLite::Exception& e) {
    return writer_->ToStatus(e);
  }
  sqlite3_wal_hook(
      writer_->db().getHandle(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<Impl*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  for (int i = 0; i < std::clamp(options_.readers, 1, 64); ++i) {
    ASSIGN_OR_RETURN(auto reader,
                     SqliteConnection::Open(options_.path, SqliteConnection::Role::kReader,
                                            options_.busy_timeout));
    absl::MutexLock lock(&readers_mutex_);
    idle_readers_.push_back(std::move(reader));
  }
  thread_ = std::thread([this] { WriterLoop(); });
  return absl::OkStatus();
}

absl::Status SqliteStore::Impl::Write(const WriteWork& work) {
  Waiting own{&work, absl::OkStatus(), {}};
  bool queued = false;
  {
    absl::MutexLock lock(&mutex_);
    queued = writing_;
    if (queued) queue_.push_back(&own);
    writing_ = true;
  }
  if (queued) {
    own.done.WaitForNotification();
    return own.status;
  }
  WriteOwn(&own);
  return own.status;
}

void SqliteStore::Impl::WriteOwn(Waiting* own) noexcept {
  own->status = RunAlone(*own->work);
  const bool due = CheckpointIsDue(/*idle=*/true);
  absl::MutexLock lock(&mutex_);
  wanted_ = due || !queue_.empty();
  writing_ = wanted_;
}

void SqliteStore::Impl::WriterLoop() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Impl::WriterIsWanted));
      if (!wanted_) return;
    }
    WriteQueued();
  }
}

void SqliteStore::Impl::WriteQueued() noexcept {
  while (true) {
    std::vector<Waiting*> batch;
    bool idle = false;
    {
      absl::MutexLock lock(&mutex_);
      const size_t count = std::min(queue_.size(), kMaxBatch);
      batch.assign(queue_.begin(), queue_.begin() + count);
      queue_.erase(queue_.begin(), queue_.begin() + count);
      idle = batch.empty();
      if (idle && !CheckpointIsDue(idle)) {
        wanted_ = false;
        writing_ = false;
        return;
      }
    }
    RunBatch(batch);
    if (CheckpointIsDue(idle)) Checkpoint();
  }
}

void SqliteStore::Impl::RunBatch(const std::vector<Waiting*>& batch) {
  if (batch.size() <= 1 || !TryTogether(batch)) {
    // Alone, so that a write which does not fit on the disk does not take those with it that do.
    for (Waiting* waiting : batch) {
      waiting->status = RunAlone(*waiting->work);
      waiting->done.Notify();
    }
    return;
  }
  for (Waiting* waiting : batch) waiting->done.Notify();
}

bool SqliteStore::Impl::TryTogether(const std::vector<Waiting*>& batch) {
  try {
    writer_->Run("BEGIN IMMEDIATE");
    for (Waiting* waiting : batch) {
      writer_->Run("SAVEPOINT one");
      waiting->status = RunWork(*waiting->work);
      if (IsStorageFault(waiting->status) || !writer_->InTransaction()) {
        Rollback();
        return false;
      }
      if (!waiting->status.ok()) writer_->Run("ROLLBACK TO one");
      writer_->Run("RELEASE one");
    }
  } catch (const SQLite::Exception&) {
    Rollback();
    return false;
  }
  return Commit(static_cast<int>(batch.size())).ok();
}

absl::Status SqliteStore::Impl::RunAlone(const WriteWork& work) {
  try {
    writer_->Run("BEGIN IMMEDIATE");
  } catch (const SQLite::Exception& e) {
    return writer_->ToStatus(e);
  }
  absl::Status status = RunWork(work);
  if (status.ok() && !writer_->InTransaction()) {
    status = absl::InternalError("metadata store: the transaction ended before its commit");
  }
  if (!status.ok()) {
    Rollback();
    return status;
  }
  return Commit(1);
}

absl::Status SqliteStore::Impl::RunWork(const WriteWork& work) {
  SqliteTransaction transaction(writer_.get(), &clock_);
  absl::Status status;
  try {
    status = work(transaction);
  } catch (const std::exception& e) {
    // It may be another caller's work: neither its exception nor its half of a write is to reach
    // this one.
    status = absl::InternalError(absl::StrCat("unexpected: ", e.what()));
  }
  return transaction.fault().ok() ? status : transaction.fault();
}

absl::Status SqliteStore::Impl::Commit(int writes) {
  const absl::Time begin = absl::Now();
  try {
    writer_->Run("COMMIT");
  } catch (const SQLite::Exception& e) {
    const absl::Status status = writer_->ToStatus(e);
    Rollback();
    return status;
  }
  if (options_.on_commit) options_.on_commit(absl::Now() - begin, writes);
  return absl::OkStatus();
}

void SqliteStore::Impl::Rollback() {
  if (!writer_->InTransaction()) return;  // SQLite does it by itself after some errors
  try {
    writer_->Run("ROLLBACK");
  } catch (const SQLite::Exception& e) {
    LogError("metadata store: rollback failed", {{"error", e.what()}});
  }
}

void SqliteStore::Impl::Checkpoint() {
  int log_pages = 0;
  int copied_pages = 0;
  const int code = sqlite3_wal_checkpoint_v2(writer_->db().getHandle(), nullptr,
                                             SQLITE_CHECKPOINT_PASSIVE, &log_pages, &copied_pages);
  // A failed checkpoint loses nothing: the pages stay in the WAL, and the next commit tries again.
  if (code != SQLITE_OK && code != SQLITE_BUSY) {
    LogWarning("metadata store: checkpoint failed", {{"code", code}, {"wal_pages", wal_pages_}});
  }
  wal_pages_ = 0;
}

absl::Status SqliteStore::Impl::Read(const ReadWork& work) {
  std::unique_ptr<SqliteConnection> reader;
  {
    absl::MutexLock lock(&readers_mutex_);
    readers_mutex_.Await(absl::Condition(this, &Impl::HasIdleReader));
    reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
  }
  absl::Status status;
  try {
    reader->Run("BEGIN");
    SqliteTransaction transaction(reader.get(), &clock_);
    status = work(transaction);
    if (!transaction.fault().ok()) status = transaction.fault();
    if (reader->InTransaction()) reader->Run("ROLLBACK");
  } catch (const SQLite::Exception& e) {
    status = reader->ToStatus(e);
  }
  absl::MutexLock lock(&readers_mutex_);
  idle_readers_.push_back(std::move(reader));
  return status;
}

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(SqliteStoreOptions options,
                                                               const Clock* clock) {
  auto impl = std::make_unique<Impl>(std::move(options), clock);
  RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(impl)));
}

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteStore::~SqliteStore() = default;

absl::Status SqliteStore::Write(const std::function<absl::Status(WriteTransaction&)>& work) {
  return impl_->Write(work);
}

absl::Status SqliteStore::Read(const std::function<absl::Status(ReadTransaction&)>& work) {
  return impl_->Read(work);
}

}  // namespace lathe::server
