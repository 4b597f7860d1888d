// What a compression method is, and the table of all of them.
#ifndef LATHE_WORKER_ENGINE_METHODS_METHOD_H_
#define LATHE_WORKER_ENGINE_METHODS_METHOD_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/methods/gradual_pruning.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/train/trainer.h"

namespace lathe::engine {

// What a step did to one layer (a Weight of graph/layers.h).
struct LayerOutcome {
  std::string name;         // Weight::name
  std::string op;           // RoleName
  std::string scheme;       // what was done: "int8 per channel, Cast+Mul", "rank 17 of 64", "50 %
                            // zeros"; "" when skipped
  std::optional<int> bits;  // bits a weight is stored in
  std::optional<int> requested_bits;  // what the recipe asked for, where the container is wider
  std::optional<int64_t> rank;
  std::optional<double> sparsity;  // zeros over all, after the step
  std::optional<double>
      relative_error;  // norm(W - W') / norm(W), Frobenius, against the weight before this step
  std::optional<double> sqnr_db;  // -20 log10(relative_error)
  int64_t parameters = 0;         // elements before
  int64_t bytes_before = 0;       // of the constants that hold the layer's weight
  int64_t bytes_after = 0;        // likewise, scales and zero points included
  std::string skipped_reason;     // non-empty: left alone, and why
  // Its weights were first rescaled together with what they meet (a normalization folded, inputs
  // smoothed): the errors above are against the rescaled ones, and none against the file's.
  bool rescaled = false;
  // Left alone for what it is: whatever its parameters, the step takes no such layer.
  bool not_applicable = false;
};

// What a step that trains went through.
struct StepTraining {
  TrainOutcome outcome;
  std::string loss;  // "cross_entropy", "distill", ...
};

struct StepOutcome {
  std::vector<LayerOutcome> layers;
  std::optional<StepTraining> training;
  std::vector<std::string> notes;  // for the report: an opset lifted, a form chosen, ...
};

// A model's leading figure on labelled examples, a share in [0, 1].
struct Accuracy {
  std::string figure;  // its name in reports: "accuracy"
  double value = 0;
  int64_t examples = 0;
};

// What steps that train have beside what all have.
struct TrainingContext {
  const DataSplit* train = nullptr;  // nullptr: no examples to train on
  const Model* original = nullptr;   // the model before the recipe
  const Model* teacher = nullptr;    // given with the job; nullptr: none
  std::string output;                // that labels speak of; "": the first of floats
  // Left by a prune_weights that prunes while the next step trains.
  std::optional<GradualPlan> gradual;
  // As TrainHooks, for the step that trains next.
  std::function<bool()> checkpoint_due;
  std::function<absl::Status(std::string)> save_checkpoint;
  std::function<absl::Status(std::string)> keep_final;
  std::string resume;
  std::function<void(int64_t done, int64_t total)> resumed;
};

// Everything a step may touch. The engine owns it all.
struct StepContext {
  Model& model;
  const Step& step;  // validated; read it with the getters of common/recipe/catalogue.h
  uint64_t seed = 0;
  Parallel& parallel;
  // Fraction of this step in [0, 1] and a word on where it is: "conv4_2 (17 of 83)". Cheap; call
  // once a layer.
  std::function<void(double, const std::string&)> progress;
  // True when the job was cancelled: return CANCELLED soon.
  std::function<bool()> cancelled;
  StepOutcome& outcome;
  // Examples for steps that use them (CalibrationUse of common/recipe/catalogue.h); nullptr: none
  // were given.
  const CalibrationData* calibration = nullptr;
  // Empty, or what a candidate's time is of the original's in a configured runtime; nullopt: it
  // cannot be told.
  std::function<absl::StatusOr<std::optional<double>>(const Model&)> runtime_ratio = nullptr;
  // Empty, or the accuracy of a candidate on calibration examples that are held back and have
  // labels: given to steps whose recipe says max_accuracy_drop.
  std::function<absl::StatusOr<Accuracy>(const Model&)> accuracy = nullptr;
  // Empty, or why this weight is to be left alone beside what the step itself says; "": it is not.
  // For steps that other steps are made of.
  std::function<std::string(const Weight&)> veto = nullptr;
  // Likewise: small tables are decoded at load, and not look-up by look-up, which takes less memory
  // and a few microseconds more.
  bool decode_small_tables = false;
  // nullptr: the recipe has no step that trains.
  TrainingContext* training = nullptr;
};

// A method changes ctx.model in place and fills ctx.outcome with one entry for every weight
// FindWeights lists, done or skipped with its reason. Errors: INVALID_ARGUMENT for what is wrong
// with the model (NaN weights, named), CANCELLED. A layer that cannot be done is skipped, not an
// error; the model stays valid at every return.
struct Method {
  const char* name;  // its key in recipes; in the catalogue too (a test compares the two lists)
  absl::Status (*apply)(StepContext& ctx);
};

// One file a method, methods/<name>.cc; one line in methods/table.cc.
std::span<const Method> MethodTable();
const Method* FindMethodImpl(const std::string& name);

absl::Status ApplyPruneWeights(StepContext& ctx);
absl::Status ApplyLowRank(StepContext& ctx);
absl::Status ApplyQuantizeWeights(StepContext& ctx);
absl::Status ApplyQuantizeActivations(StepContext& ctx);
absl::Status ApplyFp16(StepContext& ctx);
absl::Status ApplyFineTune(StepContext& ctx);
absl::Status ApplyDistill(StepContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_METHOD_H_
