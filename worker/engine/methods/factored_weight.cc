#include "worker/engine/methods/factored_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/linalg/products.h"

namespace lathe::engine {
namespace {

// Why one use stands against factoring; "" when it does not.
std::string Obstacle(const WeightUse& use) {
  const size_t rank = use.dims.size();
  switch (use.role) {
    case WeightRole::kGemmB:
      return "";
    case WeightRole::kMatMulRight:
    case WeightRole::kMatMulLeft:
      if (rank == 1) return "it is a vector";
      if (rank > 2) return "it is a batch of matrices, which low_rank does not factor";
      return "";
    case WeightRole::kConv: {
      if (use.groups != 1) return "it is a grouped convolution";
      const bool pointwise =
          std::all_of(use.dims.begin() + 2, use.dims.end(), [](int64_t k) { return k == 1; });
      if (pointwise) return "";
      return absl::StrCat("its kernel is ",
                          absl::StrJoin(use.dims.begin() + 2, use.dims.end(), "x"),
                          "; only convolutions with a kernel of one element are factored");
    }
    case WeightRole::kConvTranspose:
      return "ConvTranspose is not factored";
    case WeightRole::kEmbedding:
      return "an embedding table is not factored";
    case WeightRole::kRnnInput:
    case WeightRole::kRnnRecurrent:
      return "recurrent weights are not factored";
  }
  return "it is not a matrix";
}

std::string EncodeAs(DType dtype, const std::vector<float>& values) {
  std::string bytes;
  const auto append = [&bytes](auto element) {
    bytes.append(reinterpret_cast<const char*>(&element), sizeof(element));
  };
  bytes.reserve(
      static_cast<size_t>(DTypeBytes(dtype, static_cast<int64_t>(values.size())).value_or(0)));
  for (const float value : values) {
    switch (dtype) {
      case DType::kDouble:
        append(static_cast<double>(value));
        break;
      case DType::kFloat16:
        append(FloatToHalf(value));
        break;
      case DType::kBfloat16:
        append(FloatToBfloat16(value));
        break;
      default:
        append(value);
    }
  }
  return bytes;
}

// Hands out the two factors in the forms that uses need.
class FactorPair {
 public:
  FactorPair(Model& model, NameScope& names, const Weight& weight, bool transposed,
             int64_t tensor_rank, std::vector<float> left, std::vector<float> right, int64_t m,
             int64_t n, int64_t rank)
      : model_(model),
        names_(names),
        weight_(weight),
        tensor_rank_(tensor_rank),
        transposed_(transposed) {
    if (transposed) {
      // S^T = right^T left^T.
      std::vector<float> swapped = Transposed(rank, n, right.data());
      right = Transposed(m, rank, left.data());
      left = std::move(swapped);
      std::swap(m, n);
    }
    left_ = MakeFactor("_low_rank_left", {m, rank}, std::move(left));
    right_ = MakeFactor("_low_rank_right", {rank, n}, std::move(right));
  }

  // The left factor of the matrix as a use sees it, in type `seen`.
  std::string Left(bool transposed, DType seen) {
    return transposed == transposed_ ? Form(left_.name, false, seen)
                                     : Form(right_.name, true, seen);
  }
  std::string Right(bool transposed, DType seen) {
    return transposed == transposed_ ? Form(right_.name, false, seen)
                                     : Form(left_.name, true, seen);
  }

  // Puts constants and what derives from them into the graph that owned the source.
  void Place(Graph& owner) {
    PrependNodes(owner, std::move(derived_));
    // In a function body constants are nodes: they go before what reads them.
    AddConstant(model_, owner, std::move(left_));
    AddConstant(model_, owner, std::move(right_));
  }

 private:
  Tensor MakeFactor(const char* suffix, Shape dims, std::vector<float> values) {
    dims.resize(static_cast<size_t>(tensor_rank_), 1);
    return Tensor::Make(names_.Fresh(absl::StrCat(weight_.source.value, suffix)), weight_.dtype,
                        std::move(dims), EncodeAs(weight_.dtype, values))
        .value();
  }

  std::string Form(const std::string& stored, bool transpose, DType seen) {
    std::string value = stored;
    if (transpose) {
      std::vector<int64_t> permutation(static_cast<size_t>(tensor_rank_));
      std::iota(permutation.begin(), permutation.end(), int64_t{0});
      std::swap(permutation[0], permutation[1]);
      value = Derive("Transpose", value, "_transposed", DType::kUndefined,
                     [&](Node& node) { node.SetInts("perm", permutation); });
    }
    if (seen != weight_.dtype) {
      value = Derive("Cast", value, "_cast", seen,
                     [&](Node& node) { node.SetInt("to", static_cast<int64_t>(seen)); });
    }
    return value;
  }

  template <typename Fn>
  std::string Derive(const char* op, const std::string& from, const char* suffix, DType type,
                     Fn&& fill) {
    std::string& value = made_[{from, type}];
    if (!value.empty()) return value;
    value = names_.Fresh(absl::StrCat(from, suffix));
    auto node = std::make_unique<Node>();
    node->op_type = op;
    node->name = names_.Fresh(absl::StrCat(value, "/", op));
    node->inputs = {from};
    node->outputs = {value};
    node->provenance = {weight_.name, "low_rank"};
    fill(*node);
    derived_.push_back(std::move(node));
    return value;
  }

  Model& model_;
  NameScope& names_;
  const Weight& weight_;
  const int64_t tensor_rank_;
  const bool transposed_;  // how the factors are stored
  Tensor left_;
  Tensor right_;
  std::map<std::pair<std::string, DType>, std::string> made_;
  std::vector<std::unique_ptr<Node>> derived_;
};

// The part of a rewritten operator that runs first.
std::unique_ptr<Node> FirstNode(const Node& node, const Weight& weight, const char* op,
                                const std::string& name, std::vector<std::string> inputs,
                                const std::string& output) {
  auto first = std::make_unique<Node>();
  first->op_type = op;
  first->domain = node.domain;
  first->name = name;
  first->inputs = std::move(inputs);
  first->outputs = {output};
  first->provenance = {weight.name, "low_rank"};
  return first;
}

void RewriteUse(const Weight& weight, const WeightUse& use, bool transposed, DType seen,
                NameScope& names, FactorPair& factors) {
  Node& node = *use.node;
  const std::string base = node.name.empty() ? weight.name : node.name;
  const std::string hidden = names.Fresh(absl::StrCat(base, "/low_rank_hidden"));
  const std::string first_name = names.Fresh(absl::StrCat(base, "/low_rank_a"));
  const std::string left = factors.Left(transposed, seen);
  const std::string right = factors.Right(transposed, seen);
  std::vector<std::unique_ptr<Node>> before;
  switch (use.role) {
    case WeightRole::kGemmB: {
      std::string a = node.inputs[0];
      if (node.IntAttribute("transA", 0) != 0) {
        const std::string turned = names.Fresh(absl::StrCat(base, "/low_rank_input"));
        before.push_back(FirstNode(node, weight, "Transpose",
                                   names.Fresh(absl::StrCat(base, "/low_rank_t")), {a}, turned));
        before.back()->SetInts("perm", {1, 0});
        a = turned;
      }
      before.push_back(FirstNode(node, weight, "MatMul", first_name, {a, left}, hidden));
      node.RemoveAttribute("transA");
      node.RemoveAttribute("transB");
      node.inputs[0] = hidden;
      node.inputs[1] = right;
      break;
    }
    case WeightRole::kMatMulLeft:
      before.push_back(
          FirstNode(node, weight, "MatMul", first_name, {right, node.inputs[1]}, hidden));
      node.inputs[0] = left;
      node.inputs[1] = hidden;
      break;
    case WeightRole::kConv: {
      auto first = FirstNode(node, weight, "Conv", first_name, {node.inputs[0], right}, hidden);
      if (const Attribute* pad = node.FindAttribute("auto_pad")) {
        first->SetString("auto_pad", pad->s);
      }
      for (const char* name : {"dilations", "kernel_shape", "pads", "strides"}) {
        if (const Attribute* attribute = node.FindAttribute(name)) {
          first->SetInts(name, attribute->ints);
        }
      }
      for (const char* name : {"auto_pad", "dilations", "pads", "strides"}) {
        node.RemoveAttribute(name);
      }
      before.push_back(std::move(first));
      node.inputs[0] = hidden;
      node.inputs[1] = left;
      break;
    }
    default:  // x W
      before.push_back(
          FirstNode(node, weight, "MatMul", first_name, {node.inputs[0], left}, hidden));
      node.inputs[0] = hidden;
      node.inputs[1] = right;
  }
  node.name = names.Fresh(absl::StrCat(base, "/low_rank_b"));
  node.provenance = {weight.name, "low_rank"};
  InsertBefore(*use.graph, &node, std::move(before));
}

}  // namespace

std::string ViewAsMatrix(const Weight& weight, WeightMatrix& view) {
  for (const WeightUse& use : weight.uses) {
    const std::string obstacle = Obstacle(use);
    if (obstacle.empty()) continue;
    if (&use == &weight.uses.front()) return obstacle;
    return absl::StrCat("it is shared with ", DescribeNode(*use.node), ", where ", obstacle);
  }
  // Which two axes of the source count: for a convolution all others have one element.
  const WeightUse& use = weight.uses.front();
  const auto source_axis = [&use](int axis) {
    return use.permutation.empty() ? axis : static_cast<int>(use.permutation[axis]);
  };
  const int first = std::min(source_axis(0), source_axis(1));
  const int second = std::max(source_axis(0), source_axis(1));
  view.m = weight.dims[first];
  view.n = weight.dims[second];
  view.transposed.clear();
  for (const WeightUse& other : weight.uses) {
    bool transposed = false;
    if (!other.permutation.empty()) {
      if (std::min(other.permutation[0], other.permutation[1]) != first ||
          std::max(other.permutation[0], other.permutation[1]) != second) {
        return "its uses transpose it in ways that do not agree";
      }
      transposed = other.permutation[0] > other.permutation[1];
    } else if (first != 0 || second != 1) {
      return "its uses transpose it in ways that do not agree";
    }
    const bool trans_b =
        other.role == WeightRole::kGemmB && other.node->IntAttribute("transB", 0) != 0;
    view.transposed.push_back(transposed != trans_b);
  }
  return "";
}

std::vector<DType> TypesSeen(const Model& model, const Weight& weight) {
  const ScopeIndex index(model);
  std::vector<DType> types;
  for (const WeightUse& use : weight.uses) {
    DType seen = weight.dtype;
    const Definition* value = index.Resolve(use.graph, use.node->inputs[use.input]);
    for (size_t steps = 0; value != nullptr && value->kind == Definition::Kind::kNode &&
                           IsChainLink(*value->node) && steps <= index.nodes().size();
         ++steps) {
      if (value->node->Is("Cast")) {
        seen = static_cast<DType>(value->node->IntAttribute("to", 0));
        break;
      }
      value = index.Resolve(value->graph, value->node->inputs[0]);
    }
    types.push_back(seen);
  }
  return types;
}

void ReplaceByFactors(Model& model, NameScope& names, const Weight& weight,
                      const WeightMatrix& view, const std::vector<DType>& types, int64_t rank,
                      std::vector<float> left, std::vector<float> right) {
  FactorPair factors(model, names, weight, view.transposed.front(),
                     static_cast<int64_t>(weight.dims.size()), std::move(left), std::move(right),
                     view.m, view.n, rank);
  for (size_t i = 0; i < weight.uses.size(); ++i) {
    RewriteUse(weight, weight.uses[i], view.transposed[i], types[i], names, factors);
  }
  Graph& owner = *weight.source.graph;
  factors.Place(owner);
  if (CountReaders(owner, weight.source.value) == 0) RemoveSource(weight);
}

absl::StatusOr<std::vector<float>> RoundedTo(DType dtype, std::vector<float> values) {
  for (float& value : values) {
    if (dtype == DType::kFloat16) value = HalfToFloat(FloatToHalf(value));
    if (dtype == DType::kBfloat16) value = Bfloat16ToFloat(FloatToBfloat16(value));
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a factor's value overflows ", DTypeName(dtype)));
    }
  }
  return values;
}

}  // namespace lathe::engine
