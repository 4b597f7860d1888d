// gzip_bytes: the file is cut into chunks of 32 KiB, and each is deflated at level 6 (gzip's
// default) with the 32 KiB before it as dictionary, which is all that deflate ever looks back on;
// so chunks can be compressed in any order, by any number of threads, or left out. Of files with
// more than 48 chunks, 48 evenly spaced ones are compressed, the first and last among them.
#include "worker/engine/evaluate/file_size.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

constexpr int kLevel = 6;
constexpr int64_t kGzipFrameBytes = 18;  // header and trailer

// Reads [offset, offset + count); fewer at the end of the file. -1 on error.
int64_t ReadAt(int fd, int64_t offset, int64_t count, std::string* out) {
  out->resize(static_cast<size_t>(count));
  int64_t done = 0;
  while (done < count) {
    const ssize_t n = pread(fd, out->data() + done, static_cast<size_t>(count - done),
                            static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += n;
  }
  out->resize(static_cast<size_t>(done));
  return done;
}

// Deflated bytes of `data` from `start` on, with what lies before as dictionary; -1 on failure.
int64_t Deflated(std::string& data, int64_t start) {
  z_stream stream = {};
  if (deflateInit2(&stream, kLevel, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) return -1;
  auto* bytes = reinterpret_cast<Bytef*>(data.data());
  if (start > 0) deflateSetDictionary(&stream, bytes, static_cast<uInt>(start));
  const int64_t count = static_cast<int64_t>(data.size()) - start;
  std::string out(deflateBound(&stream, static_cast<uLong>(count)), '\0');
  stream.next_in = bytes + start;
  stream.avail_in = static_cast<uInt>(count);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  const auto written = static_cast<int64_t>(stream.total_out);
  deflateEnd(&stream);
  return result == Z_STREAM_END ? written : -1;
}

absl::Status MeasureFile(const std::string& path, Parallel& parallel, FileSizes* sizes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  absl::Cleanup close_it = [fd] { close(fd); };
  struct stat info = {};
  if (fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("stat ", path));
  const auto bytes = static_cast<int64_t>(info.st_size);
  sizes->file_bytes += bytes;
  if (bytes == 0) return absl::OkStatus();

  const int64_t chunks = (bytes + kGzipChunkBytes - 1) / kGzipChunkBytes;
  const int64_t taken = std::min(chunks, kGzipSampledChunks);
  std::vector<int64_t> in(static_cast<size_t>(taken), 0);
  std::vector<int64_t> out(static_cast<size_t>(taken), 0);
  parallel.Run(taken, [&](int64_t i) {
    const int64_t chunk = taken == 1 ? 0 : i * (chunks - 1) / (taken - 1);
    const int64_t start = chunk * kGzipChunkBytes;
    const int64_t from = std::max<int64_t>(0, start - kGzipChunkBytes);
    std::string data;
    const int64_t got = ReadAt(fd, from, start - from + kGzipChunkBytes, &data);
    if (got <= start - from) {
      out[static_cast<size_t>(i)] = -1;
      return;
    }
    in[static_cast<size_t>(i)] = got - (start - from);
    out[static_cast<size_t>(i)] = Deflated(data, start - from);
  });
  int64_t total_in = 0;
  int64_t total_out = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    if (out[i] < 0) return absl::UnavailableError(absl::StrCat("reading ", path, " failed"));
    total_in += in[i];
    total_out += out[i];
  }
  const bool sampled = taken < chunks;
  const double ratio = static_cast<double>(total_out) / static_cast<double>(total_in);
  sizes->gzip_bytes +=
      kGzipFrameBytes + (sampled ? std::llround(static_cast<double>(bytes) * ratio) : total_out);
  sizes->gzip_sampled = sizes->gzip_sampled || sampled;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FileSizes> MeasureFiles(const std::string& folder,
                                       const std::vector<std::string>& files, Parallel& parallel) {
  FileSizes sizes;
  for (const std::string& file : files) {
    RETURN_IF_ERROR(MeasureFile(absl::StrCat(folder, "/", file), parallel, &sizes));
  }
  return sizes;
}

}  // namespace lathe::engine
