// What quantize_activations tells of each layer.
#ifndef LATHE_WORKER_ENGINE_METHODS_INTEGER_OUTCOME_H_
#define LATHE_WORKER_ENGINE_METHODS_INTEGER_OUTCOME_H_

#include <vector>

#include "worker/engine/methods/integer_planner.h"
#include "worker/engine/methods/integer_search.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/passes/emit_integers.h"
#include "worker/engine/passes/integer_units.h"

namespace lathe::engine {

struct IntegerRecord {
  std::vector<LayerOutcome> start;   // every layer, before anything was done
  std::vector<LayerOutcome> stored;  // those of the 8-bit step that ran on what was left
  std::vector<EmittedWeight> emitted;
};

// One outcome for each layer of `record.start`, in its order: integer arithmetic where that was
// emitted, otherwise what the 8-bit step did, with the reason why its arithmetic stays float.
std::vector<LayerOutcome> IntegerOutcomes(const IntegerRecord& record,
                                          const std::vector<IntegerUnit>& units,
                                          const SearchResult& chosen,
                                          const IntegerOptions& options);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INTEGER_OUTCOME_H_
