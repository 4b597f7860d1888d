// The operators whose shapes the engine can tell, and how many multiply-accumulates they do.
#ifndef LATHE_WORKER_ENGINE_OPS_OP_TABLE_H_
#define LATHE_WORKER_ENGINE_OPS_OP_TABLE_H_

#include <cstdint>
#include <string>

#include "worker/engine/ops/cost.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/ops/traffic.h"

namespace lathe::engine {

struct OpRule {
  const char* domain;
  const char* op;
  // Sets type and shape of every output. False when they cannot be told from what is known, or when
  // the inputs do not fit together.
  bool (*infer)(OpContext& ctx);
  // Multiply-accumulates, once `infer` has answered; nullopt when an input's shape is missing.
  // nullptr: the operator does none.
  std::optional<MacCount> (*macs)(const OpContext& ctx);
  // Bytes moved.
  Traffic traffic = {};
};

// nullptr when the table does not have it.
const OpRule* FindOpRule(const std::string& domain, const std::string& op);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_OP_TABLE_H_
