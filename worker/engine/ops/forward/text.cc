// Operators on strings. A pattern's match (RegexFullMatch) is not among them.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/ngrams.h"

namespace lathe::engine {
namespace {

absl::Status CheckStrings(const RunContext& ctx, size_t count) {
  RETURN_IF_ERROR(CheckTensors(ctx, count));
  for (size_t i = 0; i < count; ++i) {
    if (ctx.In(i).dtype != DType::kString) return ctx.Error("it takes strings");
  }
  return absl::OkStatus();
}

absl::Status StringConcat(RunContext& ctx) {
  RETURN_IF_ERROR(CheckStrings(ctx, 2));
  const Value& a = ctx.In(0);
  const Value& b = ctx.In(1);
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const Shape dims = fact->dims;
  RETURN_IF_ERROR(CheckStringCount(ctx, fact->size()));
  const auto walk = BroadcastWalk<2>::Make(dims, {&a.dims, &b.dims});
  if (!walk) return ctx.Error("the shapes do not broadcast");
  std::vector<std::string> joined(static_cast<size_t>(fact->size()));
  walk->ForEachRun([&](int64_t at, const auto& from) {
    for (int64_t i = 0; i < walk->run(); ++i) {
      joined[at + i] = absl::StrCat((*a.strings)[from[0] + i * walk->step(0)],
                                    (*b.strings)[from[1] + i * walk->step(1)]);
    }
  });
  ctx.Set(0, Value::FromStrings(dims, std::move(joined)));
  return absl::OkStatus();
}

bool IsAscii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 128; });
}

// Stop words removed, and the rest in one case. Letters past ASCII have a case too, which depends
// on the locale: where it matters they are refused.
absl::Status StringNormalizer(RunContext& ctx) {
  RETURN_IF_ERROR(CheckStrings(ctx, 1));
  const Value& in = ctx.In(0);
  const size_t rank = in.dims.size();
  if (rank < 1 || rank > 2 || (rank == 2 && in.dims[0] != 1)) {
    return ctx.Error("it takes strings [C] or [1, C]");
  }
  const std::string action = ctx.node().StringAttribute("case_change_action", "NONE");
  if (action != "NONE" && action != "LOWER" && action != "UPPER") {
    return ctx.Error(
        absl::StrCat("case_change_action must be NONE, LOWER or UPPER, not '", action, "'"));
  }
  const bool exact = ctx.node().IntAttribute("is_case_sensitive", 0) != 0;
  std::set<std::string> stop_words;
  if (const Attribute* words = ctx.node().FindAttribute("stopwords")) {
    for (const std::string& word : words->strings) {
      stop_words.insert(exact ? word : absl::AsciiStrToLower(word));
    }
  }
  const bool cases_matter = action != "NONE" || (!exact && !stop_words.empty());
  std::vector<std::string> kept;
  for (const std::string& word : *in.strings) {
    if (cases_matter && !IsAscii(word)) {
      return ctx.Unsupported("the case of letters that are not ASCII");
    }
    if (stop_words.count(exact ? word : absl::AsciiStrToLower(word)) != 0) continue;
    kept.push_back(action == "LOWER"   ? absl::AsciiStrToLower(word)
                   : action == "UPPER" ? absl::AsciiStrToUpper(word)
                                       : word);
  }
  if (kept.empty()) kept.emplace_back();
  Shape dims = in.dims;
  dims.back() = static_cast<int64_t>(kept.size());
  ctx.Set(0, Value::FromStrings(std::move(dims), std::move(kept)));
  return absl::OkStatus();
}

// The pieces between delimiters; after `most` splits the rest is one piece.
std::vector<std::string> SplitAt(const std::string& text, const std::string& delimiter,
                                 int64_t most) {
  std::vector<std::string> pieces;
  size_t at = 0;
  while (static_cast<int64_t>(pieces.size()) < most) {
    const size_t next = text.find(delimiter, at);
    if (next == std::string::npos) break;
    pieces.push_back(text.substr(at, next - at));
    at = next + delimiter.size();
  }
  pieces.push_back(text.substr(at));
  return pieces;
}

// The words between runs of white space; after `most` splits the rest is one word.
std::vector<std::string> SplitWords(const std::string& text, int64_t most) {
  std::vector<std::string> words;
  const auto skip = [&](size_t at, bool space) {
    while (at < text.size() && absl::ascii_isspace(text[at]) == space) ++at;
    return at;
  };
  size_t at = skip(0, true);
  while (at < text.size()) {
    const bool last = static_cast<int64_t>(words.size()) >= most;
    const size_t end = last ? text.size() : skip(at, false);
    words.push_back(text.substr(at, end - at));
    at = skip(end, true);
  }
  return words;
}

// Output 0: the pieces [dims..., most pieces], padded by ""; output 1: their numbers [dims...].
absl::Status StringSplit(RunContext& ctx) {
  RETURN_IF_ERROR(CheckStrings(ctx, 1));
  const Value& in = ctx.In(0);
  const std::string delimiter = ctx.node().StringAttribute("delimiter", "");
  int64_t most = ctx.node().IntAttribute("maxsplit", -1);
  if (most < 0) most = std::numeric_limits<int64_t>::max();
  std::vector<std::vector<std::string>> split;
  std::vector<int64_t> counts;
  size_t longest = 0;
  for (const std::string& text : *in.strings) {
    split.push_back(delimiter.empty() ? SplitWords(text, most) : SplitAt(text, delimiter, most));
    counts.push_back(static_cast<int64_t>(split.back().size()));
    longest = std::max(longest, split.back().size());
  }
  Shape dims = in.dims;
  dims.push_back(static_cast<int64_t>(longest));
  RETURN_IF_ERROR(CheckStringCount(ctx, CheckedProduct(dims).value_or(-1)));
  std::vector<std::string> pieces(split.size() * longest);
  for (size_t i = 0; i < split.size(); ++i) {
    std::move(split[i].begin(), split[i].end(), pieces.begin() + static_cast<int64_t>(i * longest));
  }
  ctx.Set(0, Value::FromStrings(std::move(dims), std::move(pieces)));
  if (!ctx.Wants(1)) return absl::OkStatus();
  ASSIGN_OR_RETURN(Value * out, ctx.Out(1, DType::kInt64, in.dims));
  std::copy(counts.begin(), counts.end(), out->Mutable<int64_t>().begin());
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "StringConcat", StringConcat},
    {"", "StringNormalizer", StringNormalizer},
    {"", "StringSplit", StringSplit},
    {"", "TfIdfVectorizer", TfIdfVectorizer},
};

}  // namespace

std::span<const OpForward> TextForwards() { return kForwards; }

}  // namespace lathe::engine
