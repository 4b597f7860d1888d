// What is to run in integers, and with which ranges: what passes/emit_integers.h carries out.
#ifndef LATHE_WORKER_ENGINE_PASSES_INTEGER_PLAN_H_
#define LATHE_WORKER_ENGINE_PASSES_INTEGER_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "worker/engine/passes/integer_units.h"
#include "worker/engine/passes/integer_weight.h"
#include "worker/engine/tensor/dtype.h"

namespace lathe::engine {

// q = clamp(round(x / scale) + zero_point).
struct IntegerRange {
  float scale = 1;  // > 0
  int32_t zero_point = 0;
  DType dtype = DType::kUint8;  // uint8, int8, uint16, int16
};

// What of a value's range an integer type of `bits` covers: `low` <= 0 <= `high`.
IntegerRange MakeIntegerRange(double low, double high, int bits, bool symmetric,
                              bool powers_of_two);

enum class UnitForm { kFloat, kStatic, kDynamic };

struct IntegerPlan {
  std::vector<UnitForm> forms;  // one a unit
  // Of every input and result of a static unit.
  std::map<std::string, IntegerRange> ranges;
  IntegerWeightRule weights;
  // By unit: what is added to its bias, a number an output channel.
  std::map<size_t, std::vector<float>> corrections;
};

// Whether a linear static unit's result is written as integers: those of a Conv always, others'
// where an integer unit reads them.
bool WritesIntegers(const std::vector<IntegerUnit>& units, const std::vector<UnitForm>& forms,
                    size_t unit);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_INTEGER_PLAN_H_
