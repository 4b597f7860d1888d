// What a forward pass costs: multiply-accumulates and an estimate of energy.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_COST_H_
#define LATHE_WORKER_ENGINE_EVALUATE_COST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Multiply-accumulates of one forward pass of the stated input sizes, by arithmetic, and energy
// after M. Horowitz, "Computing's energy problem", ISSCC 2014 (45 nm): one multiplication and one
// addition a MAC, plus every constant read once from DRAM.
struct Cost {
  int64_t macs = 0;
  int64_t macs_float32 = 0;
  int64_t macs_int8 = 0;
  double energy_pj = 0;
  // Nodes whose MACs are not known (their shapes depend on data, or the operator is unknown), by
  // name.
  std::vector<std::string> incomplete;
  // Sizes used for symbolic dimensions: those given, and 1 for the others.
  std::map<std::string, int64_t> bindings;
};

// Source of the energy table, for reports.
inline constexpr char kEnergySource[] =
    "estimate after Horowitz, ISSCC 2014, 45 nm: MACs (fp32 4.6 pJ, int8 0.23 pJ) and one read of "
    "every constant from DRAM "
    "(1300 pJ per 8 bytes)";

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_COST_H_
