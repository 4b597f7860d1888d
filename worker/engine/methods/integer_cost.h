// What a stock ONNX Runtime takes for a model some of whose units run in integers: an estimate, so
// that nothing is made slower by being quantized.
//
// Time = sum over operators of multiply-accumulates and elements at measured rates, plus a pass
// over every value that changes between float and integers, plus a constant a node. The rates are
// ONNX Runtime 1.32's on one thread of an AVX2 processor without VNNI, the slowest that integers
// are made for here (bench/integer_rates.py prints them); only their ratios matter.
#ifndef LATHE_WORKER_ENGINE_METHODS_INTEGER_COST_H_
#define LATHE_WORKER_ENGINE_METHODS_INTEGER_COST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "worker/engine/calibrate/collect.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/passes/emit_integers.h"
#include "worker/engine/passes/integer_units.h"

namespace lathe::engine {

// Whether an LSTM gains by integers, by the multiply-accumulates of a step of one sequence: what
// rounding the state costs is made up for from some ten thousand on.
bool LstmGains(double macs_a_step);
double LstmMacsAStep(const Weight& w, const Weight& r);

class IntegerCost {
 public:
  // Sizes are those of one example, as `seen` when the model ran. All must outlive it.
  IntegerCost(const Model& model, const std::vector<IntegerUnit>& units,
              const std::vector<Weight>& weights, const Collected& seen);

  // Nanoseconds of an example.
  double Nanoseconds(const std::vector<UnitForm>& forms) const;
  // Multiply-accumulates of a unit for an example; 0 for those without weights.
  double Macs(size_t unit) const { return macs_[unit]; }
  // Elements of a value for an example; 0 where it was not seen.
  double Elements(const std::string& value) const;
  // Units that read a value; -1 for every other reader, the graph's outputs included.
  const std::vector<int>& Readers(const std::string& value) const;

 private:
  const std::vector<IntegerUnit>& units_;
  const Collected& seen_;
  std::vector<double> macs_;
  std::vector<double> steps_;  // of LSTMs, all directions together
  std::map<std::string, std::vector<int>> readers_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INTEGER_COST_H_
