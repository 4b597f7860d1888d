// Histograms in a report.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_HISTOGRAM_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_HISTOGRAM_H_

#include <nlohmann/json.hpp>
#include <vector>

#include "worker/engine/evaluate/histogram.h"
#include "worker/engine/evaluate/weight_error.h"

namespace lathe::engine {

nlohmann::json HistogramJson(const Histogram& histogram);

// Adds `histogram` to those of `layers` whose weights lost most, by `measures`.
void AddWeightHistograms(const std::vector<LayerMeasure>& measures, nlohmann::json* layers);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_HISTOGRAM_H_
