#include "common/report/lint_answer.h"

#include <algorithm>
#include <array>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/report/json_access.h"

namespace lathe {
namespace {

using nlohmann::json;

// So many places of one rule are enough to see what it is about; --json has them all.
constexpr size_t kMaxPlaces = 12;

constexpr std::array kSeverities = {"error", "slow", "note"};

bool Concerns(const json& finding, const std::string& target) {
  static const std::vector<std::string>* const portable =
      new std::vector<std::string>{"vnni", "avx2", "arm"};
  for (const std::string& profile : page::Texts(page::At(finding, "profiles"))) {
    if (profile == target) return true;
    if (target != "portable") continue;
    if (std::find(portable->begin(), portable->end(), profile) != portable->end()) return true;
  }
  return false;
}

// "Conv 'c1', 'w'": what a finding is about.
std::string Place(const json& finding) {
  const std::string node = page::Text(finding, "node");
  const std::string value = page::Text(finding, "value");
  if (value.empty()) return node;
  return absl::StrCat(node, node.empty() ? "" : ", ", "value '", value, "'");
}

// Findings that say the same of several places, in order.
struct Group {
  const json* first = nullptr;
  std::vector<const json*> findings;
};

void AppendGroup(const Group& group, std::string* out) {
  const json& first = *group.first;
  absl::StrAppend(out, page::Text(first, "severity"), ": ", page::Text(first, "rule"), " (",
                  absl::StrJoin(page::Texts(page::At(first, "profiles")), ", "), ")\n");
  for (size_t i = 0; i < std::min(group.findings.size(), kMaxPlaces); ++i) {
    const std::string place = Place(*group.findings[i]);
    absl::StrAppend(out, "  ", place, place.empty() ? "" : ": ",
                    page::Text(*group.findings[i], "message"), "\n");
  }
  if (group.findings.size() > kMaxPlaces) {
    absl::StrAppend(out, "  ... and ", group.findings.size() - kMaxPlaces,
                    " more; --json has them all\n");
  }
  absl::StrAppend(out, "  fix: ", page::Text(first, "fix"), "\n\n");
}

std::string Count(int64_t count, const std::string& one, const std::string& many) {
  return absl::StrCat(count, " ", count == 1 ? one : many);
}

}  // namespace

const std::vector<std::string>& LintTargets() {
  static const std::vector<std::string>* const targets =
      new std::vector<std::string>{"portable", "vnni", "avx2", "arm", "npu", "microcontroller"};
  return *targets;
}

LintAnswer AnswerLint(const json& summary, const std::string& target) {
  LintAnswer answer;
  json kept = json::array();
  for (const json& finding : page::List(summary, "lint")) {
    if (Concerns(finding, target)) kept.push_back(finding);
  }
  std::map<std::string, int64_t> counts;
  for (const char* severity : kSeverities) {
    std::vector<Group> groups;
    for (const json& finding : kept) {
      if (page::Text(finding, "severity") != severity) continue;
      ++counts[severity];
      const auto same = std::find_if(groups.begin(), groups.end(), [&finding](const Group& group) {
        for (const char* key : {"rule", "fix", "profiles"}) {
          if (page::At(*group.first, key) != page::At(finding, key)) return false;
        }
        return true;
      });
      Group& group = same == groups.end() ? groups.emplace_back() : *same;
      if (group.first == nullptr) group.first = &finding;
      group.findings.push_back(&finding);
    }
    for (const Group& group : groups) AppendGroup(group, &answer.text);
  }
  absl::StrAppend(&answer.text, Count(counts["error"], "error", "errors"), ", ",
                  Count(counts["slow"], "slow place", "slow places"), ", ",
                  Count(counts["note"], "note", "notes"), " for target ", target, "\n");
  answer.clean = counts["error"] + counts["slow"] == 0;
  answer.json = {{"target", target},
                 {"errors", counts["error"]},
                 {"slow", counts["slow"]},
                 {"notes", counts["note"]},
                 {"findings", std::move(kept)}};
  return answer;
}

}  // namespace lathe
