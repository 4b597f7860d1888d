// Lifts a model to a newer opset of ai.onnx.
//
// Operators whose meaning or form changed on the way are rewritten, one version at a time, by the
// adapters of passes/opset_table.cc; the others are known to be compatible. What the table does not
// know cannot be lifted.
#ifndef LATHE_WORKER_ENGINE_PASSES_UPGRADE_OPSET_H_
#define LATHE_WORKER_ENGINE_PASSES_UPGRADE_OPSET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

inline constexpr int64_t kOldestLiftableOpset = 7;
inline constexpr int64_t kNewestLiftableOpset = 21;

// Lifts the main graph, its subgraphs and every function that uses ai.onnx to `target`, and raises
// ir_version to what that opset needs. A model at `target` or above is left as it is. Nodes that
// need no rewriting stay in place (pointers to them stay valid). FAILED_PRECONDITION naming the
// node, and the model is unchanged: an operator that cannot be lifted, an opset below 7.
// INVALID_ARGUMENT: target is not in [7, 21].
absl::Status UpgradeOpset(Model& model, int64_t target, std::vector<std::string>* notes);

// The oldest IR version that carries `opset` (by ONNX's release table).
int64_t IrVersionFor(int64_t opset);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_UPGRADE_OPSET_H_
