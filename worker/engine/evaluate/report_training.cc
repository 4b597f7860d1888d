#include "worker/engine/evaluate/report_training.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lathe::engine {

using nlohmann::json;

namespace {

json Figure(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

// "loss 0.412 -> 0.031"; "" when the curve does not have it.
std::string Change(const json& curve, const char* key, const char* label, bool percent) {
  const json* first = nullptr;
  const json* last = nullptr;
  for (const json& point : curve) {
    if (!point.is_object() || !point.contains(key) || !point[key].is_number()) continue;
    if (first == nullptr) first = &point[key];
    last = &point[key];
  }
  if (first == nullptr) return "";
  const double from = first->get<double>();
  const double to = last->get<double>();
  return percent ? absl::StrFormat(", %s %.1f %% -> %.1f %%", label, 100 * from, 100 * to)
                 : absl::StrFormat(", %s %.4g -> %.4g", label, from, to);
}

}  // namespace

json TrainingJson(const StepTraining& training) {
  const TrainOutcome& outcome = training.outcome;
  json curve = json::array();
  for (const CurvePoint& point : outcome.curve) {
    curve.push_back({{"step", point.step},
                     {"epoch", Figure(point.epoch)},
                     {"learning_rate", Figure(point.rate)},
                     {"loss", Figure(point.loss)},
                     {"accuracy", Figure(point.accuracy)},
                     {"validation_loss", Figure(point.validation_loss)},
                     {"validation_accuracy", Figure(point.validation_accuracy)}});
  }
  return {{"loss", training.loss},
          {"steps", outcome.steps},
          {"epochs", Figure(outcome.epochs)},
          {"batch_size", outcome.batch_size},
          {"micro_batch", outcome.micro_batch},
          {"learning_rate", Figure(outcome.learning_rate)},
          {"peak_activation_bytes", outcome.peak_bytes},
          {"best_step", outcome.best_step >= 0 ? json(outcome.best_step) : json(nullptr)},
          {"stopped_early", outcome.stopped_early},
          {"curve", std::move(curve)}};
}

std::vector<std::string> TrainingLines(const json& report) {
  std::vector<std::string> lines;
  for (const json& step : report["steps"]) {
    if (!step.contains("training") || !step["training"].is_object()) continue;
    const json& training = step["training"];
    const json& curve = training["curve"];
    std::string line = Change(curve, "loss", "loss", false);
    if (line.empty()) continue;
    absl::StrAppend(&line, Change(curve, "accuracy", "accuracy", true),
                    Change(curve, "validation_loss", "validation loss", false),
                    Change(curve, "validation_accuracy", "validation accuracy", true));
    lines.push_back(absl::StrCat(step["method"].get<std::string>(), ": ", line.substr(2), " over ",
                                 training["steps"].get<int64_t>(), " steps"));
  }
  return lines;
}

}  // namespace lathe::engine
