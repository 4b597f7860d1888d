// What every method says of a layer, said in one way.
#ifndef LATHE_WORKER_ENGINE_METHODS_LAYER_OUTCOME_H_
#define LATHE_WORKER_ENGINE_METHODS_LAYER_OUTCOME_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {

// An outcome with the layer's name, op, parameters and bytes, nothing done to it yet.
LayerOutcome NewOutcome(const Weight& weight);

// Bytes of the constant that holds the weight now; 0 where it is not known.
int64_t SourceBytes(const Weight& weight);

// Reasons of layers that the step was not asked to touch.
inline constexpr char kNotInTargets[] = "not in targets";
inline constexpr char kNamedInSkip[] = "named in skip";

// Why the step leaves this weight alone before it looks at it: the weight is blocked, or not among
// the step's targets. "" otherwise.
std::string ReasonToSkip(const Weight& weight, const Step& step);

// Fills relative_error and sqnr_db from the squared norms of the change and of the weight before
// it. A weight that did not change has no SQNR (it would be infinite); a change of a zero weight
// has no relative error.
void SetError(LayerOutcome& outcome, double squared_change, double squared_norm);

// The weight's constant, to be changed in place; nullptr when it is not a dense one.
Tensor* MutableSource(const Weight& weight);

// Error of ReadWeight (graph/layers.h) for a dense weight with values that are NaN or infinite,
// found without a copy of them.
absl::Status CheckFinite(const Weight& weight, Parallel& parallel);

// Reports progress ahead of layer `index` of `count`. CANCELLED when the job was.
absl::Status StartLayer(StepContext& ctx, size_t index, size_t count, const std::string& name);

// A note for the report when the step's `targets` match nothing.
void NoteUnmatchedTargets(StepContext& ctx, const std::vector<Weight>& weights);

// "12.5 %": at most one decimal.
std::string Percent(double fraction);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_LAYER_OUTCOME_H_
