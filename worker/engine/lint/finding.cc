#include "worker/engine/lint/finding.h"

#include <utility>

namespace lathe::engine {

absl::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "error";
    case Severity::kSlow:
      return "slow";
    case Severity::kNote:
      break;
  }
  return "note";
}

std::vector<std::string> ProfileNames(Profiles profiles) {
  static constexpr std::pair<Profiles, const char*> kNames[] = {
      {kVnni, "vnni"},
      {kAvx2, "avx2"},
      {kArm, "arm"},
      {kNpu, "npu"},
      {kMicrocontroller, "microcontroller"},
  };
  std::vector<std::string> names;
  for (const auto& [bit, name] : kNames) {
    if ((profiles & bit) != 0) names.push_back(name);
  }
  return names;
}

}  // namespace lathe::engine
