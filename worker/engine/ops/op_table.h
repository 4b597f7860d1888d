// The operators whose shapes the engine can tell, and how many multiply-accumulates they do.
#ifndef LATHE_WORKER_ENGINE_OPS_OP_TABLE_H_
#define LATHE_WORKER_ENGINE_OPS_OP_TABLE_H_

#include <cstdint>
#include <string>

#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

// The arithmetic of multiply-accumulates.
enum class MacType { kFloat32, kFloat16, kInt8 };

struct MacCount {
  int64_t count = 0;
  MacType type = MacType::kFloat32;
};

struct OpRule {
  const char* domain;
  const char* op;
  // Sets type and shape of every output. False when they cannot be told from what is known, or when
  // the inputs do not fit together.
  bool (*infer)(OpContext& ctx);
  // Multiply-accumulates, once `infer` has answered; nullopt when an input's shape is missing.
  // nullptr: the operator does none.
  std::optional<MacCount> (*macs)(const OpContext& ctx);
};

// nullptr when the table does not have it.
const OpRule* FindOpRule(const std::string& domain, const std::string& op);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_OP_TABLE_H_
