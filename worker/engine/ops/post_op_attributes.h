// How a fused node says what is done to its result.
#ifndef LATHE_WORKER_ENGINE_OPS_POST_OP_ATTRIBUTES_H_
#define LATHE_WORKER_ENGINE_OPS_POST_OP_ATTRIBUTES_H_

#include <optional>

#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/post_op.h"

namespace lathe::engine {

// The post-op that the attributes `activation`, `activation_alpha` and `activation_beta`, or
// com.microsoft's `activation_params`, name; kNone without them; nullopt for an activation that is
// not known.
std::optional<PostOp> ReadPostOp(const Node& node);
// Sets those attributes.
void WritePostOp(const PostOp& op, Node& node);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_POST_OP_ATTRIBUTES_H_
