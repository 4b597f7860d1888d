// The figures of a report, or of a model's summary, that shapes alone tell.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_COST_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_COST_H_

#include <nlohmann/json.hpp>

#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// Adds `macs`, `bytes_moved`, `arithmetic_intensity`, `energy_pj` and what they are made of
// (docs/report.md, "Figures").
void AddCost(const Inference& inference, nlohmann::json* figures);

// Adds `macs`, `bytes_moved` and `arithmetic_intensity` of a layer, with `suffix` behind each name.
void AddLayerCost(const OperatorCost& cost, const char* suffix, nlohmann::json* layer);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_COST_H_
