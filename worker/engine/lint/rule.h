// One rule of the linter, and how it speaks. rules.cc lists them all.
#ifndef LATHE_WORKER_ENGINE_LINT_RULE_H_
#define LATHE_WORKER_ENGINE_LINT_RULE_H_

#include <string>
#include <vector>

#include "worker/engine/lint/finding.h"
#include "worker/engine/lint/lint_context.h"

namespace lathe::engine {

class Findings;

struct Rule {
  const char* name;
  Severity severity;  // of its findings, unless one says otherwise
  Profiles profiles;
  void (*check)(const LintContext& lint, Findings& findings);
  const char* fix;  // what to do, unless a finding says otherwise
};

// Takes the findings of one rule. A rule that fires at thousands of places names the first
// kMaxPlaces and says how many more there are.
class Findings {
 public:
  static constexpr size_t kMaxPlaces = 200;

  Findings(const Rule& rule, std::vector<Finding>& out) : rule_(rule), out_(out) {}
  ~Findings();
  Findings(const Findings&) = delete;
  Findings& operator=(const Findings&) = delete;

  // `node` may be nullptr. The finding may be changed until the next is added; nullptr when there
  // are too many already.
  void Add(const Node* node, const std::string& value, std::string message) {
    Add(rule_.severity, node, value, std::move(message));
  }
  void Add(Severity severity, const Node* node, const std::string& value, std::string message,
           std::string fix = "", Profiles profiles = 0);

 private:
  const Rule& rule_;
  std::vector<Finding>& out_;
  size_t added_ = 0;
  size_t left_out_ = 0;
  // The worst of what was left out, and all profiles.
  Severity severity_ = Severity::kNote;
  Profiles profiles_ = 0;
};

// Every rule, in the order of docs/lint.md.
const std::vector<Rule>& LintRules();

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_RULE_H_
