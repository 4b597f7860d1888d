// Calls of model-local functions.
#ifndef LATHE_WORKER_ENGINE_GRAPH_FUNCTION_CALLS_H_
#define LATHE_WORKER_ENGINE_GRAPH_FUNCTION_CALLS_H_

#include <string>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// The function that `node` calls; nullptr when it is an operator.
const Function* FindCallee(const Model& model, const Node& node);

// Why calls of `function` cannot be replaced by its body: it imports another version of a domain
// that it uses and the model has, or it calls itself. "" when nothing stands against it.
std::string InlineObstacle(const Model& model, const Function& function);

// "domain::name".
std::string FunctionName(const Function& function);

// The last occurrence of length-delimited field `number` in a serialized message; "" when absent or
// not parseable.
std::string SerializedField(const std::string& message, int number);

// The name of the function attribute that `attribute` stands for (AttributeProto.ref_attr_name); ""
// when it is an ordinary one.
std::string ReferredAttribute(const Attribute& attribute);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_FUNCTION_CALLS_H_
