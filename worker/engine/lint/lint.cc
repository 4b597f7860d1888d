#include "worker/engine/lint/lint.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule.h"

namespace lathe::engine {

void Findings::Add(Severity severity, const Node* node, const std::string& value,
                   std::string message, std::string fix, Profiles profiles) {
  if (profiles == 0) profiles = rule_.profiles;
  if (added_ == kMaxPlaces) {
    ++left_out_;
    severity_ = std::min(severity_, severity);
    profiles_ |= profiles;
    return;
  }
  ++added_;
  out_.push_back({rule_.name, severity, node == nullptr ? "" : DescribeNode(*node), value,
                  std::move(message), fix.empty() ? rule_.fix : std::move(fix), profiles});
}

Findings::~Findings() {
  if (left_out_ == 0) return;
  out_.push_back({rule_.name, severity_, "", "", absl::StrCat("and at ", left_out_, " more places"),
                  rule_.fix, profiles_});
}

std::vector<Finding> LintModel(const Model& model, const LintOptions& options) {
  const LintContext lint(model, options.bindings);
  std::vector<Finding> all;
  for (const Rule& rule : LintRules()) {
    if ((rule.profiles & options.profiles) == 0) continue;
    Findings findings(rule, all);
    rule.check(lint, findings);
  }
  std::vector<Finding> wanted;
  for (Finding& finding : all) {
    if ((finding.profiles & options.profiles) != 0) wanted.push_back(std::move(finding));
  }
  return wanted;
}

std::vector<Finding> NewFindings(const std::vector<Finding>& before,
                                 const std::vector<Finding>& after) {
  std::set<std::pair<std::string, std::string>> known;
  for (const Finding& finding : before) known.emplace(finding.rule, finding.node);
  std::vector<Finding> out;
  for (const Finding& finding : after) {
    if (known.count({finding.rule, finding.node}) == 0) out.push_back(finding);
  }
  return out;
}

nlohmann::json FindingJson(const Finding& finding) {
  return {{"rule", finding.rule},
          {"severity", std::string(SeverityName(finding.severity))},
          {"node", finding.node},
          {"value", finding.value},
          {"message", finding.message},
          {"fix", finding.fix},
          {"profiles", ProfileNames(finding.profiles)}};
}

}  // namespace lathe::engine
