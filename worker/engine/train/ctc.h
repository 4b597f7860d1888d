// Connectionist temporal classification (Graves, Fernandez, Gomez and Schmidhuber 2006,
// "Connectionist Temporal Classification", section 4).
#ifndef LATHE_WORKER_ENGINE_TRAIN_CTC_H_
#define LATHE_WORKER_ENGINE_TRAIN_CTC_H_

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/status.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// `scores`: float32 [examples, frames, classes], or [frames, examples, classes] when the first axis
// is not the number of examples; before the softmax. `labels` [size, most]: classes, a negative one
// ends a text. `blank`: its class, -1 the last. share(n) is example n's part of the mean. Adds to
// `loss` and writes the gradient to `grad` (of scores' size, zeros before). An example whose text
// cannot be aligned with its frames adds nothing. INVALID_ARGUMENT for labels that are not classes.
absl::Status CtcLoss(const Value& scores, std::span<const int64_t> labels, int64_t most,
                     int64_t size, int64_t blank, const std::function<double(int64_t)>& share,
                     std::span<float> grad, double* loss);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_CTC_H_
