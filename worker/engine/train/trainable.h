// A model's trained values, taken out of its graph.
//
// In the copy that is trained they are inputs of the graph, so that the tape gives their gradients
// and nothing packs or folds them. What is trained:
//   - weights, biases, normalizations' scales and shifts, embedding tables, slopes: initializers
//     and Constant nodes, also behind Identity, Cast, Transpose and reshaping; a constant that
//     several nodes read is one parameter;
//   - constants that are added to or multiplied with what comes from such a layer, as frameworks
//     write biases and norms;
//   - weights stored as integers with scales (train/grid.h): as latent values on their grid, where
//     the integers have one reader, Cast or DequantizeLinear.
// Zeros of a matrix or kernel that has at least kPrunedShare of them count as pruned and stay zero.
#ifndef LATHE_WORKER_ENGINE_TRAIN_TRAINABLE_H_
#define LATHE_WORKER_ENGINE_TRAIN_TRAINABLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/value.h"
#include "worker/engine/train/grid.h"

namespace lathe::engine {

inline constexpr double kPrunedShare = 0.02;

// What becomes of weights that are stored as integers.
enum class QuantizedWeights {
  kLearnedSteps,     // latent values and scales are trained (LSQ)
  kStraightThrough,  // latent values alone
  kFrozen,
};

struct Parameter {
  std::string input;  // the copy's graph input
  std::string name;   // of the constant that holds it: what globs match and reports call it
  std::string layer;  // name of a node that reads it; globs match that too
  Shape dims;
  DType dtype = DType::kFloat;  // as the graph reads it
  std::vector<float> values;    // float32, or the latent values of a grid
  std::vector<uint8_t> mask;    // one an element: 0 stays zero; empty: none does
  std::optional<Grid> grid;
  bool decays = false;     // weight decay is for matrices and kernels, not for biases and norms
  std::string scale_name;  // of a grid: the constant that holds the scales
  DType code_dtype = DType::kUndefined;  // and the type of the integers

  int64_t size() const { return static_cast<int64_t>(values.size()); }
};

// Something that could be trained and is not, and why.
struct Untrained {
  std::string name;
  std::string reason;
};

struct TrainableOptions {
  QuantizedWeights quantized = QuantizedWeights::kLearnedSteps;
  // Whether a parameter is to be trained, by the names of its constant and of a node that reads
  // it; empty: all are.
  std::function<bool(const std::string& name, const std::string& layer)> selected;
  // The model before it was quantized: a constant of the same name and elements there, that is
  // within one step of what the integers stand for, is where latent values start. May be null.
  const Model* before = nullptr;
  // Normalizations compute with the batch's statistics, and keep running ones.
  bool batch_statistics = false;
};

class Trainable {
 public:
  // `model`: valid, functions inlined. Errors: INVALID_ARGUMENT when there is nothing to train;
  // the message lists why.
  static absl::StatusOr<Trainable> Make(const Model& model, const TrainableOptions& options);

  const Model& model() const { return model_; }
  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<Untrained>& untrained() const { return untrained_; }
  // Running statistics: an input of the copy, the output that holds its next value.
  struct Statistic {
    std::string input;
    std::string output;
    std::string name;
    Shape dims;
    std::vector<float> values;
  };
  std::vector<Statistic>& statistics() { return statistics_; }
  const std::vector<Statistic>& statistics() const { return statistics_; }

  // Puts the trained values into a model that has the same constants. A pruned weight's zeros are
  // exact; a grid's integers are those that Project computes with.
  absl::Status WriteTo(Model& model) const;

 private:
  friend class TrainableBuilder;
  Model model_;
  std::vector<Parameter> parameters_;
  std::vector<Statistic> statistics_;
  std::vector<Untrained> untrained_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_TRAINABLE_H_
