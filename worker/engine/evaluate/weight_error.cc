#include "worker/engine/evaluate/weight_error.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "worker/engine/evaluate/constant_evaluator.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

// Graphs in the order of ForEachGraph, which edits do not change.
std::vector<const Graph*> Graphs(const Model& model) {
  std::vector<const Graph*> graphs;
  ForEachGraph(model, [&](const Graph& graph) { graphs.push_back(&graph); });
  return graphs;
}

const Node* ProducerOf(const Graph& graph, const std::string& value) {
  for (const auto& node : graph.nodes) {
    for (const std::string& output : node->outputs) {
      if (output == value) return node.get();
    }
  }
  return nullptr;
}

struct Matrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;
};

std::optional<Matrix> ToMatrix(const Node& node, std::optional<FloatArray> array) {
  if (!array || array->dims.size() < 2) return std::nullopt;
  for (size_t i = 2; i < array->dims.size(); ++i) {
    if (array->dims[i] != 1) return std::nullopt;  // 1x1 kernels only
  }
  Matrix m{array->dims[0], array->dims[1], std::move(array->values)};
  if (node.op_type == "Gemm" && node.IntAttribute("transB", 0) != 0) {
    Matrix t{m.columns, m.rows, std::vector<float>(m.values.size())};
    for (int64_t i = 0; i < m.rows; ++i) {
      for (int64_t j = 0; j < m.columns; ++j)
        t.values[j * m.rows + i] = m.values[i * m.columns + j];
    }
    return t;
  }
  return m;
}

Matrix Product(const Matrix& a, const Matrix& b) {
  Matrix out{a.rows, b.columns, std::vector<float>(static_cast<size_t>(a.rows * b.columns))};
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.columns; ++k) {
      const float v = a.values[i * a.columns + k];
      const float* row = b.values.data() + k * b.columns;
      float* to = out.values.data() + i * out.columns;
      for (int64_t j = 0; j < b.columns; ++j) to[j] += v * row[j];
    }
  }
  return out;
}

// The constant operand of a node.
std::optional<FloatArray> ConstantOperand(const ConstantEvaluator& evaluator, const Node& node) {
  for (size_t i = 0; i < std::min<size_t>(node.inputs.size(), 2); ++i) {
    if (auto array = evaluator.Evaluate(node.inputs[i]); array && array->dims.size() >= 2)
      return array;
  }
  return std::nullopt;
}

// A layer split in two: y = second(first(x)).
std::optional<Matrix> FactoredWeight(const Graph& graph, const ConstantEvaluator& evaluator,
                                     const Node& second) {
  const Node* first = nullptr;
  for (size_t i = 0; i < std::min<size_t>(second.inputs.size(), 2); ++i) {
    const Node* producer = ProducerOf(graph, second.inputs[i]);
    if (producer != nullptr && producer->name.find("/low_rank_a") != std::string::npos)
      first = producer;
  }
  if (first == nullptr) return std::nullopt;
  const std::optional<Matrix> a = ToMatrix(*first, ConstantOperand(evaluator, *first));
  const std::optional<Matrix> b = ToMatrix(second, ConstantOperand(evaluator, second));
  if (!a || !b) return std::nullopt;
  // x A B for products from the right; B (A x) for convolutions and from the left.
  if (second.op_type != "Conv" && a->columns == b->rows) return Product(*a, *b);
  if (b->columns == a->rows) return Product(*b, *a);
  return std::nullopt;
}

// A table that is looked up as integers and scaled afterwards: Mul(Cast(Gather(q, i)),
// Gather(scale, i)) and its kin.
std::optional<FloatArray> GatheredTable(const Graph& graph, const ConstantEvaluator& evaluator,
                                        const Node& node) {
  const auto side = [&](const std::string& value) { return ProducerOf(graph, value); };
  const auto table = [&](const Node* n) -> std::optional<FloatArray> {
    while (n != nullptr && n->op_type == "Cast") n = side(n->inputs[0]);
    return n != nullptr && n->op_type == "Gather" ? evaluator.Evaluate(n->inputs[0]) : std::nullopt;
  };
  if (node.op_type == "Cast" || node.op_type == "Gather") return table(&node);
  if ((node.op_type != "Mul" && node.op_type != "Sub") || node.inputs.size() != 2)
    return std::nullopt;
  const Node* left = side(node.inputs[0]);
  if (left == nullptr) return std::nullopt;
  std::optional<FloatArray> q =
      left->op_type == "Sub" ? GatheredTable(graph, evaluator, *left) : table(left);
  std::optional<FloatArray> other = table(side(node.inputs[1]));
  if (!other) other = evaluator.Evaluate(node.inputs[1]);
  if (!q || !other || q->dims.empty() || other->values.empty()) return std::nullopt;
  const size_t row = q->values.size() / static_cast<size_t>(q->dims[0]);
  for (size_t i = 0; i < q->values.size(); ++i) {
    const float o = other->values.size() == 1 ? other->values[0]
                                              : other->values[(i / row) % other->values.size()];
    q->values[i] = node.op_type == "Mul" ? q->values[i] * o : q->values[i] - o;
  }
  return q;
}

std::optional<double> RelativeError(const std::vector<float>& before,
                                    const std::vector<float>& after) {
  if (before.size() != after.size()) return std::nullopt;
  double signal = 0;
  double noise = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double d = static_cast<double>(before[i]) - after[i];
    signal += static_cast<double>(before[i]) * before[i];
    noise += d * d;
  }
  if (signal == 0) return noise == 0 ? std::optional<double>(0) : std::nullopt;
  return std::sqrt(noise / signal);
}

}  // namespace

std::map<std::string, double> WeightErrors(Model& original, const Model& written) {
  std::map<std::string, double> errors;
  const std::vector<const Graph*> before = Graphs(original);
  const std::vector<const Graph*> after = Graphs(written);
  if (before.size() != after.size()) return errors;
  std::map<const Graph*, size_t> ordinal;
  for (size_t i = 0; i < before.size(); ++i) ordinal[before[i]] = i;
  std::map<size_t, std::pair<std::optional<ConstantEvaluator>, std::optional<ConstantEvaluator>>>
      evaluators;
  for (const Weight& weight : FindWeights(original)) {
    if (weight.uses.empty() || !weight.blocked_reason.empty()) continue;
    const WeightUse& use = weight.uses[0];
    const auto where = ordinal.find(use.graph);
    std::string output;
    for (const std::string& name : use.node->outputs) {
      if (output.empty()) output = name;
    }
    if (where == ordinal.end() || output.empty()) continue;
    auto& [from, to] = evaluators[where->second];
    if (!from) from.emplace(*before[where->second]);
    if (!to) to.emplace(*after[where->second]);
    const Graph& graph = *after[where->second];
    const Node* node = ProducerOf(graph, output);
    const std::optional<FloatArray> reference =
        from->Evaluate(use.node->inputs[static_cast<size_t>(use.input)]);
    if (node == nullptr || !reference) continue;
    std::vector<float> now;
    if (node->name.find("/low_rank_b") != std::string::npos) {
      std::optional<Matrix> product = FactoredWeight(graph, *to, *node);
      if (!product) continue;
      if (use.node->op_type == "Gemm" && use.node->IntAttribute("transB", 0) != 0) {
        // [K, N] as the operator multiplies; the source is [N, K].
        Matrix t{product->columns, product->rows, std::vector<float>(product->values.size())};
        for (int64_t i = 0; i < product->rows; ++i) {
          for (int64_t j = 0; j < product->columns; ++j)
            t.values[j * product->rows + i] = product->values[i * product->columns + j];
        }
        product = std::move(t);
      }
      now = std::move(product->values);
    } else if (use.role == WeightRole::kEmbedding) {
      std::optional<FloatArray> table = GatheredTable(graph, *to, *node);
      if (!table) continue;
      now = std::move(table->values);
    } else if (static_cast<size_t>(use.input) < node->inputs.size()) {
      std::optional<FloatArray> array = to->Evaluate(node->inputs[static_cast<size_t>(use.input)]);
      if (!array) continue;
      now = std::move(array->values);
    }
    if (const auto error = RelativeError(reference->values, now)) errors[weight.name] = *error;
  }
  return errors;
}

}  // namespace lathe::engine
