// Replaces calls of model-local functions by their bodies, where that brings a weight into reach.
//
//   before: y = my::Linear(x, w, b)       with function my::Linear(X, W, B) { t = MatMul(X, W); Y =
//   Add(t, B) } after:  call/t = MatMul(x, w); y = Add(call/t, b)
//
// A weight that is a parameter of a function has no place of its own in the function: each call may
// bring another constant. So the calls are inlined, and each gets its own weight. Functions whose
// weights are Constants of their own body stay as they are.
#ifndef LATHE_WORKER_ENGINE_PASSES_INLINE_FUNCTIONS_H_
#define LATHE_WORKER_ENGINE_PASSES_INLINE_FUNCTIONS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Inlines every call of the functions of FunctionsWithWeightParameters, and then of those which
// thereby become such. Attributes that refer to the call's are resolved to the call's value, else
// to the function's default, else left out. Values and nodes are named "<call>/<name>", made fresh.
// Constants of 1 KiB and more in a body become one initializer that all calls share. Functions that
// nobody calls any more are removed. A function stays, and the notes say why, when it imports
// another version of a domain than the model, when it calls itself, when a call lacks an attribute
// that a Constant needs, or when the graph would grow past common/limits.h. Always OK on a valid
// model; INTERNAL would be a bug.
absl::Status InlineFunctions(Model& model, std::vector<std::string>* notes);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_INLINE_FUNCTIONS_H_
