// Compares a model with what was read back from its file.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_WRITTEN_MODEL_H_
#define LATHE_WORKER_ENGINE_EVALUATE_WRITTEN_MODEL_H_

#include <string>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// The first difference in graphs, nodes, names, attributes or constants' bytes, or "". Compares
// what the IR models; serialized leftovers are the writer's own.
std::string FirstDifference(const Model& model, const Model& written);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_WRITTEN_MODEL_H_
