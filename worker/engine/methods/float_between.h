// Operators that stay float beside integer layers, for the report: not layers, and so without an
// outcome of their own.
#ifndef LATHE_WORKER_ENGINE_METHODS_FLOAT_BETWEEN_H_
#define LATHE_WORKER_ENGINE_METHODS_FLOAT_BETWEEN_H_

#include <string>
#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/passes/integer_plan.h"
#include "worker/engine/passes/integer_units.h"

namespace lathe::engine {

// "6 HardSwish, 2 Tanh (ONNX Runtime has no 8-bit kernel for them)" and the like, of the operators
// of the main graph that read what a static unit gives, or give what one reads; "" for none. The
// units are of `model`, which is float still.
std::string FloatBetween(const Model& model, const std::vector<IntegerUnit>& units,
                         const std::vector<UnitForm>& forms);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_FLOAT_BETWEEN_H_
