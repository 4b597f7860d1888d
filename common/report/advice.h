// What to try next, told from a job's report.
#ifndef LATHE_COMMON_REPORT_ADVICE_H_
#define LATHE_COMMON_REPORT_ADVICE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lathe {

// One sentence each, the most useful first, at most eight; every number in them is the report's own
// or follows from it by arithmetic that the sentence states ("about" where scales are left out).
// Nothing is said that the report does not support: an empty list is an answer. Takes the JSON of
// docs/report.md; missing keys and values of other types are passed over.
std::vector<std::string> NextSteps(const nlohmann::json& report);

}  // namespace lathe

#endif  // LATHE_COMMON_REPORT_ADVICE_H_
