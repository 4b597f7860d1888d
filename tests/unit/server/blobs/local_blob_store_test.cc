#include "server/blobs/local_blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/digest.h"
#include "common/status_reason.h"
#include "server/blobs/garbage_collector.h"

namespace lathe::server {
namespace {

namespace fs = std::filesystem;

class LocalBlobStoreTest : public ::testing::Test {
 protected:
  LocalBlobStoreTest() {
    std::string pattern = ::testing::TempDir() + "/blobs_XXXXXX";
    root_ = mkdtemp(pattern.data());
    Reopen();
  }
  ~LocalBlobStoreTest() override { fs::remove_all(root_); }
  void Reopen() { store_ = *LocalBlobStore::Create(root_); }

  std::string root_;
  std::unique_ptr<LocalBlobStore> store_;
};

std::string Content(size_t size) {
  std::string out(size, '\0');
  uint32_t state = 12345;
  for (char& c : out) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  return out;
}

TEST_F(LocalBlobStoreTest, PutThenRead) {
  const std::string content = Content(3'000'000);
  const std::string digest = Sha256Hex(content);
  ASSERT_TRUE(PutBlob(*store_, digest, content).ok());
  EXPECT_EQ(*ReadBlob(*store_, digest, 10'000'000), content);
  EXPECT_EQ(*store_->BlobSize(digest), 3'000'000);
  EXPECT_EQ(ReasonOf(ReadBlob(*store_, digest, 100).status()), "BLOB_TOO_LARGE");
  ASSERT_TRUE(PutBlob(*store_, Sha256Hex(""), "").ok());
  EXPECT_EQ(*ReadBlob(*store_, Sha256Hex(""), 10), "");
}

TEST_F(LocalBlobStoreTest, AnUploadReplacesAStoredFileThatWasDamaged) {
  const std::string content = Content(100'000);
  const std::string digest = Sha256Hex(content);
  const std::string path = root_ + "/blobs/" + digest.substr(0, 2) + "/" + digest;
  std::string changed = content;
  changed[50'000] = static_cast<char>(changed[50'000] ^ 1);
  for (const std::string& damaged : {content.substr(0, 99'999), content + "x", changed}) {
    ASSERT_TRUE(PutBlob(*store_, digest, content).ok());
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    ASSERT_EQ(*ReadBlob(*store_, digest, 1'000'000), damaged);
    EXPECT_EQ(IsStored(*store_, digest, 100'000), damaged.size() == content.size());
    ASSERT_TRUE(PutBlob(*store_, digest, content).ok());
    EXPECT_EQ(*ReadBlob(*store_, digest, 1'000'000), content);
  }
}

TEST_F(LocalBlobStoreTest, AnUploadCutAtEveryChunkResumesAlsoAfterARestart) {
  const std::string content = Content(50'000);
  const std::string digest = Sha256Hex(content);
  constexpr int64_t kChunk = 7'000;
  bool restart = false;
  for (int64_t at = 0; at < 50'000;) {
    const UploadState state = *store_->QueryUpload(digest);
    EXPECT_EQ(state.committed_bytes, at);
    EXPECT_FALSE(state.complete);
    auto writer = store_->BeginUpload(digest, 50'000, at);
    ASSERT_TRUE(writer.ok()) << writer.status();
    const int64_t size = std::min(kChunk, 50'000 - at);
    ASSERT_TRUE((*writer)->Append(absl::string_view(content).substr(at, size)).ok());
    at += size;
    if (at == 50'000) {
      ASSERT_TRUE((*writer)->Finish().ok());
    }
    writer->reset();
    if (std::exchange(restart, !restart)) Reopen();  // hashed again from the file every other time
  }
  EXPECT_EQ(*ReadBlob(*store_, digest, 100'000), content);
  EXPECT_TRUE(store_->QueryUpload(digest)->complete);
}

// Large chunks go straight to the disk in whole blocks, the rest through the page cache: sizes and
// offsets at, before and behind the blocks' borders, cut after each.
TEST_F(LocalBlobStoreTest, ChunksOfAnySizeKeepEveryByte) {
  const std::vector<size_t> sizes = {1 << 20,    1 << 20, (1 << 20) + 1,   700'000,
                                     4096 * 100, 5,       (1 << 20) - 777, 0,
                                     1 << 21,    300'001};
  size_t total = 0;
  for (const size_t size : sizes) total += size;
  const std::string content = Content(total);
  const std::string digest = Sha256Hex(content);
  for (const bool cut : {false, true}) {
    std::unique_ptr<BlobWriter> writer;
    size_t at = 0;
    for (const size_t size : sizes) {
      if (!writer || cut) {
        writer.reset();
        auto next = store_->BeginUpload(digest, static_cast<int64_t>(total), at);
        ASSERT_TRUE(next.ok()) << next.status();
        writer = *std::move(next);
      }
      ASSERT_TRUE(writer->Append(absl::string_view(content).substr(at, size)).ok());
      at += size;
      EXPECT_EQ(store_->QueryUpload(digest)->committed_bytes, at);
    }
    ASSERT_TRUE(writer->Finish().ok());
    EXPECT_TRUE(*ReadBlob(*store_, digest, 100'000'000) == content) << "cut: " << cut;
    ASSERT_TRUE(store_->Delete(digest).ok());
  }
}

TEST_F(LocalBlobStoreTest, WrongBytesAreRefusedAndNothingIsKept) {
  const std::string digest = Sha256Hex("right");
  auto writer = *store_->BeginUpload(digest, 5, 0);
  ASSERT_TRUE(writer->Append("wrong").ok());
  const absl::Status status = writer->Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), "DIGEST_MISMATCH");
  EXPECT_EQ(store_->QueryUpload(digest)->committed_bytes, 0);
  EXPECT_EQ(store_->BlobSize(digest).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LocalBlobStoreTest, SizesAndOffsetsAreHeldToTheirPromise) {
  const std::string digest = Sha256Hex("12345");
  auto writer = *store_->BeginUpload(digest, 5, 0);
  ASSERT_TRUE(writer->Append("123").ok());
  EXPECT_EQ(ReasonOf(writer->Append("456")), "SIZE_MISMATCH");
  EXPECT_EQ(ReasonOf(writer->Finish()), "UPLOAD_INCOMPLETE");
  writer.reset();
  EXPECT_EQ(ReasonOf(store_->BeginUpload(digest, 5, 2).status()), "WRONG_OFFSET");
  EXPECT_EQ(store_->QueryUpload(digest)->committed_bytes, 3);
  writer = *store_->BeginUpload(digest, 5, 3);
  ASSERT_TRUE(writer->Append("45").ok());
  EXPECT_TRUE(writer->Finish().ok());
}

TEST_F(LocalBlobStoreTest, ANewWriterTakesOverFromAnAbandonedOne) {
  const std::string digest = Sha256Hex("abcdef");
  auto abandoned = *store_->BeginUpload(digest, 6, 0);
  ASSERT_TRUE(abandoned->Append("abX").ok());  // its content was wrong
  auto fresh = *store_->BeginUpload(digest, 6, 0);
  EXPECT_EQ(ReasonOf(abandoned->Append("def")), "UPLOAD_TAKEN_OVER");
  ASSERT_TRUE(fresh->Append("abc").ok());
  EXPECT_EQ(ReasonOf(abandoned->Append("def")), "UPLOAD_TAKEN_OVER");
  ASSERT_TRUE(fresh->Append("def").ok());
  ASSERT_TRUE(fresh->Finish().ok());
  EXPECT_EQ(*ReadBlob(*store_, digest, 10), "abcdef");
  EXPECT_FALSE(abandoned->Finish().ok());
}

TEST_F(LocalBlobStoreTest, AWrongOffsetDoesNotStopTheUploadAtWork) {
  const std::string digest = Sha256Hex("abcdef");
  auto working = *store_->BeginUpload(digest, 6, 0);
  ASSERT_TRUE(working->Append("abc").ok());
  EXPECT_EQ(ReasonOf(store_->BeginUpload(digest, 6, 2).status()), "WRONG_OFFSET");
  ASSERT_TRUE(working->Append("def").ok());
  ASSERT_TRUE(working->Finish().ok());
  EXPECT_EQ(*ReadBlob(*store_, digest, 10), "abcdef");
}

TEST_F(LocalBlobStoreTest, ManyThreadsUploadingTheSameBlobPublishItOnce) {
  const std::string content = Content(400'000);
  const std::string digest = Sha256Hex(content);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      // Those that another keeps out try again until the blob is there, however slow the machine.
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (!store_->QueryUpload(digest)->complete && std::chrono::steady_clock::now() < give_up) {
        const UploadState state = *store_->QueryUpload(digest);
        if (state.complete) return;
        auto writer = store_->BeginUpload(digest, 400'000, state.committed_bytes);
        if (!writer.ok()) {
          std::this_thread::yield();
          continue;
        }
        absl::Status status;
        for (size_t at = state.committed_bytes; at < content.size() && status.ok(); at += 10'000) {
          status = (*writer)->Append(absl::string_view(content).substr(at, 10'000));
        }
        if (status.ok()) status = (*writer)->Finish();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*ReadBlob(*store_, digest, 1'000'000), content);
}

TEST_F(LocalBlobStoreTest, AFullDiskIsToldAndTheRoomIsGivenBack) {
  if (geteuid() != 0 || mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "needs root to mount a small tmpfs";
  }
  Reopen();
  const std::string content = Content(4'000'000);
  const std::string digest = Sha256Hex(content);
  auto writer = *store_->BeginUpload(digest, 4'000'000, 0);
  absl::Status status;
  for (size_t at = 0; at < content.size() && status.ok(); at += 100'000) {
    status = writer->Append(absl::string_view(content).substr(at, 100'000));
  }
  writer.reset();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), "DISK_FULL");
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("No space left"));
  ASSERT_TRUE(PutBlob(*store_, Sha256Hex("small"), "small").ok());  // others go on
  // With room again, the upload succeeds.
  mount("tmpfs", root_.c_str(), "tmpfs", MS_REMOUNT, "size=16m");
  const UploadState state = *store_->QueryUpload(digest);
  writer = *store_->BeginUpload(digest, 4'000'000, state.committed_bytes);
  ASSERT_TRUE(writer->Append(absl::string_view(content).substr(state.committed_bytes)).ok());
  EXPECT_TRUE(writer->Finish().ok());
  writer.reset();
  umount2(root_.c_str(), MNT_DETACH);
}

class FixedClock : public Clock {
 public:
  absl::Time now = absl::Now();
  absl::Time Now() const override { return now; }
};

TEST_F(LocalBlobStoreTest, TheCollectorSparesWhatIsNamedAndWhatIsYoung) {
  for (const char* content : {"named", "young", "late", "old"}) {
    ASSERT_TRUE(PutBlob(*store_, Sha256Hex(content), content).ok());
  }
  auto writer = *store_->BeginUpload(Sha256Hex("partial"), 7, 0);
  ASSERT_TRUE(writer->Append("par").ok());
  writer.reset();
  FixedClock clock;
  GarbageCollector collector(
      {.interval = absl::Hours(1), .grace = absl::Hours(1)}, store_.get(), &clock,
      [] { return std::vector<std::string>{Sha256Hex("named")}; },
      [](const std::string& digest) -> absl::StatusOr<bool> {
        return digest == Sha256Hex("late");
      });
  GarbageCollected collected = *collector.Collect();
  EXPECT_EQ(collected.blobs + collected.uploads, 0);
  clock.now += absl::Hours(2);
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    if (entry.path().filename() == Sha256Hex("young")) {
      fs::last_write_time(entry, fs::file_time_type::clock::now() + std::chrono::hours(2));
    }
  }
  collected = *collector.Collect();
  EXPECT_EQ(collected.blobs, 1);
  EXPECT_EQ(collected.bytes, 3);
  EXPECT_EQ(collected.uploads, 1);
  EXPECT_FALSE(store_->BlobSize(Sha256Hex("old")).ok());
  for (const char* content : {"named", "young", "late"})
    EXPECT_TRUE(store_->BlobSize(Sha256Hex(content)).ok()) << content;
}

}  // namespace
}  // namespace lathe::server
