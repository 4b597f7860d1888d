#include "worker/engine/evaluate/file_size.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace lathe::engine {
namespace {

class FileSize : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("file_size_") + info->name() + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  FileSizes Measure(const std::vector<std::string>& names, int threads = 2) {
    const auto parallel = MakeThreadPool(threads);
    const auto sizes = MeasureFiles(folder_.string(), names, *parallel);
    EXPECT_TRUE(sizes.ok()) << sizes.status();
    return *sizes;
  }

  std::filesystem::path folder_;
};

// Four of a byte's bits carry information.
std::string HalfRandom(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::string out(count, '\0');
  for (char& c : out) c = static_cast<char>(random() & 0x0f);
  return out;
}

int64_t Gzip(const std::string& bytes) {
  z_stream stream = {};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  const auto written = static_cast<int64_t>(stream.total_out);
  deflateEnd(&stream);
  return written;
}

TEST_F(FileSize, MatchesGzipWithinAPercent) {
  std::string bytes = HalfRandom(700000, 1);
  for (int i = 0; i < 5000; ++i) bytes += "the same words again and again ";
  Write("a", bytes);
  const FileSizes sizes = Measure({"a"});
  EXPECT_EQ(sizes.file_bytes, static_cast<int64_t>(bytes.size()));
  EXPECT_FALSE(sizes.gzip_sampled);
  EXPECT_NEAR(static_cast<double>(sizes.gzip_bytes), static_cast<double>(Gzip(bytes)),
              0.01 * static_cast<double>(Gzip(bytes)));
}

TEST_F(FileSize, LargeFilesAreSampledAndStillCloseToGzip) {
  const std::string bytes = HalfRandom(6 << 20, 2);
  Write("a", bytes);
  const FileSizes sizes = Measure({"a"});
  EXPECT_TRUE(sizes.gzip_sampled);
  EXPECT_NEAR(static_cast<double>(sizes.gzip_bytes), static_cast<double>(Gzip(bytes)),
              0.01 * static_cast<double>(Gzip(bytes)));
}

TEST_F(FileSize, IsTheSameForAnyNumberOfThreads) {
  Write("a", HalfRandom(3 << 20, 3));
  EXPECT_EQ(Measure({"a"}, 1).gzip_bytes, Measure({"a"}, 4).gzip_bytes);
}

TEST_F(FileSize, AddsUpFilesAndTakesEmptyOnes) {
  Write("a", "abc");
  Write("b", "");
  Write("c", std::string(1000, 'x'));
  EXPECT_EQ(Measure({"a", "b", "c"}).file_bytes, 1003);
  EXPECT_EQ(Measure({"a", "b", "c"}).gzip_bytes,
            Measure({"a"}).gzip_bytes + Measure({"c"}).gzip_bytes);
}

TEST_F(FileSize, AMissingFileIsAnError) {
  const auto serial = MakeSerial();
  EXPECT_EQ(MeasureFiles(folder_.string(), {"none"}, *serial).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace lathe::engine
