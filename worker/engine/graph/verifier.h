// Checks the IR's invariants.
#ifndef LATHE_WORKER_ENGINE_GRAPH_VERIFIER_H_
#define LATHE_WORKER_ENGINE_GRAPH_VERIFIER_H_

#include "absl/status/status.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// INVALID_ARGUMENT naming the node (name, op, index, enclosing subgraph) and value for: a value
// produced twice, an input nobody produces, a node that comes before its inputs or a cycle (told
// apart: a cycle lists its nodes), a missing graph output, an opset domain not imported, no opset
// at all. Weight values are the methods' business. Custom domains, unknown ops and unknown types
// are fine.
absl::Status VerifyModel(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_VERIFIER_H_
