// Gradients of models for tests in other languages (part of lathe_test_tool).
#ifndef LATHE_TESTS_SUPPORT_GRAD_TOOL_H_
#define LATHE_TESTS_SUPPORT_GRAD_TOOL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lathe::engine {

// Arguments: [--reference] FOLDER... Each folder holds `model.onnx` and `inputs.onnx`, a model
// whose initializers are the inputs and, named "grad:OUTPUT", the gradients of the loss with
// respect to outputs. The gradients with respect to all float inputs go to `outputs.onnx` (an input
// that none reaches is missing), the outputs too, as "out:NAME". Prints one JSON object a folder:
// {"ok", "error", "blocked": [...]}. Every model is run twice; the second run, within the memory
// plan of the first, must give the same bytes.
absl::Status DifferentiateModels(const std::vector<std::string>& args);

// Prints one JSON object an operator that the engine runs or has a rule for, in the order of the
// alphabet: {"domain", "op", "gradient": "passes" | "zero" | "blocked", "runs"}.
void PrintBackwards();

}  // namespace lathe::engine

#endif  // LATHE_TESTS_SUPPORT_GRAD_TOOL_H_
