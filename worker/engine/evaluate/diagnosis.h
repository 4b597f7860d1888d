// Where a compressed model's error comes from: each layer's output, float against compressed, on
// data.
//
// Cumulative: the layer's output in the compressed model against that in the original, each model
// running on its own: what all layers up to here have done. Isolated: the compressed layer is given
// the original's own input: what this layer alone does. As a signal-to-noise ratio,
// 10 log10(sum y^2 / sum (y - y')^2), over all elements of all examples.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_DIAGNOSIS_H_
#define LATHE_WORKER_ENGINE_EVALUATE_DIAGNOSIS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/evaluate/histogram.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {

struct LayerDiagnosis {
  std::string name;    // Weight::name
  std::string output;  // the value compared
  // Absent, and the reason below empty: the outputs are equal to the last bit.
  std::optional<double> output_sqnr_db;
  std::optional<double> isolated_sqnr_db;
  std::string not_measured;           // why output_sqnr_db is missing
  std::string isolated_not_measured;  // likewise isolated_sqnr_db
  // Of the layer's output, in both models.
  Histogram before;
  Histogram after;
};

class Diagnosis {
 public:
  // Looks at the weighted layers of the main graph of `original` whose output `compressed` has
  // under the same name, at most kMaxLayers of them. Both must outlive it. Errors as
  // Executor::Make.
  static absl::StatusOr<std::unique_ptr<Diagnosis>> Make(Model& original, const Model& compressed,
                                                         std::function<bool()> cancelled);
  ~Diagnosis();

  // One batch of examples. Errors as Executor::Run.
  absl::Status Add(const std::map<std::string, Value>& inputs);

  // One entry a layer, in the original's order.
  std::vector<LayerDiagnosis> Result() const;

  static constexpr size_t kMaxLayers = 1000;
  // Of the original's layer outputs that are kept for one batch; layers past it are not measured.
  static constexpr int64_t kMaxKeptBytes = int64_t{1} << 30;

 private:
  struct Layer;
  Diagnosis() = default;
  absl::Status SeeOriginal(const Node& node, std::span<const Value> inputs,
                           std::span<const Value> outputs);
  absl::Status SeeCompressed(const Node& node, std::span<const Value> outputs);
  absl::Status RunAlone(Layer& layer, const Node& node, std::span<const Value> inputs,
                        const Value& wanted);

  const Model* compressed_ = nullptr;
  std::function<bool()> cancelled_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::unordered_map<const Node*, Layer*> by_node_;
  std::unordered_map<std::string, Layer*> by_output_;
  std::unordered_map<std::string, const Node*> producers_;  // in the compressed main graph
  std::unique_ptr<Executor> run_original_;
  std::unique_ptr<Executor> run_compressed_;
  int64_t kept_bytes_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_DIAGNOSIS_H_
