#include "common/report/advice.h"

namespace lathe {
std::vector<std::string> NextSteps(const nlohmann::json&) { return {}; }
}  // namespace lathe
