// Which node of a model makes the first NaN or infinity.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_BAD_VALUES_H_
#define LATHE_WORKER_ENGINE_EVALUATE_BAD_VALUES_H_

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// NaN and infinite elements of a tensor of floats; 0 for others.
int64_t CountBad(const Value& value);

// Runs the model node by node; "Div 'div1' gives 3 NaN or infinite values of 96, from inputs
// without any" for the first node whose output has some; "" when there is none. Errors as
// Executor::Run.
absl::StatusOr<std::string> FirstBadNode(const Model& model,
                                         const std::map<std::string, Value>& inputs,
                                         std::function<bool()> cancelled);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_BAD_VALUES_H_
