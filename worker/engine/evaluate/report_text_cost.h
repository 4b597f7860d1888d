// The part of a report's text that tells what a run costs, and how quality fell step by step.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_TEXT_COST_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_TEXT_COST_H_

#include <nlohmann/json.hpp>
#include <string>

namespace lathe::engine {

// The operators that take most energy. "" when none takes any.
std::string OperatorCostText(const nlohmann::json& report);

// The original, the model after each step, the result. "" without a trace.
std::string TraceText(const nlohmann::json& report);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_TEXT_COST_H_
