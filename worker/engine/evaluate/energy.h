// An estimate of the energy of one run of a model.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_ENERGY_H_
#define LATHE_WORKER_ENGINE_EVALUATE_ENERGY_H_

#include <cstdint>
#include <map>
#include <string>

#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// Where the table comes from, for reports.
inline constexpr char kEnergySource[] =
    "Horowitz, Computing's energy problem, ISSCC 2014, 45 nm, 0.9 V";

// Picojoules.
struct Energy {
  double arithmetic_pj = 0;   // multiply-accumulates
  double weights_pj = 0;      // constants, as stored, once from DRAM
  double activations_pj = 0;  // every operator's inputs and outputs, once through a cache of 1 MB
  double memory_pj() const { return weights_pj + activations_pj; }
  double total() const { return arithmetic_pj + memory_pj(); }
  void Add(const Energy& other);
};

// Of each operator that costs something, by its name in Inference::by_op.
std::map<std::string, Energy> EnergyByOp(const Inference& inference);

// Their sum.
Energy EstimateEnergy(const Inference& inference);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_ENERGY_H_
