#include "common/formats/npz_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "common/limits.h"
#include "tests/support/array_files.h"
#include "tests/support/temp_folder.h"

namespace lathe {
namespace {

using ::lathe::testing::Deflate;
using ::lathe::testing::Npy;
using ::lathe::testing::NpyFloats;
using ::lathe::testing::NpyInts;
using ::lathe::testing::NpyLiteral;
using ::lathe::testing::NpyWithHeader;
using ::lathe::testing::RawBytes;
using ::lathe::testing::Zip;
using ::lathe::testing::ZipLies;
using ::lathe::testing::ZipPart;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<ArrayFile>> OpenBytes(std::string bytes) {
  return ArrayFile::Open(ByteSource::OfString(std::move(bytes)));
}

template <typename T>
absl::StatusOr<std::vector<T>> Rows(ArrayFile& file, absl::string_view name, int64_t first,
                                    int64_t count) {
  const int index = file.Find(name);
  if (index < 0) return absl::NotFoundError("no such array");
  std::vector<T> out(count * file.arrays()[index].row_bytes / sizeof(T));
  const absl::Status status =
      file.ReadRows(index, first, count, reinterpret_cast<char*>(out.data()));
  if (!status.ok()) return status;
  return out;
}

TEST(NpzFile, HeadersAloneTellNamesTypesAndShapes) {
  auto file = OpenBytes(Zip({{.name = "x.npy", .content = NpyFloats({2, 3}, {1, 2, 3, 4, 5, 6})},
                             {.name = "labels.npy", .content = NpyInts({2}, {0, 1})},
                             {.name = "scalar.npy", .content = NpyFloats({}, {7})}}));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->arrays().size(), 3u);
  const ArrayInfo& x = (*file)->arrays()[0];
  EXPECT_EQ(x.name, "x");
  EXPECT_EQ(x.dtype, DType::kFloat);
  EXPECT_THAT(x.shape, ElementsAre(2, 3));
  EXPECT_EQ(x.rows, 2);
  EXPECT_EQ(x.row_bytes, 12);
  EXPECT_EQ((*file)->arrays()[2].rows, 1);
  EXPECT_THAT(*Rows<float>(**file, "x", 1, 1), ElementsAre(4, 5, 6));
  EXPECT_THAT(*Rows<int64_t>(**file, "labels", 0, 2), ElementsAre(0, 1));
  EXPECT_THAT(*Rows<float>(**file, "scalar", 0, 1), ElementsAre(7));
}

TEST(NpzFile, ReadsFromAFileOnDisk) {
  const lathe::testing::TempFolder folder;
  const std::string path =
      folder.Write("d.npz", Zip({{.name = "x.npy", .content = NpyFloats({1}, {5})}}));
  auto file = ArrayFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(*Rows<float>(**file, "x", 0, 1), ElementsAre(5));
  EXPECT_EQ(ArrayFile::Open(folder.File("none.npz")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ArrayFile::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(NpzFile, BytesOfBigEndianNumbersAreSwapped) {
  auto file = OpenBytes(Zip(
      {{.name = "x.npy", .content = Npy(">i4", {2}, std::string("\0\0\1\2\xff\xff\xff\xfe", 8))}}));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(*Rows<int32_t>(**file, "x", 0, 2), ElementsAre(258, -2));
}

TEST(NpzFile, FortranOrderIsTurnedAround) {
  // [[[0 1 2] [3 4 5]] [[6 7 8] [9 10 11]]] of shape [2, 2, 3], first axis fastest.
  const std::vector<uint8_t> fortran = {0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11};
  for (const bool deflated : {false, true}) {
    auto file = OpenBytes(
        Zip({{.name = "x.npy",
              .content = NpyWithHeader(NpyLiteral("|u1", {2, 2, 3}, true), RawBytes(fortran)),
              .deflated = deflated}}));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_THAT(*Rows<uint8_t>(**file, "x", 1, 1), ElementsAre(6, 7, 8, 9, 10, 11));
    EXPECT_THAT(*Rows<uint8_t>(**file, "x", 0, 1), ElementsAre(0, 1, 2, 3, 4, 5));
  }
}

TEST(NpzFile, AllVersionsOfTheHeaderAndZip64AreRead) {
  for (const int version : {1, 2, 3}) {
    for (const bool zip64 : {false, true}) {
      const std::string npy =
          NpyWithHeader(NpyLiteral("<f4", {1}), RawBytes(std::vector<float>{3}), version);
      auto file = OpenBytes(Zip({{.name = "x.npy", .content = npy, .zip64 = zip64}},
                                {.zip64 = zip64, .comment = "PK\5\6 in a comment"}));
      ASSERT_TRUE(file.ok()) << file.status();
      EXPECT_THAT(*Rows<float>(**file, "x", 0, 1), ElementsAre(3));
    }
  }
}

// 12 MiB and a checkpoint a MiB: going back uses them, and every order gives the same rows.
TEST(NpzFile, DeflatedRowsAreTheSameInAnyOrder) {
  std::vector<uint32_t> values(3 << 20);
  uint32_t state = 1;
  for (uint32_t& v : values) v = (state = state * 1664525 + 1013904223) >> 8;
  auto file = OpenBytes(Zip({{.name = "x.npy",
                              .content = Npy("<u4", {3 << 10, 1 << 10}, RawBytes(values)),
                              .deflated = true}}));
  ASSERT_TRUE(file.ok()) << file.status();
  const auto expect_row = [&](int64_t row, int64_t count) {
    const auto got = Rows<uint32_t>(**file, "x", row, count);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(std::equal(got->begin(), got->end(), values.begin() + (row << 10))) << row;
  };
  for (const int64_t row : {0, 1, 700, 3071, 3070, 5, 2048, 1024, 1023, 3071, 0})
    expect_row(row, 1);
  expect_row(0, 3072);
}

TEST(NpzFile, AnEmptyArrayHasNoBytes) {
  auto file = OpenBytes(Zip({{.name = "x.npy", .content = NpyFloats({0, 4}, {})}}));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->arrays()[0].rows, 0);
  EXPECT_TRUE((*file)->ReadRows(0, 0, 0, nullptr).ok());
}

TEST(NpzFile, RowsOutsideAreRefused) {
  auto file = OpenBytes(Zip({{.name = "x.npy", .content = NpyFloats({2}, {1, 2})}}));
  ASSERT_TRUE(file.ok());
  char out[64];
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{
           {2, 1}, {-1, 1}, {0, 3}, {0, -1}, {INT64_MAX, 1}, {1, INT64_MAX}}) {
    EXPECT_EQ((*file)->ReadRows(0, first, count, out).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE((*file)->ReadRows(1, 0, 1, out).ok());
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* says;
};

std::string One(ZipPart part, const ZipLies& lies = {}) {
  if (part.name.empty()) part.name = "x.npy";
  if (part.content.empty()) part.content = NpyFloats({2}, {1, 2});
  return Zip({part}, lies);
}
std::string Header(const std::string& literal) {
  return One({.content = NpyWithHeader(literal, std::string(8, '\0'))});
}

TEST(NpzFile, HostileFilesAreRefusedWhenOpened) {
  const std::string good = One({});
  const std::string zeros(1 << 20, '\0');
  const std::vector<Hostile> cases = {
      {"nothing", "", "0 bytes"},
      {"short", "PK\3\4", "4 bytes"},
      {"cut", good.substr(0, good.size() - 1), "no end record"},
      {"front cut", "PK" + good.substr(30), "directory is said to be"},
      {"bare npy", NpyFloats({1}, {1}), "savez"},
      {"more members than entries", One({}, {.entries = 0}), "longer than its entries"},
      {"fewer members than entries", One({}, {.entries = 2}), "shorter than its entries"},
      {"too many entries", One({}, {.zip64 = true, .entries = 1ull << 40}), "at most 4096"},
      {"directory elsewhere", One({}, {.directory_offset = 5}), "directory is said to be"},
      {"directory past the end", One({}, {.zip64 = true, .directory_offset = 1ull << 62}),
       "directory is said to be"},
      {"directory of 2^63", One({}, {.zip64 = true, .directory_bytes = 1ull << 63}),
       "directory is said to be"},
      {"bytes before the end", One({}, {.before_end = "hidden"}), "directory is said to be"},
      {"encrypted", One({.flags = 1}), "encrypted"},
      {"bzip2", One({.method = 12}), "method 12"},
      {"stored sizes disagree", One({.plain_bytes = 1000}), "cannot be"},
      {"bomb", One({.deflated = true, .zip64 = true, .plain_bytes = 1ull << 60}), "cannot be"},
      {"stored past the directory", One({.plain_bytes = 9999, .stored_bytes = 9999}),
       "past the directory"},
      {"stored of 2^63",
       One({.zip64 = true, .plain_bytes = 1ull << 63, .stored_bytes = 1ull << 63}), "past 2^63"},
      {"header far away", One({.zip64 = true, .header_offset = 1ull << 61}), "outside of the file"},
      {"header in the data", One({.header_offset = 40}), "contradicts"},
      {"other local name", One({.local_name = "y.npy"}), "contradicts"},
      {"overlap",
       Zip({{.name = "x.npy", .content = NpyFloats({2}, {1, 2})},
            {.name = "x.npy", .content = NpyFloats({2}, {1, 2}), .header_offset = 0}}),
       "twice"},
      {"same name",
       Zip({{.name = "x.npy", .content = NpyFloats({1}, {1})},
            {.name = "x.npy", .content = NpyFloats({1}, {1})}}),
       "twice"},
      {"same name without npy",
       Zip({{.name = "x.npy", .content = NpyFloats({1}, {1})},
            {.name = "x", .content = NpyFloats({1}, {1})}}),
       "twice"},
      {"nul in the name", One({.name = std::string("x\0y.npy", 7)}), "NUL"},
      {"name not text", One({.name = "\xff\xfe.npy"}), "UTF-8"},
      {"no name", One({.name = ".npy"}), "empty name"},
      {"long name", One({.name = std::string(2000, 'n')}), "at most 1024"},
      {"not an array", One({.name = "readme.txt", .content = "hello, hello, hello"}), "\\x93NUMPY"},
      {"tiny member", One({.name = "x.npy", .content = "\x93NUM"}), "too few"},
      {"version 9", One({.content = NpyWithHeader(NpyLiteral("<f4", {2}), "12345678", 9)}),
       "version 9"},
      {"header past the member", One({.content = Npy("<f4", {2}, "").substr(0, 20)}), "cut short"},
      {"2^60 elements", One({.content = NpyFloats({1ll << 60}, {1, 2})}), "bytes"},
      {"2^60 elements deflated", One({.content = NpyFloats({1ll << 60}, {1, 2}), .deflated = true}),
       "bytes"},
      {"2^80 elements", One({.content = NpyFloats({1ll << 40, 1ll << 40}, {1, 2})}), "2^63"},
      {"a zero hides 2^80", One({.content = NpyFloats({0, 1ll << 40, 1ll << 40}, {})}), "2^63"},
      {"more bytes than the shape", One({.content = NpyFloats({1}, {1, 2})}), "takes 4 bytes"},
      {"objects", One({.content = Npy("|O", {1}, "12345678")}), "Python objects"},
      {"strings", One({.content = Npy("<U4", {1}, std::string(16, 'a'))}), "strings"},
      {"bytes", One({.content = Npy("|S4", {1}, "abcd")}), "strings"},
      {"complex", One({.content = Npy("<c8", {1}, "12345678")}), "complex"},
      {"dates", One({.content = Npy("<M8[s]", {1}, "12345678")}), "dates"},
      {"raw", One({.content = Npy("|V2", {4}, "12345678")}), "raw bytes"},
      {"extended", One({.content = Npy("<f16", {1}, "1234567812345678")}), "<f16"},
      {"no byte order", One({.content = Npy("f4", {2}, "12345678")}), "f4"},
      {"wide without order", One({.content = Npy("|f4", {2}, "12345678")}), "|f4"},
      {"empty type", One({.content = Npy("", {2}, "12345678")}), "type"},
      {"records", Header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"),
       "records"},
      {"not a dict", Header("[1, 2]"), "'{' is expected"},
      {"no shape", Header("{'descr': '<f4', 'fortran_order': False}"), "lacks"},
      {"key twice",
       Header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), "twice"},
      {"unknown key", Header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}"),
       "unknown key"},
      {"negative axis", Header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"), "axis"},
      {"axis of 2^70",
       Header("{'descr': '<f4', 'fortran_order': False, 'shape': (1180591620717411303424,)}"),
       "axis"},
      {"shape not closed", Header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, "),
       "axis"},
      {"text behind", Header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} + 1"),
       "behind"},
      {"a call", Header("__import__('os').system('true')"), "expected"},
      {"200 axes", One({.content = Npy("<f4", std::vector<int64_t>(200, 1), "1234")}), "axes"},
      {"large in Fortran order",
       One({.content = NpyWithHeader(NpyLiteral("|u1", {2, limits::kMaxFortranBytes}, true), ""),
            .deflated = true}),
       "bytes"},
  };
  for (const Hostile& c : cases) {
    const absl::Status status = OpenBytes(c.bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says)) << c.name;
  }
  EXPECT_TRUE(OpenBytes(good).ok());
}

TEST(NpzFile, OverlappingMembersAreRefused) {
  // The second member's local header is the first one's content.
  const std::string inner = Zip({{.name = "b.npy", .content = NpyFloats({1}, {1})}});
  const std::string local = inner.substr(0, 30 + 5 + NpyFloats({1}, {1}).size());
  const std::string bytes =
      Zip({{.name = "a.npy", .content = local},
           {.name = "b.npy", .content = NpyFloats({1}, {1}), .header_offset = 35}});
  EXPECT_THAT(std::string(OpenBytes(bytes).status().message()), HasSubstr("share the bytes"));
}

TEST(NpzFile, DamageIsFoundWhenItsBytesAreRead) {
  const std::string npy = NpyFloats({4}, {1, 2, 3, 4});
  std::string flipped = Deflate(npy);
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 0x10);
  const std::string longer = NpyFloats({5}, {1, 2, 3, 4, 5});
  const std::vector<Hostile> cases = {
      {"stored, wrong checksum", One({.content = npy, .crc = 7}), "CRC-32"},
      {"deflated, wrong checksum", One({.content = npy, .deflated = true, .crc = 7}), "CRC-32"},
      {"deflated, behind the end",
       One({.content = npy, .deflated = true, .stored = Deflate(npy) + "more"}), "damaged"},
      {"deflated to more", One({.content = npy, .deflated = true, .stored = Deflate(npy + "more")}),
       "hold more"},
      {"deflated to less",
       One({.content = npy, .deflated = true, .stored = Deflate(npy.substr(0, npy.size() - 4))}),
       "end after"},
      {"deflated, cut",
       One({.content = npy,
            .deflated = true,
            .stored = Deflate(npy).substr(0, Deflate(npy).size() - 6)}),
       "cut short"},
      {"deflated, flipped", One({.content = npy, .deflated = true, .stored = flipped}), ""},
  };
  for (const Hostile& c : cases) {
    auto file = OpenBytes(c.bytes);
    const absl::Status status = file.ok() ? Rows<float>(**file, "x", 0, 4).status() : file.status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says)) << c.name;
  }
}

TEST(NpzFile, TheChecksumCoversRowsThatWereSkipped) {
  std::string bytes = One({.content = NpyFloats({4}, {1, 2, 3, 4})});
  const size_t at = bytes.find(RawBytes(std::vector<float>{1, 2}));
  bytes[at] = 'x';  // in the first row
  auto file = OpenBytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(Rows<float>(**file, "x", 1, 2).ok());
  EXPECT_THAT(std::string(Rows<float>(**file, "x", 3, 1).status().message()), HasSubstr("CRC-32"));
}

}  // namespace
}  // namespace lathe
