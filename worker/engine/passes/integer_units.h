// The parts of a graph that a stock ONNX Runtime can run in integers.
//
// A unit is an operator with what its quantized form takes along: the bias that an Add puts behind
// a MatMul, and the Relu or Clip that the clamping of its result makes superfluous. Patterns are
// those of design "emit contract": each is a row of the table in integer_units.cc.
#ifndef LATHE_WORKER_ENGINE_PASSES_INTEGER_UNITS_H_
#define LATHE_WORKER_ENGINE_PASSES_INTEGER_UNITS_H_

#include <string>
#include <vector>

#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

enum class UnitKind {
  kConv,         // weights int8 along axis 0, bias int32, result always integers
  kGemm,         // likewise; the result may stay float
  kMatMul,       // weights on the right
  kRecurrent,    // an LSTM with its two weights; the state's range is that of each step
  kElementwise,  // integers in and out, each with a range of its own
  kMove,         // integers in and out, with one range: values are moved or chosen, not computed
};

struct IntegerUnit {
  std::string name;  // of the layer (Weight::name), or the node's, or "<op> <its output>"
  std::string op;
  UnitKind kind = UnitKind::kConv;
  std::string node_output;           // the node's first output: finds it again in a copy
  std::vector<std::string> inputs;   // float32 activations that it reads
  int weight = -1;                   // of linear ones: index among FindWeights(model)
  int recurrent_weight = -1;         // kRecurrent: likewise, of R
  std::string recurrent_name;        // and its name
  bool depthwise = false;            // kConv: one input channel a group
  std::string bias;                  // a constant; "" where there is none
  std::string bias_add;              // kMatMul: output of the Add that adds `bias`; "" where none
  std::string absorbed;              // output of the Relu or Clip that goes; "" where none
  double absorbed_limit = 0;         // of a Clip: its upper bound; 0: none
  std::vector<std::string> results;  // one, but for Split: the values whose integers it gives
  // Sigmoid and Softmax: the range is known, [0, 1].
  bool unit_interval = false;
  // Non-empty: why it cannot be had in integers with ranges from calibration.
  std::string not_static;
  // Non-empty: why it cannot be had in integers with ranges of each run. "" for linear ones alone.
  std::string not_dynamic = "only products take ranges of each run";

  bool Linear() const {
    return kind == UnitKind::kConv || kind == UnitKind::kGemm || kind == UnitKind::kMatMul ||
           kind == UnitKind::kRecurrent;
  }
  const std::string& result() const { return results[0]; }
};

// The units of the main graph, in its order. `weights`: FindWeights(model). Every weighted Conv,
// Gemm, MatMul and LSTM of the main graph has a unit, with not_static and not_dynamic saying why
// where it cannot be had; so have ConvTranspose, GRU and RNN, which never can.
std::vector<IntegerUnit> FindIntegerUnits(const Model& model, const std::vector<Weight>& weights);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_INTEGER_UNITS_H_
