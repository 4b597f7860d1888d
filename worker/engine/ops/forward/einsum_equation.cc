#include "worker/engine/ops/forward/einsum_equation.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace lathe::engine {
namespace {

// Labels of one term; nullopt when it is malformed.
std::optional<EinsumLabels> ReadTerm(const std::string& term, int64_t hidden) {
  EinsumLabels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term.compare(i, 3, "...") == 0) {
      for (int64_t k = hidden; k > 0; --k) labels.push_back(static_cast<int>(-k));
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(term[i])) != 0) {
      labels.push_back(term[i]);
    } else {
      return std::nullopt;
    }
  }
  return labels;
}

}  // namespace

absl::StatusOr<EinsumEquation> ReadEinsumEquation(const RunContext& ctx) {
  std::string text;
  for (const char c : ctx.node().StringAttribute("equation", "")) {
    if (c != ' ') text += c;
  }
  const std::vector<std::string> sides = absl::StrSplit(text, "->");
  const std::vector<std::string> terms = absl::StrSplit(sides[0], ',');
  if (sides.size() > 2 || terms.size() != ctx.input_count()) {
    return ctx.Error(absl::StrCat("the equation '", text, "' does not fit its inputs"));
  }
  EinsumEquation e;
  std::map<int, int> seen;
  int64_t most = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const auto rank = static_cast<int64_t>(ctx.In(i).dims.size());
    const bool dots = terms[i].find("...") != std::string::npos;
    const int64_t hidden = rank - static_cast<int64_t>(terms[i].size()) + (dots ? 3 : 0);
    const auto labels = hidden < 0 ? std::nullopt : ReadTerm(terms[i], hidden);
    if (!labels || static_cast<int64_t>(labels->size()) != rank) {
      return ctx.Error(absl::StrCat("the term '", terms[i], "' does not fit input ", i));
    }
    most = std::max(most, dots ? hidden : 0);
    for (size_t a = 0; a < labels->size(); ++a) {
      const int64_t extent = ctx.In(i).dims[a];
      ++seen[(*labels)[a]];
      const auto [slot, fresh] = e.extent.emplace((*labels)[a], extent);
      if (fresh || slot->second == extent || extent == 1) continue;
      if (slot->second != 1) {
        return ctx.Error(absl::StrCat("a label of '", text, "' has two extents, ", slot->second,
                                      " and ", extent));
      }
      slot->second = extent;
    }
    e.terms.push_back(*labels);
  }
  if (sides.size() == 2) {
    const auto labels = ReadTerm(sides[1], most);
    if (!labels) return ctx.Error(absl::StrCat("the output of '", text, "' is malformed"));
    e.output = *labels;
  } else {
    for (int64_t k = most; k > 0; --k) e.output.push_back(static_cast<int>(-k));
    for (const auto& [label, count] : seen) {
      if (label > 0 && count == 1) e.output.push_back(label);
    }
  }
  for (const int label : e.output) {
    if (e.extent.count(label) == 0) {
      return ctx.Error(absl::StrCat("the output of '", text, "' has a label of no input"));
    }
  }
  return e;
}

}  // namespace lathe::engine
