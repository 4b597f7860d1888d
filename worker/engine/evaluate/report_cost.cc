#include "worker/engine/evaluate/report_cost.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "worker/engine/evaluate/energy.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

json Intensity(const OperatorCost& cost) {
  return cost.moved.total() > 0 ? json(ArithmeticIntensity(cost)) : json(nullptr);
}

}  // namespace

void AddCost(const Inference& inference, json* figures) {
  json& out = *figures;
  const MacCounts& macs = inference.total.macs;
  const BytesMoved& moved = inference.total.moved;
  json macs_by_op = json::object();
  json moved_by_op = json::object();
  for (const auto& [op, cost] : inference.by_op) {
    if (cost.macs.total() > 0) macs_by_op[op] = cost.macs.total();
    if (cost.moved.total() > 0) moved_by_op[op] = cost.moved.total();
  }
  json energy_by_op = json::object();
  Energy energy;
  for (const auto& [op, of_op] : EnergyByOp(inference)) {
    energy.Add(of_op);
    energy_by_op[op] = {{"compute_pj", std::round(of_op.arithmetic_pj)},
                        {"memory_pj", std::round(of_op.memory_pj())}};
  }
  out["macs"] = macs.total();
  out["macs_by_type"] = {{"float32", macs.float32}, {"float16", macs.float16}, {"int8", macs.int8}};
  out["macs_by_op"] = std::move(macs_by_op);
  out["macs_incomplete"] = inference.macs_incomplete;
  out["activation_bytes"] = moved.activations();
  out["constant_bytes_read"] = inference.stored_bytes;
  out["bytes_moved"] = moved.total();
  out["bytes_moved_by_kind"] = {{"activations_read", moved.activations_read},
                                {"activations_written", moved.activations_written},
                                {"constants_read", moved.constants_read}};
  out["bytes_moved_by_op"] = std::move(moved_by_op);
  out["arithmetic_intensity"] = Intensity(inference.total);
  out["energy_pj"] = std::round(energy.total());
  out["energy"] = {{"arithmetic_pj", std::round(energy.arithmetic_pj)},
                   {"weights_pj", std::round(energy.weights_pj)},
                   {"activations_pj", std::round(energy.activations_pj)},
                   {"source", kEnergySource}};
  out["energy_by_op"] = std::move(energy_by_op);
}

void AddLayerCost(const OperatorCost& cost, const char* suffix, json* layer) {
  (*layer)[absl::StrCat("macs", suffix)] = cost.macs.total();
  (*layer)[absl::StrCat("bytes_moved", suffix)] = cost.moved.total();
  (*layer)[absl::StrCat("arithmetic_intensity", suffix)] = Intensity(cost);
}

}  // namespace lathe::engine
