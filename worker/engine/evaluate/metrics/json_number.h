// JSON of figures that may not exist.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_JSON_NUMBER_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_JSON_NUMBER_H_

#include <cmath>
#include <nlohmann/json.hpp>

namespace lathe::engine {

// null for NaN and infinities, which JSON does not have.
inline nlohmann::json JsonNumber(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

// numerator / denominator; null where the denominator is 0.
inline nlohmann::json JsonRatio(double numerator, double denominator) {
  return denominator == 0 ? nlohmann::json() : JsonNumber(numerator / denominator);
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_JSON_NUMBER_H_
