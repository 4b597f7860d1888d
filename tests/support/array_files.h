// Makes .npz and .safetensors files byte by byte, sound ones and damaged ones.
#ifndef LATHE_TESTS_SUPPORT_ARRAY_FILES_H_
#define LATHE_TESTS_SUPPORT_ARRAY_FILES_H_

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace lathe::testing {

template <typename T>
std::string RawBytes(std::span<const T> values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}
template <typename T>
std::string RawBytes(const std::vector<T>& values) {
  return RawBytes(std::span<const T>(values));
}
template <typename T>
void AppendRaw(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// A .npy with the dict `literal`.
inline std::string NpyWithHeader(const std::string& literal, const std::string& data,
                                 int version = 1) {
  std::string out("\x93NUMPY", 6);
  out.push_back(static_cast<char>(version));
  out.push_back('\0');
  if (version == 1) {
    AppendRaw(&out, static_cast<uint16_t>(literal.size()));
  } else {
    AppendRaw(&out, static_cast<uint32_t>(literal.size()));
  }
  return out + literal + data;
}

inline std::string NpyLiteral(const std::string& descr, const std::vector<int64_t>& shape,
                              bool fortran = false) {
  return absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", fortran ? "True" : "False",
                      ", 'shape': (", absl::StrJoin(shape, ", "), shape.size() == 1 ? ",)" : ")",
                      ", }   \n");
}

inline std::string Npy(const std::string& descr, const std::vector<int64_t>& shape,
                       const std::string& data) {
  return NpyWithHeader(NpyLiteral(descr, shape), data);
}
inline std::string NpyFloats(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  return Npy("<f4", shape, RawBytes(values));
}
inline std::string NpyInts(const std::vector<int64_t>& shape, const std::vector<int64_t>& values) {
  return Npy("<i8", shape, RawBytes(values));
}

// Raw deflate.
inline std::string Deflate(const std::string& plain) {
  z_stream stream = {};
  deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, plain.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// A zip member; what is set beside name and content lies about them.
struct ZipPart {
  std::string name = {};  // with ".npy"
  std::string content = {};
  bool deflated = false;
  bool zip64 = false;  // sizes and place in the extra field
  std::optional<std::string> local_name = {};
  std::optional<uint64_t> plain_bytes = {};
  std::optional<uint64_t> stored_bytes = {};
  std::optional<uint64_t> header_offset = {};
  std::optional<uint32_t> crc = {};
  std::optional<std::string> stored = {};  // the bytes themselves
  uint16_t method = 0;                     // 0: by `deflated`
  uint16_t flags = 0;
};

struct ZipLies {
  bool zip64 = false;  // with a zip64 end record and locator
  std::optional<uint64_t> entries = {};
  std::optional<uint64_t> directory_offset = {};
  std::optional<uint64_t> directory_bytes = {};
  std::string before_end = {};  // between directory and end record
  std::string comment = {};
};

inline std::string Zip(const std::vector<ZipPart>& parts, const ZipLies& lies = {}) {
  std::string out;
  std::string directory;
  for (const ZipPart& part : parts) {
    const uint64_t offset = part.header_offset.value_or(out.size());
    const std::string stored =
        part.stored.value_or(part.deflated ? Deflate(part.content) : part.content);
    const std::string local_name = part.local_name.value_or(part.name);
    const uint64_t plain_bytes = part.plain_bytes.value_or(part.content.size());
    const uint64_t stored_bytes = part.stored_bytes.value_or(stored.size());
    const uint32_t crc = part.crc.value_or(static_cast<uint32_t>(
        crc32_z(0, reinterpret_cast<const Bytef*>(part.content.data()), part.content.size())));
    const uint16_t method = part.method != 0 ? part.method : part.deflated ? 8 : 0;
    AppendRaw(&out, uint32_t{0x04034b50});
    for (const uint16_t v : {uint16_t{45}, part.flags, method, uint16_t{0}, uint16_t{33}}) {
      AppendRaw(&out, v);
    }
    for (const uint32_t v : {crc, ~uint32_t{0}, ~uint32_t{0}}) AppendRaw(&out, v);
    AppendRaw(&out, static_cast<uint16_t>(local_name.size()));
    AppendRaw(&out, uint16_t{0});
    out += local_name + stored;

    std::string extra;
    if (part.zip64) {
      AppendRaw(&extra, uint16_t{1});
      AppendRaw(&extra, uint16_t{24});
      for (const uint64_t v : {plain_bytes, stored_bytes, offset}) AppendRaw(&extra, v);
    }
    const auto in32 = [&](uint64_t v) { return part.zip64 ? ~uint32_t{0} : uint32_t(v); };
    AppendRaw(&directory, uint32_t{0x02014b50});
    for (const uint16_t v :
         {uint16_t{45}, uint16_t{45}, part.flags, method, uint16_t{0}, uint16_t{33}}) {
      AppendRaw(&directory, v);
    }
    for (const uint32_t v : {crc, in32(stored_bytes), in32(plain_bytes)}) AppendRaw(&directory, v);
    AppendRaw(&directory, static_cast<uint16_t>(part.name.size()));
    AppendRaw(&directory, static_cast<uint16_t>(extra.size()));
    for (int i = 0; i < 3; ++i) AppendRaw(&directory, uint16_t{0});
    AppendRaw(&directory, uint32_t{0});
    AppendRaw(&directory, in32(offset));
    directory += part.name + extra;
  }
  const uint64_t at = lies.directory_offset.value_or(out.size());
  const uint64_t bytes = lies.directory_bytes.value_or(directory.size());
  const uint64_t entries = lies.entries.value_or(parts.size());
  out += directory + lies.before_end;
  if (lies.zip64) {
    const uint64_t end64 = out.size();
    AppendRaw(&out, uint32_t{0x06064b50});
    AppendRaw(&out, uint64_t{44});
    AppendRaw(&out, uint32_t{0x002d002d});
    AppendRaw(&out, uint64_t{0});
    for (const uint64_t v : {entries, entries, bytes, at}) AppendRaw(&out, v);
    AppendRaw(&out, uint32_t{0x07064b50});
    AppendRaw(&out, uint32_t{0});
    AppendRaw(&out, end64);
    AppendRaw(&out, uint32_t{1});
  }
  const auto count16 = static_cast<uint16_t>(lies.zip64 ? 0xFFFF : entries);
  AppendRaw(&out, uint32_t{0x06054b50});
  for (const uint16_t v : {uint16_t{0}, uint16_t{0}, count16, count16}) AppendRaw(&out, v);
  for (const uint64_t v : {bytes, at}) {
    AppendRaw(&out, lies.zip64 ? ~uint32_t{0} : static_cast<uint32_t>(v));
  }
  AppendRaw(&out, static_cast<uint16_t>(lies.comment.size()));
  return out + lies.comment;
}

inline std::string Safetensors(const std::string& json, const std::string& data) {
  std::string out;
  AppendRaw(&out, static_cast<uint64_t>(json.size()));
  return out + json + data;
}

}  // namespace lathe::testing

#endif  // LATHE_TESTS_SUPPORT_ARRAY_FILES_H_
