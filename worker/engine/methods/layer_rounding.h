// Rounds one layer's weight by the algorithm of the recipe, and never worse than to nearest.
#ifndef LATHE_WORKER_ENGINE_METHODS_LAYER_ROUNDING_H_
#define LATHE_WORKER_ENGINE_METHODS_LAYER_ROUNDING_H_

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/methods/gptq.h"
#include "worker/engine/methods/layer_calibration.h"
#include "worker/engine/methods/quantized_tensor.h"
#include "worker/engine/methods/weight_storage.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

struct RoundedLayer {
  QuantizedTensor stored;
  // A second scale for each element of the source's reduction axis; empty: none.
  std::vector<float> input_scales;
  // What the layer computes with from now on, in the source's layout.
  std::vector<float> decoded;
  // What was done, for the report: "gptq: output error 0.31 of nearest's".
  std::string how;
};

class LayerRounder {
 public:
  LayerRounder(const QuantizeSettings* settings, Parallel* parallel)
      : settings_(settings), parallel_(parallel) {}

  // The source has finite values of a float type. An algorithm that needs inputs and has none
  // rounds to nearest, and says why.
  RoundedLayer Round(const Weight& weight, const WeightStorage& storage, const LayerInputs& inputs);

  // The error of rounding to nearest, over the outputs' energy (without moments: of the weights,
  // those of an embedding counted by its lookups).
  double RelativeError(const Weight& weight, const WeightStorage& storage,
                       const LayerInputs& inputs);

 private:
  struct Problem;
  struct Attempt;

  Problem MakeProblem(const Weight& weight, const WeightStorage& storage, const LayerInputs& inputs,
                      bool half_scales);
  Attempt Nearest(const Problem& problem);
  // nullopt: it has nothing to offer, and `why` says so.
  std::optional<Attempt> ByAlgorithm(const Problem& problem, const LayerInputs& inputs,
                                     const Attempt& nearest, std::string* why);
  std::optional<Attempt> Gptq(const Problem& problem, const LayerInputs& inputs, std::string* why);
  Attempt Awq(const Problem& problem);

  const QuantizeSettings* settings_;
  Parallel* parallel_;
  // Of the last source that had factors: layers that share it come one after the other.
  size_t factors_of_ = SIZE_MAX;
  absl::StatusOr<GptqFactors> factors_ = GptqFactors();
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_LAYER_ROUNDING_H_
