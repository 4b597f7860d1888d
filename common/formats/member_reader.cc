#include "common/formats/member_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

constexpr int64_t kChunkBytes = 64 << 10;
constexpr int64_t kCheckpoints = 32;
constexpr int64_t kMinCheckpointBytes = 1 << 20;
constexpr int64_t kMaxStepBytes = 1 << 30;  // zlib counts in 32 bits

uint32_t Crc(uint32_t crc, const char* bytes, int64_t count) {
  return static_cast<uint32_t>(
      crc32_z(crc, reinterpret_cast<const Bytef*>(bytes), static_cast<z_size_t>(count)));
}

absl::Status WrongChecksum(uint32_t expected, uint32_t got) {
  return absl::InvalidArgumentError(absl::StrCat("its bytes have the CRC-32 ", absl::Hex(got),
                                                 ", but the file says ", absl::Hex(expected),
                                                 ": the file is damaged"));
}

class StoredReader : public MemberReader {
 public:
  StoredReader(const ByteSource* source, const ZipMember& member)
      : source_(source), member_(member) {}

  absl::Status Read(int64_t offset, int64_t count, char* out) override {
    std::string skipped;
    while (summed_ < offset) {
      skipped.resize(static_cast<size_t>(std::min(kChunkBytes, offset - summed_)));
      const auto bytes = static_cast<int64_t>(skipped.size());
      RETURN_IF_ERROR(source_->Read(member_.offset + summed_, bytes, skipped.data()));
      crc_ = Crc(crc_, skipped.data(), bytes);
      summed_ += bytes;
    }
    RETURN_IF_ERROR(source_->Read(member_.offset + offset, count, out));
    if (offset + count > summed_) {
      crc_ = Crc(crc_, out + (summed_ - offset), offset + count - summed_);
      summed_ = offset + count;
    }
    if (summed_ == member_.plain_bytes && crc_ != member_.crc32) {
      return WrongChecksum(member_.crc32, crc_);
    }
    return absl::OkStatus();
  }

 private:
  const ByteSource* const source_;
  const ZipMember member_;
  int64_t summed_ = 0;  // bytes that crc_ covers
  uint32_t crc_ = 0;
};

// Owns zlib's state.
class Inflater {
 public:
  Inflater() { ok_ = inflateInit2(&stream_, -MAX_WBITS) == Z_OK; }  // raw, without zlib's header
  ~Inflater() {
    if (ok_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  // A copy that goes on from where this stands; its input must be given anew.
  std::unique_ptr<Inflater> Copy() {
    auto copy = std::unique_ptr<Inflater>(new Inflater(nullptr));
    copy->ok_ = ok_ && inflateCopy(&copy->stream_, &stream_) == Z_OK;
    copy->stream_.avail_in = 0;
    return copy;
  }
  bool ok() const { return ok_; }
  z_stream& stream() { return stream_; }

 private:
  explicit Inflater(std::nullptr_t) {}
  z_stream stream_ = {};
  bool ok_ = false;
};

class DeflatedReader : public MemberReader {
 public:
  DeflatedReader(const ByteSource* source, const ZipMember& member)
      : source_(source),
        member_(member),
        checkpoint_bytes_(std::max(kMinCheckpointBytes, member.plain_bytes / kCheckpoints + 1)) {}

  absl::Status Read(int64_t offset, int64_t count, char* out) override {
    if (now_.inflater == nullptr || offset < now_.plain) RETURN_IF_ERROR(GoBack(offset));
    std::string skipped;
    while (now_.plain < offset) {
      skipped.resize(static_cast<size_t>(std::min(kChunkBytes, offset - now_.plain)));
      RETURN_IF_ERROR(Inflate(static_cast<int64_t>(skipped.size()), skipped.data()));
    }
    while (count > 0) {
      const int64_t bytes = std::min({count, checkpoint_bytes_, kMaxStepBytes});
      RETURN_IF_ERROR(Inflate(bytes, out));
      out += bytes;
      count -= bytes;
    }
    return absl::OkStatus();
  }

 private:
  // Where inflating stands.
  struct Place {
    std::unique_ptr<Inflater> inflater;
    int64_t stored = 0;  // stored bytes that zlib has been given
    int64_t plain = 0;   // plain bytes that came out
    uint32_t crc = 0;    // of those
  };

  static absl::Status Damaged() {
    return absl::InvalidArgumentError("its compressed bytes are damaged");
  }

  static absl::StatusOr<Place> CopyOf(const Place& place) {
    Place copy{place.inflater->Copy(),
               place.stored - static_cast<int64_t>(place.inflater->stream().avail_in), place.plain,
               place.crc};
    if (!copy.inflater->ok()) return absl::ResourceExhaustedError("no memory to inflate");
    return copy;
  }

  // To the last checkpoint not behind `offset`, or to the start.
  absl::Status GoBack(int64_t offset) {
    for (auto it = checkpoints_.rbegin(); it != checkpoints_.rend(); ++it) {
      if (it->plain > offset) continue;
      ASSIGN_OR_RETURN(now_, CopyOf(*it));
      return absl::OkStatus();
    }
    now_ = Place{std::make_unique<Inflater>(), 0, 0, 0};
    if (!now_.inflater->ok()) return absl::ResourceExhaustedError("no memory to inflate");
    return absl::OkStatus();
  }

  // The next `count` plain bytes.
  absl::Status Inflate(int64_t count, char* out) {
    z_stream& stream = now_.inflater->stream();
    stream.next_out = reinterpret_cast<Bytef*>(out);
    stream.avail_out = static_cast<uInt>(count);
    while (stream.avail_out > 0) {
      ASSIGN_OR_RETURN(const bool ended, Step());
      if (ended && stream.avail_out > 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("its compressed bytes end after ",
                         now_.plain + count - static_cast<int64_t>(stream.avail_out), " of the ",
                         member_.plain_bytes, " bytes that the file says"));
      }
    }
    now_.crc = Crc(now_.crc, out, count);
    now_.plain += count;
    if (now_.plain == member_.plain_bytes) return Finish();
    const int64_t last = checkpoints_.empty() ? 0 : checkpoints_.back().plain;
    if (now_.plain >= last + checkpoint_bytes_) {
      ASSIGN_OR_RETURN(Place place, CopyOf(now_));
      checkpoints_.push_back(std::move(place));
    }
    return absl::OkStatus();
  }

  // Lets zlib do what it can, giving it more input when it has none. True at the stream's end.
  absl::StatusOr<bool> Step() {
    z_stream& stream = now_.inflater->stream();
    if (stream.avail_in == 0) {
      input_.resize(static_cast<size_t>(std::min(kChunkBytes, member_.stored_bytes - now_.stored)));
      const auto bytes = static_cast<int64_t>(input_.size());
      RETURN_IF_ERROR(source_->Read(member_.offset + now_.stored, bytes, input_.data()));
      now_.stored += bytes;
      stream.next_in = reinterpret_cast<Bytef*>(input_.data());
      stream.avail_in = static_cast<uInt>(bytes);
    }
    const int result = inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END) return true;
    // Z_BUF_ERROR: no input is left, or no room for output; the latter ends our caller's loop.
    if (result == Z_BUF_ERROR && stream.avail_out > 0) {
      return absl::InvalidArgumentError("its compressed bytes are cut short");
    }
    if (result == Z_MEM_ERROR) return absl::ResourceExhaustedError("no memory to inflate");
    if (result != Z_OK && result != Z_BUF_ERROR) return Damaged();
    return false;
  }

  // At the last plain byte: the stream must end here, with nothing behind it.
  absl::Status Finish() {
    z_stream& stream = now_.inflater->stream();
    Bytef more = 0;
    stream.next_out = &more;
    stream.avail_out = 1;
    for (;;) {
      ASSIGN_OR_RETURN(const bool ended, Step());
      if (stream.avail_out == 0) {
        return absl::InvalidArgumentError(absl::StrCat("its compressed bytes hold more than the ",
                                                       member_.plain_bytes,
                                                       " bytes that the file says"));
      }
      if (ended) break;
    }
    const bool all = stream.avail_in == 0 && now_.stored == member_.stored_bytes;
    const uint32_t crc = now_.crc;
    now_ = Place{};  // its end has been passed; reading again starts at a checkpoint
    if (!all) return Damaged();
    return crc == member_.crc32 ? absl::OkStatus() : WrongChecksum(member_.crc32, crc);
  }

  const ByteSource* const source_;
  const ZipMember member_;
  const int64_t checkpoint_bytes_;
  Place now_;
  std::string input_;               // what now_.inflater reads from
  std::vector<Place> checkpoints_;  // by rising place; at most kCheckpoints
};

}  // namespace

std::unique_ptr<MemberReader> MemberReader::Make(const ByteSource* source,
                                                 const ZipMember& member) {
  if (member.deflated) return std::make_unique<DeflatedReader>(source, member);
  return std::make_unique<StoredReader>(source, member);
}

}  // namespace lathe
