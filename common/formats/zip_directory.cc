// PKWARE's APPNOTE.TXT 6.3.10, of which this reads: 4.3.7 local header, 4.3.12 directory, 4.3.14
// and 4.3.15 zip64 end record and locator, 4.3.16 end record, 4.5.3 zip64 extra field.
#include "common/formats/zip_directory.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

constexpr int64_t kEndBytes = 22;
constexpr int64_t kMaxCommentBytes = 0xFFFF;
constexpr int64_t kLocatorBytes = 20;
constexpr int64_t kEnd64Bytes = 56;
constexpr int64_t kEntryBytes = 46;
constexpr int64_t kLocalBytes = 30;
constexpr uint32_t kEndMagic = 0x06054b50;
constexpr uint32_t kLocatorMagic = 0x07064b50;
constexpr uint32_t kEnd64Magic = 0x06064b50;
constexpr uint32_t kEntryMagic = 0x02014b50;
constexpr uint32_t kLocalMagic = 0x04034b50;
constexpr uint16_t kEncrypted = 1;
constexpr uint16_t kZip64Extra = 1;
constexpr uint32_t kIn64 = 0xFFFFFFFF;  // the value stands in the zip64 extra field
// Deflate's best: 258 bytes in two bits of a long match, 1032 to one.
constexpr int64_t kMaxDeflateRatio = 1032;

absl::Status Damaged(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a sound .npz (zip) file: ", what));
}

std::string Show(absl::string_view name) {
  return absl::StrCat("member '", absl::Utf8SafeCHexEscape(name.substr(0, 80)), "' ");
}

template <typename T>
T Get(absl::string_view bytes, int64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

struct Directory {
  int64_t offset = 0;
  int64_t bytes = 0;
  int64_t entries = 0;
};

// The directory must end where the end records begin, so that nothing can hide in between.
absl::StatusOr<Directory> FindDirectory(const ByteSource& source) {
  const int64_t tail_bytes = std::min(source.size(), kEndBytes + kMaxCommentBytes);
  ASSIGN_OR_RETURN(const std::string tail,
                   source.ReadString(source.size() - tail_bytes, tail_bytes));
  int64_t at = tail_bytes - kEndBytes;
  while (at >= 0 && (Get<uint32_t>(tail, at) != kEndMagic ||
                     at + kEndBytes + Get<uint16_t>(tail, at + 20) != tail_bytes)) {
    --at;
  }
  if (at < 0) return Damaged("it has no end record; it may be cut short");
  Directory found;
  found.entries = Get<uint16_t>(tail, at + 10);
  found.bytes = Get<uint32_t>(tail, at + 12);
  found.offset = Get<uint32_t>(tail, at + 16);
  bool one_disk = Get<uint16_t>(tail, at + 4) == 0 && Get<uint16_t>(tail, at + 6) == 0 &&
                  Get<uint16_t>(tail, at + 8) == found.entries;
  int64_t end = source.size() - tail_bytes + at;
  if (end >= kLocatorBytes) {
    ASSIGN_OR_RETURN(const std::string locator,
                     source.ReadString(end - kLocatorBytes, kLocatorBytes));
    if (Get<uint32_t>(locator, 0) == kLocatorMagic) {
      const int64_t end64 = Get<int64_t>(locator, 8);
      if (end64 < 0 || end64 > end - kLocatorBytes - kEnd64Bytes) {
        return Damaged("its zip64 end record is said to lie outside of the file");
      }
      ASSIGN_OR_RETURN(const std::string record, source.ReadString(end64, kEnd64Bytes));
      if (Get<uint32_t>(record, 0) != kEnd64Magic) {
        return Damaged("there is no zip64 end record where it is said to be");
      }
      one_disk = Get<uint32_t>(record, 16) == 0 && Get<uint32_t>(record, 20) == 0 &&
                 Get<int64_t>(record, 24) == Get<int64_t>(record, 32);
      found.entries = Get<int64_t>(record, 32);
      found.bytes = Get<int64_t>(record, 40);
      found.offset = Get<int64_t>(record, 48);
      end = end64;
    }
  }
  if (!one_disk) return Damaged("it is one of several disks, or its end records disagree");
  if (found.entries < 0 || found.entries > limits::kMaxArrays) {
    return Damaged(absl::StrCat("it claims ", found.entries, " members; at most ",
                                limits::kMaxArrays, " are allowed"));
  }
  if (found.bytes < 0 || found.bytes > limits::kMaxZipDirectoryBytes || found.offset < 0 ||
      found.offset > end || found.bytes != end - found.offset) {
    return Damaged(absl::StrCat("its directory is said to be ", found.bytes, " bytes at ",
                                found.offset, ", but the end record lies at ", end));
  }
  return found;
}

// Puts the 64-bit values of an entry's extra field where the 32-bit ones say so.
absl::Status ReadZip64(absl::string_view extra, ZipMember* member, int64_t* header) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const auto id = Get<uint16_t>(extra, static_cast<int64_t>(at));
    const size_t bytes = Get<uint16_t>(extra, static_cast<int64_t>(at) + 2);
    at += 4;
    if (bytes > extra.size() - at) break;
    if (id == kZip64Extra) {
      absl::string_view field = extra.substr(at, bytes);
      for (int64_t* value : {&member->plain_bytes, &member->stored_bytes, header}) {
        if (*value != int64_t{kIn64}) continue;
        if (field.size() < 8) return Damaged(Show(member->name) + "has a short zip64 field");
        *value = Get<int64_t>(field, 0);
        field.remove_prefix(8);
      }
      return absl::OkStatus();
    }
    at += bytes;
  }
  return absl::OkStatus();  // 0xFFFFFFFF is then the size itself
}

// Reads the entry at the front of `rest` and takes it off.
absl::StatusOr<ZipMember> ReadEntry(absl::string_view* rest, int64_t* header) {
  if (rest->size() < static_cast<size_t>(kEntryBytes) || Get<uint32_t>(*rest, 0) != kEntryMagic) {
    return Damaged("its directory is shorter than its entries");
  }
  const size_t name_bytes = Get<uint16_t>(*rest, 28);
  const size_t extra_bytes = Get<uint16_t>(*rest, 30);
  const size_t comment_bytes = Get<uint16_t>(*rest, 32);
  const size_t all = static_cast<size_t>(kEntryBytes) + name_bytes + extra_bytes + comment_bytes;
  if (rest->size() < all) return Damaged("its directory is shorter than its entries");
  ZipMember member;
  member.name = std::string(rest->substr(kEntryBytes, name_bytes));
  const auto flags = Get<uint16_t>(*rest, 8);
  const auto method = Get<uint16_t>(*rest, 10);
  member.crc32 = Get<uint32_t>(*rest, 16);
  member.stored_bytes = Get<uint32_t>(*rest, 20);
  member.plain_bytes = Get<uint32_t>(*rest, 24);
  *header = Get<uint32_t>(*rest, 42);
  if ((flags & kEncrypted) != 0) return Damaged(Show(member.name) + "is encrypted");
  if (method != 0 && method != 8) {
    return Damaged(absl::StrCat(Show(member.name), "is compressed by method ", method,
                                "; stored (0) and deflated (8) are read: use numpy.savez or "
                                "numpy.savez_compressed"));
  }
  member.deflated = method == 8;
  RETURN_IF_ERROR(ReadZip64(rest->substr(kEntryBytes + name_bytes, extra_bytes), &member, header));
  if (member.stored_bytes < 0 || member.plain_bytes < 0 || *header < 0) {
    return Damaged(Show(member.name) + "has a size or a place past 2^63");
  }
  const bool possible = member.deflated
                            ? member.plain_bytes / kMaxDeflateRatio <= member.stored_bytes
                            : member.plain_bytes == member.stored_bytes;
  if (!possible) {
    return Damaged(absl::StrCat(Show(member.name), "claims ", member.plain_bytes, " bytes in ",
                                member.stored_bytes, " stored ones, which cannot be"));
  }
  rest->remove_prefix(all);
  return member;
}

// Sets member->offset from the local header at `header`; returns it. `limit`: where the directory
// begins.
absl::Status FindBytes(const ByteSource& source, int64_t header, int64_t limit, ZipMember* member) {
  if (header > limit - kLocalBytes) return Damaged(Show(member->name) + "lies outside of the file");
  ASSIGN_OR_RETURN(const std::string local, source.ReadString(header, kLocalBytes));
  const auto name_bytes = static_cast<int64_t>(Get<uint16_t>(local, 26));
  const auto extra_bytes = static_cast<int64_t>(Get<uint16_t>(local, 28));
  if (Get<uint32_t>(local, 0) != kLocalMagic ||
      Get<uint16_t>(local, 8) != (member->deflated ? 8 : 0) ||
      name_bytes != static_cast<int64_t>(member->name.size())) {
    return Damaged(Show(member->name) + "has a local header that contradicts the directory");
  }
  member->offset = header + kLocalBytes + name_bytes + extra_bytes;
  if (member->offset > limit || member->stored_bytes > limit - member->offset) {
    return Damaged(absl::StrCat(Show(member->name), "has ", member->stored_bytes, " bytes at ",
                                member->offset, ", past the directory at ", limit));
  }
  ASSIGN_OR_RETURN(const std::string name, source.ReadString(header + kLocalBytes, name_bytes));
  if (name != member->name) {
    return Damaged(Show(member->name) + "has a local header that contradicts the directory");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(const ByteSource& source) {
  ASSIGN_OR_RETURN(const Directory directory, FindDirectory(source));
  ASSIGN_OR_RETURN(const std::string bytes, source.ReadString(directory.offset, directory.bytes));
  absl::string_view rest = bytes;
  std::vector<ZipMember> members;
  std::vector<std::pair<int64_t, int64_t>> spans;  // [local header, end of bytes)
  std::set<std::string> names;
  for (int64_t i = 0; i < directory.entries; ++i) {
    int64_t header = 0;
    ASSIGN_OR_RETURN(ZipMember member, ReadEntry(&rest, &header));
    RETURN_IF_ERROR(FindBytes(source, header, directory.offset, &member));
    if (!names.insert(member.name).second) {
      return Damaged(Show(member.name) + "is there twice");
    }
    spans.emplace_back(header, member.offset + member.stored_bytes);
    members.push_back(std::move(member));
  }
  if (!rest.empty()) return Damaged("its directory is longer than its entries");
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i) {
    if (spans[i].first < spans[i - 1].second) {
      return Damaged(absl::StrCat("two members share the bytes at ", spans[i].first));
    }
  }
  return members;
}

}  // namespace lathe
