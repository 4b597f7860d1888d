// The report's account of a step that trained.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_TRAINING_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_TRAINING_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/engine/methods/method.h"

namespace lathe::engine {

// steps[].training (docs/report.md).
nlohmann::json TrainingJson(const StepTraining& training);

// "loss 0.412 -> 0.031, accuracy 91.2 % -> 98.9 % over 1,407 steps": for each step of the report
// that trained.
std::vector<std::string> TrainingLines(const nlohmann::json& report);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_TRAINING_H_
