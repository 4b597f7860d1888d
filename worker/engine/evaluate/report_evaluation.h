// The part of a report that running the models has brought.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_EVALUATION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_EVALUATION_H_

#include <nlohmann/json.hpp>

#include "worker/engine/evaluate/evaluation.h"

namespace lathe::engine {

// Adds `evaluation`, `latency`, `activations`, and to each of `layers` its `output_sqnr_db` and
// `isolated_sqnr_db` (docs/report.md).
void AddEvaluation(const EvaluationOutcome& outcome, nlohmann::json* report);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_EVALUATION_H_
