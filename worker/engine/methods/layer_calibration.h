// What calibration examples say of the inputs of a model's layers, layer after layer through the
// model as it has become so far.
#ifndef LATHE_WORKER_ENGINE_METHODS_LAYER_CALIBRATION_H_
#define LATHE_WORKER_ENGINE_METHODS_LAYER_CALIBRATION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/methods/input_rows.h"
#include "worker/engine/methods/rounding_problem.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// Of one layer.
struct LayerInputs {
  std::shared_ptr<const InputMoments> moments;  // nullptr: none, see `why_not`
  std::shared_ptr<const std::vector<double>>
      lookups;          // of an embedding: how often each row was read
  std::string why_not;  // "its input is the layer's own state, which no example shows"
  // The same for layers that share their inputs; factors may be kept under it.
  size_t source = SIZE_MAX;
};

// Sums are streamed: memory is that of the Hessians of one block of layers, however many examples
// there are. Layers that read one value in one way share a Hessian. A pass over the examples serves
// as many layers as keep the passes at kMostPasses and the Hessians within kBlockBytes; it ends at
// the last layer it is about. Inputs are float32; of long ones (many tokens, many positions of a
// convolution) an even share of max(32768, 16 K) rows is taken. A row of more than 8 times the
// median length of those read with it counts as one of that length, so that a few outliers do not
// decide alone.
class LayerCalibration {
 public:
  static constexpr int64_t kMostPasses = 24;
  static constexpr int64_t kBlockBytes = int64_t{512} << 20;
  // Larger Hessians (1 GiB) are not made: the layer has none.
  static constexpr int64_t kMostInputs = 16384;

  // `model` may be changed between calls: the weights' values alone. `weights` are its; `wanted`
  // says of which something will be asked. All must outlive this.
  LayerCalibration(const Model* model, const std::vector<Weight>* weights,
                   const std::vector<bool>& wanted, const CalibrationData* data,
                   std::function<bool()> cancelled, Parallel* parallel);
  ~LayerCalibration();

  // What layer `index` is given when the model runs as it is now. Layers are asked for in rising
  // order, each once. Errors: those of Executor and of reading the examples; UNIMPLEMENTED when the
  // model cannot be run.
  absl::StatusOr<LayerInputs> Of(size_t index);

  int64_t passes() const { return passes_; }

 private:
  struct Source;

  absl::Status Collect(size_t first_source);

  const Model* model_;
  const std::vector<Weight>* weights_;
  const CalibrationData* data_;
  std::function<bool()> cancelled_;
  Parallel* parallel_;
  std::vector<std::unique_ptr<Source>> sources_;  // in the order of their first layer
  std::vector<size_t> source_of_;                 // by weight; SIZE_MAX: none
  std::vector<std::string> why_not_;              // by weight
  int64_t a_pass_ = 1;                            // sources
  int64_t passes_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_LAYER_CALIBRATION_H_
