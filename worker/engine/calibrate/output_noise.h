// How far a changed model's outputs are from the original's, on the same examples.
#ifndef LATHE_WORKER_ENGINE_CALIBRATE_OUTPUT_NOISE_H_
#define LATHE_WORKER_ENGINE_CALIBRATE_OUTPUT_NOISE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

class OutputNoise {
 public:
  // Runs `model` on at most `max_examples` of what `next` gives, and keeps inputs and float outputs
  // of as many as fit kMaxKeptBytes, one batch at least. Errors as Executor::Make and Run, `next`.
  static absl::StatusOr<OutputNoise> Make(const Model& model, const CalibrationData::Next& next,
                                          int64_t max_examples, std::function<bool()> cancelled);

  int64_t examples() const { return examples_; }
  int64_t batches() const { return static_cast<int64_t>(batches_.size()); }
  // Whether there is a float output with a signal to compare.
  bool comparable() const;
  const std::vector<std::string>& outputs() const { return outputs_; }

  // Of each float output: sum of squared differences over sum of squares of the original's, over
  // the first `batches` batches. 1e30 where one side alone is not finite. Thread-safe. Errors as
  // Executor::Make and Run.
  absl::StatusOr<std::vector<double>> Ratios(const Model& changed, int64_t batches) const;

  static constexpr int64_t kMaxKeptBytes = int64_t{256} << 20;
  // Candidates that may be measured at a time, of a model with so many bytes of constants: each
  // holds its weights once more, decoded.
  static int64_t CandidatesAtOnce(const Model& model, int threads);

 private:
  struct Kept {
    std::map<std::string, Tensor> inputs;
    std::vector<Tensor> outputs;  // one each of outputs_; empty for one that is no float tensor
  };

  std::function<bool()> cancelled_;
  std::vector<std::string> outputs_;
  std::vector<Kept> batches_;
  std::vector<double> signal_;  // of all batches, an output
  int64_t examples_ = 0;
};

// -10 log10 of the largest ratio: the signal-to-noise ratio of the worst output, in dB, at most
// 200.
double WorstDb(const std::vector<double>& ratios);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_CALIBRATE_OUTPUT_NOISE_H_
