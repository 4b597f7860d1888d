// What all steps together did to one layer of the input model.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_LAYER_SUMMARY_H_
#define LATHE_WORKER_ENGINE_EVALUATE_LAYER_SUMMARY_H_

#include <string>
#include <vector>

#include "worker/engine/evaluate/report.h"

namespace lathe::engine {

// One step's doing, on the layer or on a part of it (a factor that an earlier step made).
struct LayerStep {
  int step = 0;  // index in the recipe
  std::string method;
  LayerOutcome outcome;
};

struct LayerSummary {
  std::string name;
  std::string op;
  Shape dims;
  std::string scheme;  // of all steps that did something, in order, joined by "; "
  std::optional<int> bits;
  std::optional<int> requested_bits;
  std::optional<int64_t> rank;
  std::optional<double> sparsity;        // zeros over all elements, in what was written
  std::optional<double> relative_error;  // measured on what was written
  int64_t parameters = 0;
  int64_t parameters_after = 0;
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  std::string skipped_reason;  // no step did anything: why
  std::string not_measured;
  std::vector<LayerStep> steps;
};

// In the order of the input model. `warnings` gets a line for each layer whose measured error
// differs from what its one step claims by more than rounding explains.
std::vector<LayerSummary> SummarizeLayers(const ReportInput& input,
                                          std::vector<std::string>* warnings);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_LAYER_SUMMARY_H_
