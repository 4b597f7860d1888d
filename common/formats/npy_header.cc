// numpy.lib.format: "\x93NUMPY", major, minor, the length of the dict (16 bits in version 1, 32
// bits after), and a Python literal such as {'descr': '<f4', 'fortran_order': False, 'shape': (3,
// 4), } padded with spaces.
#include "common/formats/npy_header.h"

#include <cctype>
#include <cstring>
#include <set>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("its .npy header ", what));
}

std::string Show(absl::string_view text) {
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(text.substr(0, 40)), "'");
}

// Reads the few forms of Python literals that such a header has.
class Literal {
 public:
  explicit Literal(absl::string_view text) : rest_(text) {}

  void SkipSpace() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0])) != 0) {
      rest_.remove_prefix(1);
    }
  }
  // Takes `token` when it comes next.
  bool Take(absl::string_view token) {
    SkipSpace();
    if (!absl::StartsWith(rest_, token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  absl::Status Expect(absl::string_view token) {
    if (Take(token)) return absl::OkStatus();
    return Wrong(absl::StrCat("has ", Show(rest_), " where '", token, "' is expected"));
  }
  // 'text' or "text", without escapes.
  absl::StatusOr<std::string> String() {
    SkipSpace();
    const char quote = rest_.empty() ? '\0' : rest_[0];
    const size_t end =
        quote == '\'' || quote == '"' ? rest_.find(quote, 1) : absl::string_view::npos;
    if (end == absl::string_view::npos) {
      return Wrong(absl::StrCat("has ", Show(rest_), " where a string is expected"));
    }
    std::string out(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return out;
  }
  // A whole number in [0, 2^63); Python 2 wrote an L behind it.
  absl::StatusOr<int64_t> Number() {
    SkipSpace();
    size_t digits = 0;
    while (digits < rest_.size() && std::isdigit(static_cast<unsigned char>(rest_[digits])) != 0) {
      ++digits;
    }
    int64_t value = 0;
    if (digits == 0 || !absl::SimpleAtoi(rest_.substr(0, digits), &value)) {
      return Wrong(absl::StrCat("has ", Show(rest_), " where an axis in [0, 2^63) is expected"));
    }
    rest_.remove_prefix(digits);
    if (!rest_.empty() && rest_[0] == 'L') rest_.remove_prefix(1);
    return value;
  }
  absl::string_view rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

absl::StatusOr<Shape> ReadShape(Literal* literal) {
  RETURN_IF_ERROR(literal->Expect("("));
  Shape shape;
  while (!literal->Take(")")) {
    if (shape.size() >= static_cast<size_t>(limits::kMaxTensorRank)) {
      return Wrong(absl::StrCat("has more than ", limits::kMaxTensorRank, " axes"));
    }
    ASSIGN_OR_RETURN(const int64_t axis, literal->Number());
    shape.push_back(axis);
    if (literal->Take(",")) continue;
    RETURN_IF_ERROR(literal->Expect(")"));
    break;
  }
  return shape;
}

struct TypeRow {
  const char* code;  // kind and bytes
  DType dtype;
};
constexpr TypeRow kTypes[] = {
    {"b1", DType::kBool},   {"i1", DType::kInt8},    {"i2", DType::kInt16},  {"i4", DType::kInt32},
    {"i8", DType::kInt64},  {"u1", DType::kUint8},   {"u2", DType::kUint16}, {"u4", DType::kUint32},
    {"u8", DType::kUint64}, {"f2", DType::kFloat16}, {"f4", DType::kFloat},  {"f8", DType::kDouble},
};

absl::Status ReadType(const std::string& descr, NpyHeader* header) {
  const char order = descr.empty() ? '\0' : descr[0];
  const bool ordered = order == '<' || order == '>' || order == '|' || order == '=';
  const std::string code = ordered ? descr.substr(1) : descr;
  for (const TypeRow& row : kTypes) {
    if (code != row.code && !(code == "?" && row.dtype == DType::kBool)) continue;
    const bool one_byte = DTypeBits(row.dtype) == 8;
    if (!ordered || (order == '|' && !one_byte)) break;
    header->dtype = row.dtype;
    header->big_endian = order == '>' && !one_byte;
    return absl::OkStatus();
  }
  absl::string_view what = "a type that is not read";
  switch (code.empty() ? '\0' : code[0]) {
    case 'O':
      what = "Python objects, which would have to be unpickled";
      break;
    case 'U':
    case 'S':
    case 'a':
      what = "strings";
      break;
    case 'V':
      what = "records or raw bytes (bfloat16 of ml_dtypes is stored so)";
      break;
    case 'M':
    case 'm':
      what = "dates or durations";
      break;
    case 'c':
      what = "complex numbers";
      break;
    default:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "holds ", what, " (dtype ", Show(descr),
      "); expected booleans, integers of 8 to 64 bits or floats of 16 to 64: convert it with "
      ".astype"));
}

}  // namespace

absl::StatusOr<int64_t> NpyHeaderBytes(absl::string_view prefix) {
  if (prefix.size() < static_cast<size_t>(kNpyPrefixBytes) ||
      !absl::StartsWith(prefix, "\x93NUMPY")) {
    return absl::InvalidArgumentError("is not a .npy array: its first bytes are not \\x93NUMPY");
  }
  const int major = static_cast<unsigned char>(prefix[6]);
  if (major < 1 || major > 3) {
    return Wrong(absl::StrCat("has version ", major, "; 1, 2 and 3 are read"));
  }
  uint32_t bytes = 0;
  std::memcpy(&bytes, prefix.data() + 8, major == 1 ? 2 : 4);
  if (bytes > static_cast<uint32_t>(limits::kMaxNpyHeaderBytes)) {
    return Wrong(absl::StrCat("claims ", bytes, " bytes; at most ", limits::kMaxNpyHeaderBytes,
                              " are allowed"));
  }
  return (major == 1 ? 10 : 12) + static_cast<int64_t>(bytes);
}

absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view header) {
  ASSIGN_OR_RETURN(const int64_t bytes, NpyHeaderBytes(header));
  if (bytes > static_cast<int64_t>(header.size())) return Wrong("is cut short");
  Literal literal(header.substr(header[6] == 1 ? 10 : 12));
  RETURN_IF_ERROR(literal.Expect("{"));
  NpyHeader out;
  std::set<std::string> seen;
  while (!literal.Take("}")) {
    ASSIGN_OR_RETURN(const std::string key, literal.String());
    RETURN_IF_ERROR(literal.Expect(":"));
    if (!seen.insert(key).second) return Wrong(absl::StrCat("has the key ", Show(key), " twice"));
    literal.SkipSpace();
    if (key == "descr") {
      if (absl::StartsWith(literal.rest(), "[") || absl::StartsWith(literal.rest(), "(")) {
        return absl::InvalidArgumentError(
            "holds records of several fields; expected plain numbers: save one array a field");
      }
      ASSIGN_OR_RETURN(const std::string descr, literal.String());
      RETURN_IF_ERROR(ReadType(descr, &out));
    } else if (key == "fortran_order") {
      out.fortran_order = literal.Take("True");
      if (!out.fortran_order) RETURN_IF_ERROR(literal.Expect("False"));
    } else if (key == "shape") {
      ASSIGN_OR_RETURN(out.shape, ReadShape(&literal));
    } else {
      return Wrong(absl::StrCat("has the unknown key ", Show(key)));
    }
    if (literal.Take(",")) continue;
    RETURN_IF_ERROR(literal.Expect("}"));
    break;
  }
  if (seen.size() != 3) return Wrong("lacks one of descr, fortran_order and shape");
  literal.SkipSpace();
  if (!literal.rest().empty()) return Wrong("has text behind its end");
  return out;
}

}  // namespace lathe
