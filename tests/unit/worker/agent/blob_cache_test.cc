#include "worker/agent/blob_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>
#include <vector>

#include "common/digest.h"
#include "common/ids.h"

namespace lathe::worker {
namespace {

using ::testing::HasSubstr;

// Blobs from a map, with faults.
class MapSource : public BlobSource {
 public:
  std::string Add(const std::string& bytes) {
    const std::string digest = Sha256Hex(bytes);
    blobs_[digest] = bytes;
    return digest;
  }
  absl::Status Fetch(const std::string& digest, int64_t offset,
                     const std::function<absl::Status(absl::string_view)>& sink,
                     CancelScope* cancel) override {
    ++fetches;
    const auto it = blobs_.find(digest);
    if (it == blobs_.end()) return absl::NotFoundError("no such blob");
    std::string bytes = it->second.substr(static_cast<size_t>(offset));
    if (damaged_fetches > 0) {
      --damaged_fetches;
      bytes[0] = static_cast<char>(bytes[0] ^ 1);
    }
    if (surplus) bytes += "!";
    return sink(bytes);
  }

  std::atomic<int> fetches{0};
  int damaged_fetches = 0;
  bool surplus = false;

 private:
  std::map<std::string, std::string> blobs_;
};

class BlobCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/cache-" + RandomIdGenerator().NewId();
    std::filesystem::create_directories(folder_);
    cache_ = std::make_unique<BlobCache>(folder_, 10, &source_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<BlobCache::Pin> Get(const std::string& digest, int64_t size) {
    auto pin = cache_->Acquire(digest, size, &scope_);
    EXPECT_TRUE(pin.ok()) << pin.status();
    return pin.ok() ? *std::move(pin) : nullptr;
  }
  absl::Status Refused(const std::string& digest, int64_t size) {
    return cache_->Acquire(digest, size, &scope_).status();
  }

  MapSource source_;
  std::string folder_;
  std::unique_ptr<BlobCache> cache_;
  CancelScope scope_;
};

TEST_F(BlobCacheTest, FetchesOnceAndKeeps) {
  const std::string digest = source_.Add("hello");
  for (int i = 0; i < 3; ++i) {
    const auto pin = Get(digest, 5);
    std::ifstream in(pin->path());
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "hello");
  }
  EXPECT_EQ(source_.fetches, 1);
}

TEST_F(BlobCacheTest, AnEmptyBlobIsABlob) {
  const auto pin = Get(source_.Add(""), 0);
  EXPECT_EQ(std::filesystem::file_size(pin->path()), 0u);
}

TEST_F(BlobCacheTest, TheLeastLatelyUsedGoesFirst) {
  const std::string a = source_.Add("aaaa"), b = source_.Add("bbbb"), c = source_.Add("cccc");
  Get(a, 4);
  Get(b, 4);
  Get(a, 4);  // now b is the oldest
  Get(c, 4);
  EXPECT_EQ(cache_->total_bytes(), 8);
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/" + a));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/" + b));
  Get(b, 4);
  EXPECT_EQ(source_.fetches, 4);
}

TEST_F(BlobCacheTest, WhatIsInUseStaysHoweverFullTheCacheIs) {
  const std::string a = source_.Add("aaaaaaaa"), b = source_.Add("bbbbbbbb");
  auto held = Get(a, 8);
  auto also_held = Get(b, 8);
  EXPECT_EQ(cache_->total_bytes(), 16);
  EXPECT_TRUE(std::filesystem::exists(held->path()));
  held.reset();
  EXPECT_EQ(cache_->total_bytes(), 8);
  EXPECT_TRUE(std::filesystem::exists(also_held->path()));
}

TEST_F(BlobCacheTest, DamageOnceIsFetchedAgain) {
  const std::string digest = source_.Add("hello");
  source_.damaged_fetches = 1;
  Get(digest, 5);
  EXPECT_EQ(source_.fetches, 2);
}

TEST_F(BlobCacheTest, DamageTwiceIsRefusedAndLeavesNothing) {
  const std::string digest = source_.Add("hello");
  source_.damaged_fetches = 2;
  const absl::Status status = Refused(digest, 5);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr(digest));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  Get(digest, 5);  // and it can be had once the damage is over
}

TEST_F(BlobCacheTest, OtherSizesAreRefused) {
  const std::string digest = source_.Add("hello");
  EXPECT_EQ(Refused(digest, 4).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Refused(digest, 6).code(), absl::StatusCode::kDataLoss);
  Get(digest, 5);
  EXPECT_EQ(Refused(digest, 6).code(), absl::StatusCode::kDataLoss);
  source_.surplus = true;
  EXPECT_EQ(Refused(source_.Add("other"), 5).code(), absl::StatusCode::kDataLoss);
}

TEST_F(BlobCacheTest, AnUnknownBlobIsNotFound) {
  EXPECT_EQ(Refused(Sha256Hex("nobody has it"), 3).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(source_.fetches, 1);
}

TEST_F(BlobCacheTest, ADigestThatIsNoneNeverBecomesAFileName) {
  for (const char* digest : {"", "../../etc/passwd", "ABCDEF"}) {
    EXPECT_EQ(Refused(digest, 3).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(source_.fetches, 0);
}

TEST_F(BlobCacheTest, ManyWhoAskAtOnceShareOneFetch) {
  const std::string digest = source_.Add("hello");
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) threads.emplace_back([&] { Get(digest, 5); });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(source_.fetches, 1);
}

}  // namespace
}  // namespace lathe::worker
