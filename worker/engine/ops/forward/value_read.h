// Small values read as numbers, whatever their type.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_VALUE_READ_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_VALUE_READ_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/engine/ops/value_fact.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// Element `i` of a plain tensor as a double; NaN for types without a number (strings, complex).
// Sub-byte integers and 8-bit floats included.
double ReadNumber(const Value& value, int64_t i);
// Element `i` of a tensor of integers or bool, sub-byte ones included; 0 for other types.
int64_t ReadInteger(const Value& value, int64_t i);

// All elements of a tensor of integers or bool; nullopt for anything else.
std::optional<std::vector<int64_t>> ReadInts(const Value& value);
// The first element of a numeric tensor that has one.
std::optional<double> ReadFirst(const Value& value);

// What a shape rule may know of a value: type and shape, and the elements when they are few.
ValueFact FactOfValue(const Value& value);

// An 8-bit float of the given type (kFloat8E4M3FN, ..., kFloat8E8M0) as a number.
float Float8ToFloat(uint8_t bits, DType dtype);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_VALUE_READ_H_
