// A job's report or a model's summary as one HTML page that needs nothing else: no network, no file
// beside it.
#ifndef LATHE_COMMON_REPORT_PAGE_H_
#define LATHE_COMMON_REPORT_PAGE_H_

#include <nlohmann/json.hpp>
#include <string>

namespace lathe {

// Both take the JSON that docs/report.md describes and trust none of it: a key that is missing, or
// whose value is of another type or not finite, leaves its part of the page out; every text is
// escaped, and a content security policy lets the page's own script run and nothing else.
// Deterministic; the page's size is linear in the JSON's. Never fail.

// Of a job: `report` is the job report.
std::string ReportPage(const nlohmann::json& report);

// Of one model: `summary` is what `lathe inspect` gives.
std::string ModelPage(const nlohmann::json& summary);

}  // namespace lathe

#endif  // LATHE_COMMON_REPORT_PAGE_H_
