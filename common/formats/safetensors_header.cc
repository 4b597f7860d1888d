#include "common/formats/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/formats/array_file.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

constexpr char kMetadata[] = "__metadata__";

struct TypeRow {
  const char* code;
  DType dtype;
};
constexpr TypeRow kTypes[] = {
    {"F64", DType::kDouble},    {"F32", DType::kFloat},  {"F16", DType::kFloat16},
    {"BF16", DType::kBfloat16}, {"I64", DType::kInt64},  {"I32", DType::kInt32},
    {"I16", DType::kInt16},     {"I8", DType::kInt8},    {"U64", DType::kUint64},
    {"U32", DType::kUint32},    {"U16", DType::kUint16}, {"U8", DType::kUint8},
    {"BOOL", DType::kBool},
};

std::string Show(absl::string_view text) {
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(text.substr(0, 40)), "'");
}

// Takes the parser's events one by one; false stops it, and status() says why.
class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  absl::Status status() const { return status_; }
  std::vector<SafetensorsEntry> Take() { return std::move(entries_); }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("true or false"); }
  bool number_float(double, const std::string&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("bytes"); }
  bool number_integer(int64_t value) override {
    return value < 0 ? Unexpected("a negative number") : Number(value);
  }
  bool number_unsigned(uint64_t value) override {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Unexpected("a number past 2^63");
    }
    return Number(static_cast<int64_t>(value));
  }
  bool string(std::string& value) override {
    if (place_ == Place::kNotes) return true;
    if (place_ != Place::kEntry || key_ != "dtype") return Unexpected("a string");
    for (const TypeRow& row : kTypes) {
      if (value == row.code) entries_.back().dtype = row.dtype;
    }
    if (entries_.back().dtype != DType::kUndefined) return true;
    return Refuse(absl::StrCat("has the dtype ", Show(value),
                               ", which is not read; expected F64, F32, F16, BF16, I8 to I64, U8 "
                               "to U64 or BOOL"));
  }
  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kRoot;
        return true;
      case Place::kRoot:
        place_ = key_ == kMetadata ? Place::kNotes : Place::kEntry;
        fields_.clear();
        return true;
      default:
        return Unexpected("an object");
    }
  }
  bool key(std::string& value) override {
    key_ = value;
    if (place_ == Place::kNotes) return true;
    if (place_ == Place::kEntry) {
      if (value != "dtype" && value != "shape" && value != "data_offsets") {
        return Refuse(absl::StrCat("has the unknown key ", Show(value)));
      }
      return fields_.insert(value).second ||
             Refuse(absl::StrCat("has the key ", Show(value), " twice"));
    }
    if (!names_.insert(value).second) {
      return Fail(absl::StrCat(ArrayPrefix(value), "is there twice"));
    }
    if (value == kMetadata) return true;
    if (entries_.size() >= static_cast<size_t>(limits::kMaxArrays)) {
      return Fail(absl::StrCat("holds more than ", limits::kMaxArrays, " arrays"));
    }
    if (const absl::Status name = CheckArrayName(value); !name.ok()) {
      return Fail(std::string(name.message()));
    }
    entries_.emplace_back().name = value;
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kEntry && fields_.size() != 3) {
      return Refuse("lacks one of dtype, shape and data_offsets");
    }
    place_ = place_ == Place::kRoot ? Place::kOutside : Place::kRoot;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::kEntry || key_ == "dtype") return Unexpected("a list");
    place_ = Place::kList;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    place_ = Place::kEntry;
    SafetensorsEntry& entry = entries_.back();
    if (key_ == "shape") {
      entry.shape = numbers_;
      return true;
    }
    if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
      return Refuse("its data_offsets must be [begin, end], the end not before the begin");
    }
    entry.begin = numbers_[0];
    entry.end = numbers_[1];
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("its header is not JSON: wrong at byte ", position, " of it"));
  }

 private:
  enum class Place { kOutside, kRoot, kEntry, kNotes, kList };

  bool Fail(std::string what) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat("not a sound .safetensors file: ", what));
    }
    return false;
  }
  // Of the entry being read.
  bool Refuse(absl::string_view what) {
    return Fail(absl::StrCat(ArrayPrefix(entries_.back().name), what));
  }
  bool Unexpected(absl::string_view what) {
    const bool named = place_ == Place::kEntry || place_ == Place::kList;
    return Fail(absl::StrCat(named ? ArrayPrefix(entries_.back().name) : std::string(),
                             "its header has ", what, " where the format has none"));
  }
  bool Number(int64_t value) {
    if (place_ != Place::kList) return Unexpected("a number");
    if (numbers_.size() >= static_cast<size_t>(limits::kMaxTensorRank)) {
      return Refuse(absl::StrCat("has more than ", limits::kMaxTensorRank, " axes"));
    }
    numbers_.push_back(value);
    return true;
  }

  Place place_ = Place::kOutside;
  std::string key_;
  std::set<std::string> names_;   // keys of the root
  std::set<std::string> fields_;  // keys of the entry
  Shape numbers_;
  std::vector<SafetensorsEntry> entries_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(absl::string_view json) {
  Handler handler;
  // The parser keeps a stack of its own, a bit a level, and the handler refuses the fourth level.
  const bool parsed = nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  RETURN_IF_ERROR(handler.status());
  if (!parsed) return absl::InvalidArgumentError("not a sound .safetensors file: its header");
  return handler.Take();
}

}  // namespace lathe
