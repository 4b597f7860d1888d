// Where x86 has no VNNI, a product of uint8 activations and int8 weights adds neighbouring pairs
// a_2i w_2i + a_2i+1 w_2i+1 in int16, which clips at 32767 (vpmaddubsw). With a in [0, 255] a pair
// is safe exactly if neither the sum of its positive weights passes 128 nor that of its negative
// ones falls below -128. The order of K is the kernel's: along K for products; (kh, kw, ic) within
// a group for QLinearConv, (ic, kh, kw) for ConvInteger. Pairs start at even positions, and kernels
// of depthwise convolutions do not add pairs. Seen in ONNX Runtime on AVX2: test_lint_hazards.py.
#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

constexpr int kSafePair = 128;

// A weight as `channels` rows of `length` along K: element k of channel o lies at
// base[o] + offset(k).
struct Rows {
  const Tensor* weight = nullptr;
  int64_t channels = 0;
  int64_t outer = 1;           // batches of a product's weight
  int64_t outer_stride = 0;    // from one to the next
  int64_t channel_stride = 1;  // from channel to channel
  int64_t kernel = 1;          // K runs over the kernel's positions, which lie side by side,
  int64_t inputs = 1;          // and at each over the inputs
  int64_t input_stride = 1;
};

struct Unsafe {
  int64_t channels = 0;
  int64_t first_channel = 0;
  int64_t first_k = 0;
  int first = 0;
  int second = 0;
};

bool IsUnsafe(int a, int b) {
  return (a > 0 ? a : 0) + (b > 0 ? b : 0) > kSafePair ||
         (a < 0 ? -a : 0) + (b < 0 ? -b : 0) > kSafePair;
}

Unsafe FindUnsafe(const Rows& rows) {
  const auto* const data = reinterpret_cast<const int8_t*>(rows.weight->data.view().data());
  const int64_t length = rows.kernel * rows.inputs;
  const int64_t channels = rows.channels * rows.outer;
  std::vector<bool> seen(static_cast<size_t>(channels), false);
  Unsafe out;
  const auto visit = [&](int64_t o, int64_t k, int64_t first, int64_t second) {
    if (seen[static_cast<size_t>(o)]) return;
    const int8_t* const row =
        data + o / rows.channels * rows.outer_stride + o % rows.channels * rows.channel_stride;
    if (!IsUnsafe(row[first], row[second])) return;
    seen[static_cast<size_t>(o)] = true;
    if (++out.channels > 1) return;
    out = {1, o % rows.channels, k, row[first], row[second]};
  };
  const auto offset = [&rows](int64_t k) {
    return k / rows.inputs + k % rows.inputs * rows.input_stride;
  };
  // In the order of the bytes, near enough: a column of a large matrix is not walked down.
  if (rows.channel_stride == 1) {
    for (int64_t k = 0; k + 1 < length; k += 2) {
      for (int64_t o = 0; o < channels; ++o) visit(o, k, offset(k), offset(k + 1));
    }
  } else {
    for (int64_t o = 0; o < channels; ++o) {
      for (int64_t k = 0; k + 1 < length; k += 2) visit(o, k, offset(k), offset(k + 1));
    }
  }
  return out;
}

// W [O, I/g, k...].
std::optional<Rows> KernelRows(const Tensor& weight, int64_t groups) {
  if (weight.dims.size() < 3) return std::nullopt;
  Rows rows;
  rows.weight = &weight;
  rows.channels = weight.dims[0];
  rows.inputs = weight.dims[1];
  for (size_t i = 2; i < weight.dims.size(); ++i) rows.kernel *= weight.dims[i];
  if (groups > 1 && rows.inputs == 1) return std::nullopt;  // depthwise
  rows.channel_stride = rows.inputs * rows.kernel;
  rows.input_stride = rows.kernel;
  return rows;
}

// W [..., K, N], or [N, K] when transposed.
std::optional<Rows> ProductRows(const Tensor& weight, bool transposed) {
  const size_t rank = weight.dims.size();
  if (rank < 2 || (transposed && rank != 2)) return std::nullopt;
  const int64_t last = weight.dims[rank - 1];
  const int64_t before = weight.dims[rank - 2];
  Rows rows;
  rows.weight = &weight;
  rows.channels = transposed ? before : last;
  rows.inputs = transposed ? last : before;
  rows.channel_stride = transposed ? last : 1;
  rows.input_stride = transposed ? 1 : last;
  rows.outer_stride = last * before;
  for (size_t i = 0; i + 2 < rank; ++i) rows.outer *= weight.dims[i];
  return rows;
}

struct Product {
  const Node* node = nullptr;
  std::string weight;
  DType data = DType::kUndefined;
  std::optional<Rows> rows;
};

Product QdqProduct(const LinearGroup& group) {
  Product out;
  if (!group.data || !group.weight || group.weight->integers == nullptr) return out;
  if (group.weight->block_size != 0) return out;
  // A Conv that is not fused runs in float.
  const bool conv = group.node->Is("Conv");
  if (group.node->Is("ConvTranspose") || (conv && !group.quantized_output)) return out;
  out.node = group.node;
  out.weight = InputOf(*group.weight->node, 0);
  // On x86 signed activations become unsigned at load.
  out.data = IsEightBit(group.data->dtype) ? DType::kUint8 : group.data->dtype;
  const Tensor& weight = *group.weight->integers;
  out.rows = conv ? KernelRows(weight, group.node->IntAttribute("group", 1))
                  : ProductRows(weight, group.node->IntAttribute("transB", 0) != 0);
  return out;
}

Product IntegerProduct(const LintContext& lint, const ScopeIndex::Place& place) {
  const Node& node = *place.node;
  const bool linear = node.Is("QLinearConv") || node.Is("QLinearMatMul");
  Product out;
  if (!linear && !node.Is("MatMulInteger")) return out;
  out.weight = InputOf(node, linear ? 3 : 1);
  const Tensor* weight = lint.Constant(place.graph, out.weight);
  if (weight == nullptr) return out;
  out.node = &node;
  out.data = lint.TypeOf(place.graph, InputOf(node, 0));
  out.rows = node.Is("QLinearConv") ? KernelRows(*weight, node.IntAttribute("group", 1))
                                    : ProductRows(*weight, false);
  return out;
}

void CheckProduct(const Product& product, Findings& findings) {
  if (product.node == nullptr || !product.rows || product.data != DType::kUint8) return;
  if (product.rows->weight->dtype != DType::kInt8) return;
  const Unsafe unsafe = FindUnsafe(*product.rows);
  if (unsafe.channels == 0) return;
  findings.Add(
      product.node, product.weight,
      absl::StrCat(unsafe.channels, " of ", product.rows->channels * product.rows->outer,
                   " output channels have neighbouring weights whose products with large "
                   "activations pass int16 (the first in channel ",
                   unsafe.first_channel, " at K ", unsafe.first_k, ": ", unsafe.first, ", ",
                   unsafe.second, "): without VNNI the sums clip, and the values are wrong"));
}

}  // namespace

void CheckSaturation(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) CheckProduct(QdqProduct(group), findings);
  for (const ScopeIndex::Place& place : lint.nodes()) {
    CheckProduct(IntegerProduct(lint, place), findings);
  }
}

}  // namespace lathe::engine
