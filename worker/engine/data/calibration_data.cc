#include "worker/engine/data/calibration_data.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "common/status_reason.h"

namespace lathe::engine {
namespace {

// One batch in so many is held back.
constexpr int64_t kHeldBackOneIn = 5;

// Holds what a batch's values point to.
struct Held {
  BatchReader reader;
  Batch batch;
  int64_t index = 0;  // of the next batch
  int64_t given = 0;  // examples
};

bool Belongs(CalibrationData::Part part, int64_t index, int64_t batches) {
  if (part == CalibrationData::Part::kAll || batches == 1) return true;
  // With fewer batches than kHeldBackOneIn the last one is held back.
  const int64_t every = std::min(kHeldBackOneIn, batches);
  return (index % every == every - 1) == (part == CalibrationData::Part::kHeldBack);
}

}  // namespace

CalibrationData::CalibrationData(const DataSplit* split, int64_t batch_size)
    : split_(split),
      batch_size_(split->fixed_batch().value_or(
          std::clamp((split->size() + kHeldBackOneIn - 1) / kHeldBackOneIn, int64_t{1},
                     std::max<int64_t>(1, batch_size)))),
      batches_((split->size() + batch_size_ - 1) / batch_size_) {}

absl::StatusOr<CalibrationData::Next> CalibrationData::Read(Part part, int64_t max_examples) const {
  BatchOptions options;
  options.batch_size = batch_size_;
  ASSIGN_OR_RETURN(BatchReader reader, split_->Batches(options));
  auto held = std::make_shared<Held>(Held{std::move(reader), {}});
  return Next([held, part, max_examples,
               batches = batches_]() -> absl::StatusOr<std::optional<CalibrationBatch>> {
    while (!held->reader.done() && held->given < max_examples) {
      absl::StatusOr<Batch> next = held->reader.Next();
      if (absl::IsInvalidArgument(next.status()) && ReasonOf(next.status()).empty()) {
        return WithReason(next.status(), "INVALID_DATASET");
      }
      if (!next.ok()) return next.status();
      if (!Belongs(part, held->index++, batches)) continue;
      held->batch = *std::move(next);
      held->given += held->batch.size;
      CalibrationBatch batch;
      batch.examples = held->batch.size;
      batch.batch = &held->batch;
      for (const auto& [name, tensor] : held->batch.inputs) {
        batch.inputs[name] = Value::FromTensor(tensor);
      }
      return std::optional<CalibrationBatch>(std::move(batch));
    }
    return std::optional<CalibrationBatch>();
  });
}

}  // namespace lathe::engine
