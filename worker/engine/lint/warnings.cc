#include "worker/engine/lint/warnings.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/engine/lint/lint.h"

namespace lathe::engine {
namespace {

// A fault of one kind repeats at every layer: so many places tell enough.
constexpr size_t kMaxWarnings = 20;

}  // namespace

std::vector<std::string> LintWarnings(const Model& input, const Model& output,
                                      const Bindings& bindings) {
  const LintOptions options = {kPortable, bindings};
  std::vector<std::string> lines;
  size_t left_out = 0;
  for (const Finding& finding :
       NewFindings(LintModel(input, options), LintModel(output, options))) {
    if (finding.severity == Severity::kNote) continue;
    if (lines.size() == kMaxWarnings) {
      ++left_out;
      continue;
    }
    lines.push_back(absl::StrCat("lint: ", finding.rule, " (", SeverityName(finding.severity),
                                 " on ", absl::StrJoin(ProfileNames(finding.profiles), ", "), "), ",
                                 finding.node, ": ", finding.message));
  }
  if (left_out > 0) {
    lines.push_back(absl::StrCat("lint: ", left_out, " more such places; lathe lint names them"));
  }
  return lines;
}

}  // namespace lathe::engine
