// The scores behind probabilities: losses are computed from what goes into a last softmax, where
// they and their gradients are exact.
#ifndef LATHE_WORKER_ENGINE_TRAIN_SCORES_H_
#define LATHE_WORKER_ENGINE_TRAIN_SCORES_H_

#include <cstddef>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Where graph output `output` is made by Softmax or LogSoftmax over the last axis (or the second
// of two or more), or by Sigmoid, makes the graph put out what goes into it instead, under the same
// place among the outputs. Looks through Identity, Flatten, Reshape and Squeeze at nothing: the
// operator must be the last one. Returns whether it did.
bool ExposeScores(Model& model, size_t output);

// Whether ExposeScores would.
bool EndsInProbabilities(const Model& model, size_t output);

// The first output that holds floats, by its declared type; 0 when none says so.
size_t FirstFloatOutput(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_SCORES_H_
