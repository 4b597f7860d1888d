// Einsum: the gradient of an operand is an Einsum of G_y and the other operands. Labels that the
// operand alone has are spread over its elements, and a diagonal is written back as one.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/run_forward.h"
#include "worker/engine/ops/forward/einsum_equation.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct EinsumGradState : NodeState {
  std::vector<std::unique_ptr<NodeState>> operands;  // of the Einsum that makes each gradient
};

// A letter for each label, `...` having become letters of its own.
absl::StatusOr<std::map<int, char>> Letters(const GradContext& ctx, const EinsumEquation& e) {
  const std::string all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (e.extent.size() > all.size()) return ctx.Unsupported("an equation of more than 52 labels");
  std::map<int, char> letters;
  for (const auto& [label, extent] : e.extent) letters[label] = all[letters.size()];
  return letters;
}

std::string Spell(const std::map<int, char>& letters, const EinsumLabels& labels) {
  std::string out;
  for (const int label : labels) out += letters.at(label);
  return out;
}

// Adds `terms`, whose axes have the labels `present`, to the elements of the operand that they
// belong to.
void AddTerms(const EinsumEquation& e, const EinsumLabels& term, const Shape& dims,
              const EinsumLabels& unique, const EinsumLabels& present, const Value& terms,
              float* out) {
  const std::vector<int64_t> own = Strides(dims);
  const std::vector<int64_t> given = Strides(terms.dims);
  std::vector<int64_t> extents;
  std::vector<int64_t> to_strides;
  std::vector<int64_t> from_strides;
  for (const int label : unique) {
    extents.push_back(e.extent.at(label));
    to_strides.push_back(0);
    for (size_t i = 0; i < term.size(); ++i) {
      if (term[i] == label && dims[i] != 1) to_strides.back() += own[i];
    }
    const auto found = std::find(present.begin(), present.end(), label);
    const auto at = static_cast<size_t>(found - present.begin());
    from_strides.push_back(found == present.end() || terms.dims[at] == 1 ? 0 : given[at]);
  }
  const float* from = terms.As<float>().data();
  int64_t count = 1;
  for (const int64_t extent : extents) count *= extent;
  std::vector<int64_t> index(extents.size(), 0);
  int64_t to = 0;
  int64_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    out[to] += from[at];
    for (size_t a = extents.size(); a-- > 0;) {
      to += to_strides[a];
      at += from_strides[a];
      if (++index[a] < extents[a]) break;
      to -= to_strides[a] * extents[a];
      at -= from_strides[a] * extents[a];
      index[a] = 0;
    }
  }
}

absl::Status OperandGrad(GradContext& ctx, const EinsumEquation& e,
                         const std::map<int, char>& letters, size_t i,
                         std::unique_ptr<NodeState>* state) {
  std::set<int> elsewhere(e.output.begin(), e.output.end());
  std::string equation = Spell(letters, e.output);
  std::vector<Value> inputs = {ctx.GradValue(0)};
  for (size_t k = 0; k < e.terms.size(); ++k) {
    if (k == i) continue;
    elsewhere.insert(e.terms[k].begin(), e.terms[k].end());
    equation += "," + Spell(letters, e.terms[k]);
    inputs.push_back(ctx.In(k));
  }
  EinsumLabels unique;
  EinsumLabels present;
  for (const int label : e.terms[i]) {
    if (std::find(unique.begin(), unique.end(), label) != unique.end()) continue;
    unique.push_back(label);
    if (elsewhere.count(label) != 0) present.push_back(label);
  }
  Node node;
  node.op_type = "Einsum";
  node.outputs = {"y"};
  node.SetString("equation", equation + "->" + Spell(letters, present));
  ASSIGN_OR_RETURN(Value terms, RunForward(ctx, node, std::move(inputs), state));
  if (present.size() == e.terms[i].size() && terms.dims == ctx.Dims(i)) {
    ctx.Set(i, std::move(terms));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(i));
  AddTerms(e, e.terms[i], ctx.Dims(i), unique, present, terms, out.data());
  return absl::OkStatus();
}

absl::Status EinsumGrad(GradContext& ctx) {
  constexpr size_t kMost = 32;  // that the tape keeps
  if (ctx.input_count() > kMost) return ctx.Unsupported("more than 32 operands");
  ForwardView view(ctx);
  ASSIGN_OR_RETURN(const EinsumEquation e, ReadEinsumEquation(view.context()));
  if (std::set<int>(e.output.begin(), e.output.end()).size() != e.output.size()) {
    return ctx.Unsupported("an output with a label twice");
  }
  ASSIGN_OR_RETURN(const auto letters, Letters(ctx, e));
  auto& state = ctx.State<EinsumGradState>();
  state.operands.resize(ctx.input_count());
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.Wants(i)) continue;
    RETURN_IF_ERROR(OperandGrad(ctx, e, letters, i, &state.operands[i]));
  }
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "Einsum", EinsumGrad, kReadsAll},
};

}  // namespace

std::span<const OpBackward> EinsumBackwards() { return kTable; }

}  // namespace lathe::engine
