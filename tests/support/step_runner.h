// Runs one step of a recipe on a model of the engine's IR.
#ifndef LATHE_TESTS_SUPPORT_STEP_RUNNER_H_
#define LATHE_TESTS_SUPPORT_STEP_RUNNER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/recipe/text.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine::testing {

// `flag` is a step as on the command line: "prune_weights:sparsity=0.5,scope=global".
inline absl::StatusOr<StepOutcome> RunStep(Model& model, const std::string& flag, int threads = 1,
                                           uint64_t seed = 0) {
  absl::StatusOr<Step> step = ParseStepFlag(flag);
  if (!step.ok()) return step.status();
  const Method* method = FindMethodImpl(step->method);
  if (method == nullptr) return absl::NotFoundError(step->method);
  std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
  StepOutcome outcome;
  StepContext ctx{
      model,  *step, seed, *parallel, [](double, const std::string&) {}, [] { return false; },
      outcome};
  absl::Status status = method->apply(ctx);
  if (!status.ok()) return status;
  return outcome;
}

// The outcome of the layer of that name; nullptr when there is none.
inline const LayerOutcome* FindLayer(const StepOutcome& outcome, const std::string& name) {
  for (const LayerOutcome& layer : outcome.layers) {
    if (layer.name == name) return &layer;
  }
  return nullptr;
}

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_SUPPORT_STEP_RUNNER_H_
