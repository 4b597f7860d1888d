// What running the models showed, for people (internal to report_text.cc).
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_TEXT_EVALUATION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_TEXT_EVALUATION_H_

#include <nlohmann/json.hpp>
#include <string>

namespace lathe::engine {

// Tables of `evaluation`, `latency` and `constraints`, and the layers whose outputs lose most; ""
// when the report has none of them.
std::string EvaluationText(const nlohmann::json& report);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_TEXT_EVALUATION_H_
