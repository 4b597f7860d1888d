// Which inputs of which operators are trained, when they are constants.
#ifndef LATHE_WORKER_ENGINE_TRAIN_TRAINED_INPUTS_H_
#define LATHE_WORKER_ENGINE_TRAIN_TRAINED_INPUTS_H_

#include <cstddef>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

enum class TrainedInput {
  kNo,
  kMatrix,       // a matrix, kernel or table
  kVector,       // a bias, or a normalization's scale or shift
  kElementwise,  // the operand of an Add or Mul: trained where the other comes from a layer
};

TrainedInput TrainedInputOf(const Node& node, size_t input);

// Identity, a Cast between floats, and what gives a constant another shape or order.
bool PassesConstantOn(const Node& node);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_TRAINED_INPUTS_H_
