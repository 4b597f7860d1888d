#include "common/formats/npz_file.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/formats/member_reader.h"
#include "common/formats/npy_header.h"
#include "common/formats/zip_directory.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

// What is behind one array.
struct Source {
  std::unique_ptr<MemberReader> reader;
  int64_t header_bytes = 0;  // before the elements
  int element_bytes = 0;
  bool swap = false;   // big-endian
  bool turn = false;   // Fortran order with several axes
  std::string turned;  // then: all elements in C order, once read
};

void SwapBytes(char* bytes, int64_t count, int element_bytes) {
  for (int64_t at = 0; at + element_bytes <= count; at += element_bytes) {
    std::reverse(bytes + at, bytes + at + element_bytes);
  }
}

// From Fortran order (first axis fastest) to C order (last axis fastest).
std::string Turn(const std::string& fortran, const Shape& shape, int element_bytes) {
  std::string out(fortran.size(), '\0');
  const size_t rank = shape.size();
  std::vector<int64_t> index(rank, 0);
  std::vector<int64_t> stride(rank, element_bytes);  // bytes in C order
  for (size_t axis = rank - 1; axis-- > 0;) stride[axis] = stride[axis + 1] * shape[axis + 1];
  int64_t to = 0;
  for (size_t from = 0; from < fortran.size(); from += element_bytes) {
    std::memcpy(out.data() + to, fortran.data() + from, element_bytes);
    for (size_t axis = 0; axis < rank; ++axis) {
      to += stride[axis];
      if (++index[axis] < shape[axis]) break;
      to -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

class NpzFile : public ArrayFile {
 public:
  static absl::StatusOr<std::unique_ptr<ArrayFile>> Open(std::unique_ptr<ByteSource> source);

 private:
  NpzFile(std::unique_ptr<ByteSource> bytes, std::vector<ArrayInfo> arrays,
          std::vector<Source> sources)
      : ArrayFile(std::move(arrays)), bytes_(std::move(bytes)), sources_(std::move(sources)) {}

  static absl::Status ReadHeader(const ByteSource& bytes, const ZipMember& member, ArrayInfo* info,
                                 Source* source);
  absl::Status DoReadRows(int index, int64_t first, int64_t count, char* out) override;

  const std::unique_ptr<ByteSource> bytes_;
  std::vector<Source> sources_;
};

absl::Status NpzFile::ReadHeader(const ByteSource& bytes, const ZipMember& member, ArrayInfo* info,
                                 Source* source) {
  source->reader = MemberReader::Make(&bytes, member);
  if (member.plain_bytes < kNpyPrefixBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", member.plain_bytes, " bytes, too few for a .npy array"));
  }
  std::string header(static_cast<size_t>(kNpyPrefixBytes), '\0');
  RETURN_IF_ERROR(source->reader->Read(0, kNpyPrefixBytes, header.data()));
  ASSIGN_OR_RETURN(source->header_bytes, NpyHeaderBytes(header));
  if (source->header_bytes > member.plain_bytes) {
    return absl::InvalidArgumentError("its .npy header is cut short");
  }
  header.resize(static_cast<size_t>(source->header_bytes));
  if (source->header_bytes > kNpyPrefixBytes) {
    RETURN_IF_ERROR(source->reader->Read(kNpyPrefixBytes, source->header_bytes - kNpyPrefixBytes,
                                         header.data() + kNpyPrefixBytes));
  }
  ASSIGN_OR_RETURN(const NpyHeader npy, ParseNpyHeader(header));
  info->dtype = npy.dtype;
  info->shape = npy.shape;
  RETURN_IF_ERROR(SetSizes(info));
  source->element_bytes = DTypeBits(npy.dtype).value_or(8) / 8;
  source->swap = npy.big_endian;
  source->turn = npy.fortran_order && npy.shape.size() > 1;
  const int64_t bytes_expected = info->rows * info->row_bytes;
  if (bytes_expected != member.plain_bytes - source->header_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("its shape [", absl::StrJoin(info->shape, ","), "] of ",
                     DTypeName(info->dtype), " takes ", bytes_expected, " bytes, but ",
                     member.plain_bytes - source->header_bytes, " follow the header"));
  }
  if (source->turn && bytes_expected > limits::kMaxFortranBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("is in Fortran order and has ", bytes_expected, " bytes; more than ",
                     limits::kMaxFortranBytes,
                     " can only be read in C order: save numpy.ascontiguousarray(array)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ArrayFile>> NpzFile::Open(std::unique_ptr<ByteSource> bytes) {
  ASSIGN_OR_RETURN(const std::vector<ZipMember> members, ReadZipDirectory(*bytes));
  std::vector<ArrayInfo> arrays;
  std::vector<Source> sources;
  for (const ZipMember& member : members) {
    ArrayInfo info;
    info.name = std::string(absl::StripSuffix(member.name, ".npy"));
    RETURN_IF_ERROR(CheckArrayName(info.name));
    Source source;
    if (const absl::Status status = ReadHeader(*bytes, member, &info, &source); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat(ArrayPrefix(info.name), status.message()));
    }
    for (const ArrayInfo& other : arrays) {  // "x" and "x.npy" are one name
      if (other.name == info.name) {
        return absl::InvalidArgumentError(absl::StrCat(ArrayPrefix(info.name), "is there twice"));
      }
    }
    // Inflating starts anew when rows are asked for: no state is kept for arrays that nobody reads.
    source.reader = MemberReader::Make(bytes.get(), member);
    arrays.push_back(std::move(info));
    sources.push_back(std::move(source));
  }
  return std::unique_ptr<ArrayFile>(
      new NpzFile(std::move(bytes), std::move(arrays), std::move(sources)));
}

absl::Status NpzFile::DoReadRows(int index, int64_t first, int64_t count, char* out) {
  Source& source = sources_[index];
  const ArrayInfo& info = arrays()[index];
  const int64_t bytes = count * info.row_bytes;
  if (source.turn) {
    if (source.turned.empty()) {
      std::string all(static_cast<size_t>(info.rows * info.row_bytes), '\0');
      RETURN_IF_ERROR(
          source.reader->Read(source.header_bytes, info.rows * info.row_bytes, all.data()));
      source.turned = Turn(all, info.shape, source.element_bytes);
    }
    std::memcpy(out, source.turned.data() + first * info.row_bytes, static_cast<size_t>(bytes));
  } else {
    RETURN_IF_ERROR(source.reader->Read(source.header_bytes + first * info.row_bytes, bytes, out));
  }
  if (source.swap) SwapBytes(out, bytes, source.element_bytes);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArrayFile>> OpenNpz(std::unique_ptr<ByteSource> source) {
  return NpzFile::Open(std::move(source));
}

}  // namespace lathe
