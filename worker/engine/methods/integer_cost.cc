#include "worker/engine/methods/integer_cost.h"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace lathe::engine {
namespace {

// Nanoseconds a multiply-accumulate.
struct ProductRate {
  double real = 0;
  double integer = 0;
};
constexpr ProductRate kDense = {1.0 / 46, 1.0 / 84};
constexpr ProductRate kDepthwise = {1.0 / 21, 1.0 / 11};
// At a batch of one the float product waits for memory, and gains more than this.
constexpr ProductRate kRecurrent = {1.0 / 30, 1.0 / 45};
constexpr double kLstmStep = 300;  // rounding the state, a step

// Nanoseconds an element of the result (a pool's: of its input).
struct ElementRate {
  const char* op;
  double real;
  double integer;
};
constexpr ElementRate kElementRates[] = {
    {"Add", 0.20, 0.15},
    {"Mul", 0.17, 0.30},
    {"Concat", 0.20, 0.10},
    {"AveragePool", 0.8, 20.0},
    {"GlobalAveragePool", 0.1, 0.1},
    {"Sigmoid", 0.35, 0.33},
    {"Softmax", 0.70, 3.70},
    {"LeakyRelu", 0.18, 0.33},
    {"MaxPool", 0.31, 0.35},
};
constexpr ElementRate kMoveRate = {"", 0.2, 0.1};
constexpr double kQuantize = 0.25;
constexpr double kDequantize = 0.25;
constexpr double kDynamicRange = 0.3;  // the pass that looks for the extremes
constexpr double kNode = 1500;

const ElementRate& RateOf(const IntegerUnit& unit) {
  for (const ElementRate& rate : kElementRates) {
    if (unit.op == rate.op) return rate;
  }
  return kMoveRate;
}

}  // namespace

// Axes of W are [directions, 4 H, I], of R [directions, 4 H, H].
double LstmMacsAStep(const Weight& w, const Weight& r) {
  const Shape& input = w.uses[0].dims;
  return static_cast<double>(input[1]) * static_cast<double>(input[2] + r.uses[0].dims[2]);
}

bool LstmGains(double macs_a_step) {
  return macs_a_step * (kRecurrent.real - kRecurrent.integer) > kLstmStep;
}

IntegerCost::IntegerCost(const Model& model, const std::vector<IntegerUnit>& units,
                         const std::vector<Weight>& weights, const Collected& seen)
    : units_(units), seen_(seen) {
  // A unit may span several nodes: what they read of each other is no reading from outside.
  std::unordered_map<std::string, int> unit_of_node;
  for (size_t u = 0; u < units.size(); ++u) {
    unit_of_node[units[u].node_output] = static_cast<int>(u);
    if (!units[u].bias_add.empty()) unit_of_node[units[u].bias_add] = static_cast<int>(u);
    if (!units[u].absorbed.empty()) unit_of_node[units[u].absorbed] = static_cast<int>(u);
  }
  for (const auto& node : model.graph->nodes) {
    const auto found =
        node->outputs.empty() ? unit_of_node.end() : unit_of_node.find(node->outputs[0]);
    const int reader = found == unit_of_node.end() ? -1 : found->second;
    for (const std::string& input : node->inputs) {
      if (!input.empty()) readers_[input].push_back(reader);
    }
  }
  for (const ValueInfo& output : model.graph->outputs) readers_[output.name].push_back(-1);
  for (const IntegerUnit& unit : units) {
    double macs = 0;
    double steps = 0;
    if (unit.kind == UnitKind::kRecurrent && unit.recurrent_weight >= 0) {
      const Weight& w = weights[static_cast<size_t>(unit.weight)];
      const Weight& r = weights[static_cast<size_t>(unit.recurrent_weight)];
      const Shape& dims = w.uses[0].dims;
      steps = Elements(unit.inputs[0]) / static_cast<double>(std::max<int64_t>(1, dims[2])) *
              static_cast<double>(dims[0]);
      macs = steps * LstmMacsAStep(w, r);
    } else if (unit.Linear()) {
      const Weight& weight = weights[static_cast<size_t>(unit.weight)];
      double reduced = 1;
      const WeightUse& use = weight.uses[0];
      const bool scatters = use.role == WeightRole::kConvTranspose;  // [I, O / groups, k...]
      for (size_t axis = 0; axis < use.dims.size(); ++axis) {
        if (static_cast<int>(axis) != (scatters ? 0 : use.output_axis)) {
          reduced *= static_cast<double>(use.dims[axis]);
        }
      }
      macs = reduced * Elements(scatters ? unit.inputs[0] : unit.result());
    }
    macs_.push_back(macs);
    steps_.push_back(steps);
  }
}

double IntegerCost::Elements(const std::string& value) const {
  const auto found = seen_.values.find(value);
  return found == seen_.values.end() ? 0 : static_cast<double>(found->second.elements_an_example);
}

const std::vector<int>& IntegerCost::Readers(const std::string& value) const {
  static const auto* const none = new std::vector<int>;
  const auto found = readers_.find(value);
  return found == readers_.end() ? *none : found->second;
}

double IntegerCost::Nanoseconds(const std::vector<UnitForm>& forms) const {
  // The runtime fuses whatever lies between integers on both sides, asked to or not.
  std::vector<bool> integer(units_.size());
  std::set<std::string> produced;  // values that come as integers
  for (size_t u = 0; u < units_.size(); ++u) {
    integer[u] = forms[u] == UnitForm::kStatic;
    if (!integer[u] && !units_[u].Linear()) {
      bool fused = true;
      for (const std::string& input : units_[u].inputs) fused = fused && produced.count(input) != 0;
      for (const std::string& result : units_[u].results) {
        const std::vector<int>& readers = Readers(result);
        fused =
            fused && !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](int r) {
              return r >= 0 && forms[static_cast<size_t>(r)] == UnitForm::kStatic;
            });
      }
      integer[u] = fused;
    }
    if (!integer[u] || (units_[u].Linear() && !WritesIntegers(units_, forms, u))) continue;
    produced.insert(units_[u].results.begin(), units_[u].results.end());
  }
  double time = 0;
  std::set<std::string> quantized;
  for (size_t u = 0; u < units_.size(); ++u) {
    const IntegerUnit& unit = units_[u];
    time += kNode;
    if (unit.Linear()) {
      const ProductRate& rate = unit.kind == UnitKind::kRecurrent ? kRecurrent
                                : unit.depthwise                  ? kDepthwise
                                                                  : kDense;
      time += macs_[u] * (forms[u] == UnitForm::kFloat ? rate.real : rate.integer);
      if (forms[u] == UnitForm::kDynamic) {
        time +=
            Elements(unit.inputs[0]) * (kQuantize + kDynamicRange) + kNode + steps_[u] * kLstmStep;
      }
    } else {
      double elements = 0;
      if (unit.op == "MaxPool" || unit.op == "AveragePool" || unit.op == "GlobalAveragePool") {
        elements = Elements(unit.inputs[0]);
      } else {
        for (const std::string& result : unit.results) elements += Elements(result);
      }
      const ElementRate& rate = RateOf(unit);
      time += elements * (integer[u] ? rate.integer : rate.real);
    }
    if (!integer[u]) continue;
    for (const std::string& input : unit.inputs) {
      if (produced.count(input) != 0 || !quantized.insert(input).second) continue;
      time += Elements(input) * kQuantize + kNode;
    }
  }
  for (const std::string& value : produced) {
    const std::vector<int>& readers = Readers(value);
    const bool read_as_float = std::any_of(readers.begin(), readers.end(), [&](int r) {
      return r < 0 || !integer[static_cast<size_t>(r)];
    });
    if (read_as_float) time += Elements(value) * kDequantize + kNode;
  }
  return time;
}

}  // namespace lathe::engine
