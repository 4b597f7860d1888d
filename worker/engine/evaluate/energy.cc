// E = sum over arithmetics of MACs (e_mul + e_add) + constant bytes e_dram + activation bytes
// e_cache.
//
// Picojoules at 45 nm (M. Horowitz, "Computing's energy problem (and what we can do about it)",
// ISSCC 2014): multiplications float32 3.7, float16 1.1, int8 0.2; additions float32 0.9, float16
// 0.4, int32 0.1 (8-bit products are summed in 32 bits); 64 bits from a cache of 1 MB 100, from
// DRAM 1300 to 2600, of which we take the middle.
//
// What it leaves out: instruction overhead, elementwise operators' arithmetic, what a runtime keeps
// unpacked in memory. It ranks models; it does not predict a device.
#include "worker/engine/evaluate/energy.h"

namespace lathe::engine {
namespace {

constexpr double kFloat32Mac = 3.7 + 0.9;
constexpr double kFloat16Mac = 1.1 + 0.4;
constexpr double kInt8Mac = 0.2 + 0.1;
constexpr double kCacheByte = 100.0 / 8;
constexpr double kDramByte = (1300.0 + 2600.0) / 2 / 8;

}  // namespace

void Energy::Add(const Energy& other) {
  arithmetic_pj += other.arithmetic_pj;
  weights_pj += other.weights_pj;
  activations_pj += other.activations_pj;
}

std::map<std::string, Energy> EnergyByOp(const Inference& inference) {
  std::map<std::string, Energy> by_op;
  for (const auto& [op, cost] : inference.by_op) {
    Energy energy;
    energy.arithmetic_pj = static_cast<double>(cost.macs.float32) * kFloat32Mac +
                           static_cast<double>(cost.macs.float16) * kFloat16Mac +
                           static_cast<double>(cost.macs.int8) * kInt8Mac;
    energy.activations_pj = static_cast<double>(cost.moved.activations()) * kCacheByte;
    if (energy.total() > 0) by_op[op] = energy;
  }
  for (const auto& [op, bytes] : inference.stored_bytes_by_op) {
    by_op[op].weights_pj = static_cast<double>(bytes) * kDramByte;
  }
  return by_op;
}

Energy EstimateEnergy(const Inference& inference) {
  Energy total;
  for (const auto& [op, energy] : EnergyByOp(inference)) total.Add(energy);
  return total;
}

}  // namespace lathe::engine
