// Choosing layers by glob (declared in layers.h).
#include <algorithm>

#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

// Where a set that opens at pattern[at] ends (the index past ']'), or npos when it is not closed.
// The first character after '[' or
// '[!' belongs to the set even when it is ']'.
size_t SetEnd(absl::string_view pattern, size_t at) {
  size_t i = at + 1;
  if (i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^')) ++i;
  if (i < pattern.size()) ++i;
  while (i < pattern.size() && pattern[i] != ']') ++i;
  return i < pattern.size() ? i + 1 : absl::string_view::npos;
}

bool InSet(absl::string_view set, char c) {  // "[a-z0]"
  size_t i = 1;
  const bool negated = set[i] == '!' || set[i] == '^';
  if (negated) ++i;
  bool found = false;
  while (i + 1 < set.size()) {
    const auto at = [set](size_t k) { return static_cast<unsigned char>(set[k]); };
    if (i + 3 < set.size() && set[i + 1] == '-') {
      const unsigned char u = static_cast<unsigned char>(c);
      found = found || (at(i) <= u && u <= at(i + 2));
      i += 3;
    } else {
      found = found || set[i] == c;
      ++i;
    }
  }
  return found != negated;
}

bool MatchesAny(const std::vector<std::string>& patterns, const Weight& weight) {
  return std::any_of(patterns.begin(), patterns.end(), [&weight](const std::string& pattern) {
    if (GlobMatch(pattern, weight.name)) return true;
    if (!weight.source_name.empty() && GlobMatch(pattern, weight.source_name)) return true;
    return std::any_of(weight.uses.begin(), weight.uses.end(), [&pattern](const WeightUse& use) {
      return !use.node->name.empty() && GlobMatch(pattern, use.node->name);
    });
  });
}

}  // namespace

// Greedy with one point to return to, the latest '*': a pattern of p and a text of t characters
// cost at most p * t.
bool GlobMatch(absl::string_view pattern, absl::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = absl::string_view::npos;
  size_t star_text = 0;
  while (t < text.size()) {
    size_t next = absl::string_view::npos;  // pattern position when this character matches
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
      continue;
    }
    if (p < pattern.size()) {
      const size_t end = pattern[p] == '[' ? SetEnd(pattern, p) : absl::string_view::npos;
      if (end != absl::string_view::npos) {
        if (InSet(pattern.substr(p, end - p), text[t])) next = end;
      } else if (pattern[p] == '?' || pattern[p] == text[t]) {
        next = p + 1;
      }
    }
    if (next != absl::string_view::npos) {
      p = next;
      ++t;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool Selected(const Weight& weight, const std::vector<std::string>& targets,
              const std::vector<std::string>& skip) {
  if (!targets.empty() && !MatchesAny(targets, weight)) return false;
  return !MatchesAny(skip, weight);
}

}  // namespace lathe::engine
