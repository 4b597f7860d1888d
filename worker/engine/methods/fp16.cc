// Half-precision storage: weights are kept as float16, arithmetic and interface stay float32.
//
//   w' = half(w), IEEE binary16, round to nearest even.
//
//   before:  W (float) ----------------> op          table (float) -> Gather -> y
//   after:   W_fp16 -> Cast(float) = W -> op          table_fp16 -> Gather -> Cast(float) = y
//
// Runtimes fold the Cast of a constant when they load the model: the file halves, speed stays. A
// table that only Gathers read is cast after the Gather, so that it stays half-size in memory too.
//
// A tensor stays float when
//   - a value overflows: it rounds to infinity (abs(w) >= 65520);
//   - it loses its small values: more than 5 % of its non-zero values become zero
//     (abs(w) <= 2^-25), or norm(w - w') > 1e-3 norm(w), three to four times what rounding in
//     binary16's normal range costs. Weights of dead inputs and units decay to such values in
//     ordinary training, up to 2 % of a layer in the digits example, and are not missed.
// Biases, normalization parameters and other constants stay float: they are not weights.
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {
namespace {

constexpr double kMaxFlushedShare = 0.05;
constexpr double kMaxRelativeError = 1e-3;
constexpr int64_t kPieceElements = int64_t{256} << 10;

struct Halved {
  std::string bytes;
  int64_t overflows = 0;
  int64_t nonzero = 0;
  int64_t flushed = 0;  // non-zero before, zero after
  bool finite = true;
  double squared_norm = 0;
  double squared_change = 0;
};

template <typename Storage>
Halved ToHalf(const Tensor& tensor, Parallel& parallel) {
  const int64_t elements = tensor.size();
  Halved out;
  out.bytes.resize(static_cast<size_t>(elements) * sizeof(uint16_t));
  const int64_t pieces = (elements + kPieceElements - 1) / kPieceElements;
  std::vector<Halved> parts(static_cast<size_t>(pieces));
  const char* in = tensor.data.view().data();
  parallel.Run(pieces, [&](int64_t p) {
    Halved part;
    const int64_t end = std::min(elements, (p + 1) * kPieceElements);
    for (int64_t i = p * kPieceElements; i < end; ++i) {
      Storage stored;
      std::memcpy(&stored, in + i * static_cast<int64_t>(sizeof(Storage)), sizeof(Storage));
      const double value = stored;
      const uint16_t half = FloatToHalf(static_cast<float>(stored));
      const double kept = HalfToFloat(half);
      std::memcpy(&out.bytes[static_cast<size_t>(i) * sizeof(half)], &half, sizeof(half));
      part.finite = part.finite && std::isfinite(value);
      if (std::isinf(kept)) ++part.overflows;
      if (value != 0) ++part.nonzero;
      if (value != 0 && kept == 0) ++part.flushed;
      part.squared_norm += value * value;
      part.squared_change += (value - kept) * (value - kept);
    }
    parts[static_cast<size_t>(p)] = std::move(part);
  });
  for (const Halved& part : parts) {
    out.overflows += part.overflows;
    out.nonzero += part.nonzero;
    out.flushed += part.flushed;
    out.finite = out.finite && part.finite;
    out.squared_norm += part.squared_norm;
    out.squared_change += part.squared_change;
  }
  return out;
}

std::unique_ptr<Node> MakeCast(const Weight& weight, const std::string& name,
                               const std::string& input, const std::string& output) {
  auto cast = std::make_unique<Node>();
  cast->name = name;
  cast->op_type = "Cast";
  cast->inputs = {input};
  cast->outputs = {output};
  cast->SetInt("to", static_cast<int64_t>(weight.dtype));
  cast->provenance = {weight.name, "fp16"};
  return cast;
}

class HalfStorage {
 public:
  explicit HalfStorage(StepContext& ctx) : ctx_(ctx), names_(ctx.model) {}

  absl::Status Run() {
    const std::vector<Weight> weights = FindWeights(ctx_.model);
    NoteUnmatchedTargets(ctx_, weights);
    for (size_t i = 0; i < weights.size(); ++i) {
      RETURN_IF_ERROR(StartLayer(ctx_, i, weights.size(), weights[i].name));
      LayerOutcome outcome = NewOutcome(weights[i]);
      outcome.skipped_reason = ReasonToSkip(weights[i], ctx_.step);
      if (outcome.skipped_reason.empty()) RETURN_IF_ERROR(ApplyTo(weights[i], outcome));
      ctx_.outcome.layers.push_back(std::move(outcome));
    }
    Note();
    return absl::OkStatus();
  }

 private:
  absl::Status ApplyTo(const Weight& weight, LayerOutcome& outcome) {
    const Tensor& source = SourceTensor(weight);
    if (source.dtype != DType::kFloat && source.dtype != DType::kDouble) {
      outcome.skipped_reason = absl::StrCat("already ", DTypeName(source.dtype));
      return absl::OkStatus();
    }
    Halved halved = source.dtype == DType::kFloat ? ToHalf<float>(source, ctx_.parallel)
                                                  : ToHalf<double>(source, ctx_.parallel);
    if (!halved.finite) return ReadWeight(weight).status();  // names the layer and the element
    outcome.skipped_reason = Loss(halved);
    if (!outcome.skipped_reason.empty()) return absl::OkStatus();

    SetError(outcome, halved.squared_change, halved.squared_norm);
    outcome.bits = 16;
    outcome.bytes_after = static_cast<int64_t>(halved.bytes.size());
    ++converted_;
    flushed_ += halved.flushed;
    absl::StatusOr<Tensor> half =
        Tensor::Make(names_.Fresh(absl::StrCat(weight.source.value, "_fp16")), DType::kFloat16,
                     source.dims, std::move(halved.bytes));
    if (!half.ok()) return half.status();
    // From IR 4 on callers may override an initializer that is an input too.
    if (ctx_.model.ir_version >= 4 && weight.source.kind == WeightSource::Kind::kInitializer &&
        weight.source.graph->IsInput(weight.source.value)) {
      ++former_inputs_;
    }
    outcome.scheme =
        IsTable(weight) ? CastRows(weight, *std::move(half)) : CastWhole(weight, *std::move(half));
    return absl::OkStatus();
  }

  // Why the tensor must stay float; "" when it need not.
  std::string Loss(const Halved& halved) {
    if (halved.overflows > 0) {
      ++overflowing_;
      return absl::StrCat("stays float: ", halved.overflows,
                          " of its values overflow float16 (largest 65504)");
    }
    const double nonzero = static_cast<double>(halved.nonzero);
    if (static_cast<double>(halved.flushed) > kMaxFlushedShare * nonzero) {
      ++losing_;
      return absl::StrCat("stays float: ", halved.flushed, " of its ", halved.nonzero,
                          " non-zero values are too small for float16 and would become zero");
    }
    const double error = std::sqrt(halved.squared_change / std::max(halved.squared_norm, 1e-300));
    if (error > kMaxRelativeError) {
      ++losing_;
      return absl::StrCat(
          "stays float: its values are too small for float16's precision (relative "
          "error ",
          error, ", at most ", kMaxRelativeError, ")");
    }
    return "";
  }

  // Whether Gathers alone read the constant, directly.
  static bool IsTable(const Weight& weight) {
    for (const WeightUse& use : weight.uses) {
      if (use.role != WeightRole::kEmbedding || !use.permutation.empty()) return false;
      // Another name: Identity, Cast or Transpose lie between.
      if (use.node->inputs[0] != weight.source.value) return false;
    }
    // A use that goes through a link is told by its name; one more reader would have blocked the
    // weight.
    return true;
  }

  std::string CastRows(const Weight& weight, Tensor half) {
    for (const WeightUse& use : weight.uses) {
      Node& gather = *use.node;
      const std::string rows = gather.outputs[0];
      gather.inputs[0] = half.name;
      gather.outputs[0] = names_.Fresh(absl::StrCat(rows, "_fp16"));
      std::vector<std::unique_ptr<Node>> cast;
      cast.push_back(
          MakeCast(weight, names_.Fresh(absl::StrCat(rows, "/cast")), gather.outputs[0], rows));
      InsertAfter(*use.graph, &gather, std::move(cast));
    }
    Graph& graph = *weight.source.graph;
    RemoveSource(weight);
    AddConstant(ctx_.model, graph, std::move(half));
    return "float16, Gather then Cast";
  }

  std::string CastWhole(const Weight& weight, Tensor half) {
    Graph& graph = *weight.source.graph;
    const std::string value = weight.source.value;
    RemoveSource(weight);
    std::vector<std::unique_ptr<Node>> cast;
    cast.push_back(MakeCast(weight, names_.Fresh(absl::StrCat(value, "/cast")), half.name, value));
    PrependNodes(graph, std::move(cast));
    // In a function body the constant is a node: it goes before the Cast.
    AddConstant(ctx_.model, graph, std::move(half));
    return "float16, Cast";
  }

  void Note() {
    std::vector<std::string>& notes = ctx_.outcome.notes;
    notes.push_back(absl::StrCat(converted_, converted_ == 1 ? " weight" : " weights",
                                 " stored as float16; ", overflowing_, " stay float because ",
                                 "values overflow, ", losing_, " because small values are lost"));
    if (flushed_ > 0) {
      notes.push_back(
          absl::StrCat(flushed_, " values of the converted weights, below 2^-24, ", "became zero"));
    }
    if (former_inputs_ > 0) {
      notes.push_back(absl::StrCat(former_inputs_,
                                   " converted weights were also inputs of the model, with the "
                                   "weight as default; they are constants now"));
    }
  }

  StepContext& ctx_;
  NameScope names_;
  int64_t converted_ = 0;
  int64_t overflowing_ = 0;
  int64_t losing_ = 0;
  int64_t flushed_ = 0;
  int64_t former_inputs_ = 0;
};

}  // namespace

absl::Status ApplyFp16(StepContext& ctx) { return HalfStorage(ctx).Run(); }

}  // namespace lathe::engine
