// The examples that a step may learn ranges and errors from, as batches of values.
//
// Part of them is held back: choices are made on one part and judged on the other. Every fifth
// batch is held back; where there are fewer than five batches of the wished size, batches are made
// smaller. With a single batch (one example, or a batch that the model fixes) both parts are all
// there is, and held_back() says so.
#ifndef LATHE_WORKER_ENGINE_DATA_CALIBRATION_DATA_H_
#define LATHE_WORKER_ENGINE_DATA_CALIBRATION_DATA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/data/data_plan.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

struct CalibrationBatch {
  int64_t examples = 0;
  // By the model's input; valid until the next batch is read.
  std::map<std::string, Value> inputs;
  // What they were made from, labels included; valid as long. Copies of it share its arrays.
  const Batch* batch = nullptr;
};

class CalibrationData {
 public:
  enum class Part { kAll, kFit, kHeldBack };

  // `split` must outlive it. `batch_size` >= 1 is a wish, see above.
  CalibrationData(const DataSplit* split, int64_t batch_size);

  int64_t examples() const { return split_->size(); }
  // Whether the held-back examples are others than those to fit to.
  bool held_back() const { return batches_ > 1; }
  // What the examples' labels are like; of kind kNone without any.
  const LabelSummary& labels() const { return split_->labels(); }
  std::optional<int64_t> fixed_batch() const { return split_->fixed_batch(); }
  // Names of the files, for reports.
  std::string files() const { return split_->files(); }

  // Gives one batch after the other, from the first; nullopt after the last, or when `max_examples`
  // were given. Always the same batches in the same order. Not for two readers at once. Errors as
  // BatchReader::Next.
  using Next = std::function<absl::StatusOr<std::optional<CalibrationBatch>>()>;
  absl::StatusOr<Next> Read(Part part, int64_t max_examples = INT64_MAX) const;

 private:
  const DataSplit* split_;
  int64_t batch_size_;
  int64_t batches_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_CALIBRATION_DATA_H_
