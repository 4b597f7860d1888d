// The equation of an Einsum, held against its inputs.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_EINSUM_EQUATION_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_EINSUM_EQUATION_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

using EinsumLabels =
    std::vector<int>;  // letters; what `...` stands for, -1 (the last axis), -2, ...

struct EinsumEquation {
  std::vector<EinsumLabels> terms;
  EinsumLabels output;
  std::map<int, int64_t> extent;
};

// INVALID_ARGUMENT when the equation is malformed or does not fit the inputs.
absl::StatusOr<EinsumEquation> ReadEinsumEquation(const RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_EINSUM_EQUATION_H_
