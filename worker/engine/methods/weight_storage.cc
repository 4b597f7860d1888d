#include "worker/engine/methods/weight_storage.h"

#include "common/recipe/catalogue.h"
#include "worker/engine/passes/emit_quantized.h"

namespace lathe::engine {
namespace {

constexpr int64_t kOpsetWithInt4 = 21;
// Blocks within a channel.
// Elements; decoded, a table of so many is no burden.
constexpr int64_t kSmallTable = int64_t{1} << 18;
constexpr int64_t kRefineBlock = 64;
constexpr int64_t kWideInputs = 128;

bool IsWideMatrix(const Weight& weight) {
  const WeightUse& use = weight.uses[0];
  switch (use.role) {
    case WeightRole::kGemmB:
    case WeightRole::kMatMulLeft:
    case WeightRole::kMatMulRight:
    case WeightRole::kRnnInput:
    case WeightRole::kRnnRecurrent:
      return use.source_reduction_axis >= 0 &&
             weight.dims[static_cast<size_t>(use.source_reduction_axis)] >= kWideInputs;
    default:
      return false;
  }
}

}  // namespace

QuantizeSettings::QuantizeSettings(const Step& step)
    : bits(static_cast<int>(GetInt(step, "bits"))),
      symmetric(GetBool(step, "symmetric")),
      group_size(GetInt(step, "group_size")),
      act_order(GetBool(step, "act_order")),
      matmul_nbits(GetString(step, "form") == "matmul_nbits") {
  const std::string granularity = GetString(step, "granularity");
  wish = granularity == "tensor"    ? Granularity::kTensor
         : granularity == "channel" ? Granularity::kChannel
                                    : Granularity::kGroup;
  const std::string range = GetString(step, "clip");
  clip = range == "none" ? Clip::kNone : range == "mse" ? Clip::kWeights : Clip::kOutput;
  const std::string name = GetString(step, "algorithm");
  for (const RoundingAlgorithm known : {RoundingAlgorithm::kGptq, RoundingAlgorithm::kAwq,
                                        RoundingAlgorithm::kHqq, RoundingAlgorithm::kAdaRound}) {
    if (name == AlgorithmName(known)) algorithm = known;
  }
  if (IsGiven(step, "average_bits")) average_bits = GetDouble(step, "average_bits");
}

std::string AlgorithmName(RoundingAlgorithm algorithm) {
  switch (algorithm) {
    case RoundingAlgorithm::kNearest:
      return "nearest";
    case RoundingAlgorithm::kGptq:
      return "gptq";
    case RoundingAlgorithm::kAwq:
      return "awq";
    case RoundingAlgorithm::kHqq:
      return "hqq";
    case RoundingAlgorithm::kAdaRound:
      return "adaround";
  }
  return "";
}

int64_t WeightStorage::bytes(const Weight& weight, bool symmetric) const {
  return StoredBytes(weight.dims, layout, symmetric, nibbles, half_scales());
}

WeightStorage PlanStorage(const Model& model, const Weight& weight,
                          const QuantizeSettings& settings, int bits, bool allows_nbits) {
  WeightStorage out;
  out.bits = bits;
  const bool small = settings.decode_small_tables && weight.size() <= kSmallTable;
  const bool lookup = IsPureLookup(weight) && !small;
  Granularity wish = settings.wish;
  if (settings.matmul_nbits && allows_nbits && bits <= 4 && wish == Granularity::kGroup) {
    out.layout = PlanLayout(weight, wish, settings.group_size);
    if (out.layout.granularity == Granularity::kGroup) {
      out.form = WeightForm::kMatMulNBits;
      out.nibbles = true;
      out.block = settings.group_size;
      return out;
    }
  }
  out.nibbles = bits <= 4 && OpsetAt(model, *weight.source.graph) >= kOpsetWithInt4;
  // Blocks of a looked-up table exist for 4-bit symmetric 2-D tables only; others get a scale a
  // row.
  const bool block_lookup = lookup && wish == Granularity::kGroup && out.nibbles &&
                            settings.symmetric && weight.dims.size() == 2 &&
                            weight.dims[1] % settings.group_size == 0 &&
                            weight.dims[1] > settings.group_size;
  if (lookup && wish == Granularity::kGroup && !block_lookup) wish = Granularity::kChannel;
  if (lookup && !block_lookup) out.nibbles = false;  // Gather does not take 4-bit types
  if (lookup) out.form = block_lookup ? WeightForm::kBlockLookup : WeightForm::kLookup;
  // A channel of many inputs gets a (half-precision) scale for each block of them: 0.25 bits a
  // weight, and 1 to 2 dB.
  out.refined = wish == Granularity::kChannel && bits == 8 && !lookup && IsWideMatrix(weight);
  if (out.refined) wish = Granularity::kGroup;
  out.block = out.refined ? kRefineBlock : settings.group_size;
  out.layout = PlanLayout(weight, wish, out.block);
  return out;
}

}  // namespace lathe::engine
