// In which form, with how many bits and with which sets a weight is stored.
#ifndef LATHE_WORKER_ENGINE_METHODS_WEIGHT_STORAGE_H_
#define LATHE_WORKER_ENGINE_METHODS_WEIGHT_STORAGE_H_

#include <cstdint>
#include <string>

#include "common/recipe/recipe.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/methods/quantized_tensor.h"
#include "worker/engine/methods/rounding_problem.h"

namespace lathe::engine {

enum class RoundingAlgorithm { kNearest, kGptq, kAwq, kHqq, kAdaRound };

// A step of quantize_weights, read once.
struct QuantizeSettings {
  explicit QuantizeSettings(const Step& step);

  int bits = 8;
  bool symmetric = true;
  Granularity wish = Granularity::kChannel;
  int64_t group_size = 32;
  Clip clip = Clip::kWeights;
  RoundingAlgorithm algorithm = RoundingAlgorithm::kNearest;
  bool act_order = false;
  bool matmul_nbits = false;         // where a layer allows it
  double average_bits = 0;           // 0: `bits` for all
  bool decode_small_tables = false;  // StepContext::decode_small_tables
};

// "gptq", ...
std::string AlgorithmName(RoundingAlgorithm algorithm);

enum class WeightForm { kFolded, kLookup, kBlockLookup, kMatMulNBits };

struct WeightStorage {
  int bits = 8;
  bool nibbles = false;  // 4 bits a weight, otherwise 8
  WeightForm form = WeightForm::kFolded;
  bool refined = false;  // blocks within a channel that the recipe did not ask for
  int64_t block = 0;     // of a group
  QuantizedLayout layout;
  // Scales may be float16 values.
  bool half_scales() const {
    return layout.granularity == Granularity::kGroup && form != WeightForm::kMatMulNBits;
  }
  int64_t bytes(const Weight& weight, bool symmetric) const;
};

// `bits` in place of settings.bits. `allows_nbits`: the weight's operators can become MatMulNBits
// (passes/emit_matmul_nbits.h).
WeightStorage PlanStorage(const Model& model, const Weight& weight,
                          const QuantizeSettings& settings, int bits, bool allows_nbits);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_WEIGHT_STORAGE_H_
