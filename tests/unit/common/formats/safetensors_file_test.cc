#include "common/formats/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/array_files.h"

namespace lathe {
namespace {

using ::lathe::testing::AppendRaw;
using ::lathe::testing::RawBytes;
using ::lathe::testing::Safetensors;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<ArrayFile>> OpenBytes(std::string bytes) {
  return ArrayFile::Open(ByteSource::OfString(std::move(bytes)));
}

TEST(SafetensorsFile, ReadsRowsOfEveryArray) {
  const std::string json =
      R"({"__metadata__": {"by": "a test"},
          "y": {"dtype": "I64", "shape": [2], "data_offsets": [16, 32]},
          "x": {"data_offsets": [0, 16], "shape": [2, 2], "dtype": "F32"},
          "none": {"dtype": "BF16", "shape": [0, 3], "data_offsets": [16, 16]}}   )";
  auto file = OpenBytes(Safetensors(
      json, RawBytes(std::vector<float>{1, 2, 3, 4}) + RawBytes(std::vector<int64_t>{5, 6})));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->arrays().size(), 3u);
  const int x = (*file)->Find("x");
  ASSERT_GE(x, 0);
  EXPECT_EQ((*file)->arrays()[x].dtype, DType::kFloat);
  EXPECT_THAT((*file)->arrays()[x].shape, ElementsAre(2, 2));
  float row[2];
  ASSERT_TRUE((*file)->ReadRows(x, 1, 1, reinterpret_cast<char*>(row)).ok());
  EXPECT_THAT(row, ElementsAre(3, 4));
  int64_t both[2];
  ASSERT_TRUE((*file)->ReadRows((*file)->Find("y"), 0, 2, reinterpret_cast<char*>(both)).ok());
  EXPECT_THAT(both, ElementsAre(5, 6));
}

TEST(SafetensorsFile, TypesHaveTheirOwnSizes) {
  const std::vector<std::pair<const char*, DType>> types = {
      {"F64", DType::kDouble},    {"F32", DType::kFloat},  {"F16", DType::kFloat16},
      {"BF16", DType::kBfloat16}, {"I64", DType::kInt64},  {"I32", DType::kInt32},
      {"I16", DType::kInt16},     {"I8", DType::kInt8},    {"U64", DType::kUint64},
      {"U32", DType::kUint32},    {"U16", DType::kUint16}, {"U8", DType::kUint8},
      {"BOOL", DType::kBool}};
  for (const auto& [name, dtype] : types) {
    const int64_t bytes = *DTypeBytes(dtype, 3);
    auto file = OpenBytes(
        Safetensors(absl::StrCat(R"({"x": {"dtype": ")", name,
                                 R"(", "shape": [3], "data_offsets": [0, )", bytes, "]}}"),
                    std::string(bytes, '\0')));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->arrays()[0].dtype, dtype);
  }
}

std::string Entry(const std::string& name, const std::string& shape, int64_t begin, int64_t end,
                  const std::string& dtype = "F32") {
  return absl::StrCat("\"", name, R"(": {"dtype": ")", dtype, R"(", "shape": )", shape,
                      R"(, "data_offsets": [)", begin, ", ", end, "]}");
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* says;
};

TEST(SafetensorsFile, HostileFilesAreRefused) {
  const std::string data(16, '\0');
  const auto with = [&](const std::string& entries) {
    return Safetensors(absl::StrCat("{", entries, "}"), data);
  };
  std::string huge_length;
  AppendRaw(&huge_length, ~uint64_t{0});
  std::string deep = "{\"x\": ";
  for (int i = 0; i < 100000; ++i) deep += "[";
  std::string many;
  for (int i = 0; i < 5000; ++i) {
    absl::StrAppend(&many, i == 0 ? "" : ",", Entry(absl::StrCat("a", i), "[0]", 0, 0));
  }
  const std::vector<Hostile> cases = {
      {"length of 2^64", huge_length + "{}", "at most"},
      {"length past the end", Safetensors("{}", "").substr(0, 9), "at most"},
      {"random", "something else entirely", "neither .npz nor .safetensors"},
      {"empty header", Safetensors("", data), "begin with '{'"},
      {"not an object", Safetensors("[1]", data), "begin with '{'"},
      {"not JSON", with("x: 1"), "not JSON"},
      {"cut JSON", Safetensors("{\"x\": {\"dtype\": \"F3", data), "not JSON"},
      {"two documents", Safetensors("{}{}", ""), "not JSON"},
      {"deep", Safetensors(deep, data), "a list where"},
      {"deep objects", with(R"("x": {"dtype": {"a": {}}})"), "an object where"},
      {"deep lists", with(R"("x": {"dtype": "F32", "shape": [[4]], "data_offsets": [0, 16]})"),
       "a list where"},
      {"no fields", with(R"("x": {})"), "lacks one of"},
      {"entry is a number", with(R"("x": 4)"), "a number where"},
      {"entry is null", with(R"("x": null)"), "null where"},
      {"unknown field", with(R"("x": {"dtype": "F32", "stride": 1})"), "unknown key 'stride'"},
      {"field twice", with(R"("x": {"dtype": "F32", "dtype": "F32"})"), "twice"},
      {"array twice", with(Entry("x", "[4]", 0, 16) + "," + Entry("x", "[4]", 0, 16)), "twice"},
      {"nul in the name", with(Entry("x\\u0000y", "[4]", 0, 16)), "NUL"},
      {"empty name", with(Entry("", "[4]", 0, 16)), "empty name"},
      {"type", with(Entry("x", "[4]", 0, 16, "F8_E4M3")), "F8_E4M3"},
      {"shape of fractions", with(Entry("x", "[4.5]", 0, 16)), "a fraction"},
      {"negative axis", with(Entry("x", "[-4]", 0, 16)), "negative"},
      {"axis of 2^64", with(Entry("x", "[18446744073709551615]", 0, 16)), "2^63"},
      {"2^60 elements", with(Entry("x", "[1152921504606846976]", 0, 16)), "takes"},
      {"2^80 elements", with(Entry("x", "[1099511627776, 1099511627776]", 0, 16)), "2^63"},
      {"offsets backwards", with(Entry("x", "[4]", 16, 0)), "data_offsets must be"},
      {"one offset", with(R"("x": {"dtype": "F32", "shape": [4], "data_offsets": [0]})"),
       "data_offsets must be"},
      {"outside", with(Entry("x", "[8]", 0, 32)), "outside"},
      {"far outside", with(Entry("x", "[4]", 9223372036854775791, 9223372036854775807)), "outside"},
      {"wrong size", with(Entry("x", "[3]", 0, 16)), "takes 12 bytes"},
      {"overlap", with(Entry("x", "[4]", 0, 16) + "," + Entry("y", "[2]", 8, 16)),
       "within another"},
      {"gap", with(Entry("x", "[1]", 0, 4) + "," + Entry("y", "[2]", 8, 16)), "the one before"},
      {"bytes left over", with(Entry("x", "[2]", 0, 8)), "arrays end at 8"},
      {"too many", Safetensors(absl::StrCat("{", many, "}"), ""), "more than 4096"},
      {"metadata of numbers", with(R"("__metadata__": {"a": 1})"), "a number where"},
  };
  for (const Hostile& c : cases) {
    const absl::Status status = OpenBytes(c.bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says)) << c.name;
  }
}

}  // namespace
}  // namespace lathe
