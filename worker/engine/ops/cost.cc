#include "worker/engine/ops/cost.h"

#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {
namespace {

void AddTimes(int64_t value, int64_t times, int64_t* sum) {
  *sum = SaturatingAdd(*sum, SaturatingMul(value, times));
}

}  // namespace

int64_t MacCounts::total() const { return SaturatingAdd(SaturatingAdd(float32, float16), int8); }

void MacCounts::Add(MacCount macs) {
  int64_t& slot = macs.type == MacType::kInt8      ? int8
                  : macs.type == MacType::kFloat16 ? float16
                                                   : float32;
  slot = SaturatingAdd(slot, macs.count);
}

void MacCounts::Add(const MacCounts& other, int64_t times) {
  AddTimes(other.float32, times, &float32);
  AddTimes(other.float16, times, &float16);
  AddTimes(other.int8, times, &int8);
}

int64_t BytesMoved::activations() const {
  return SaturatingAdd(activations_read, activations_written);
}

int64_t BytesMoved::total() const { return SaturatingAdd(activations(), constants_read); }

void BytesMoved::Add(const BytesMoved& other, int64_t times) {
  AddTimes(other.activations_read, times, &activations_read);
  AddTimes(other.activations_written, times, &activations_written);
  AddTimes(other.constants_read, times, &constants_read);
}

void OperatorCost::Add(const OperatorCost& other, int64_t times) {
  AddTimes(other.runs, times, &runs);
  macs.Add(other.macs, times);
  moved.Add(other.moved, times);
}

double ArithmeticIntensity(const OperatorCost& cost) {
  const int64_t bytes = cost.moved.total();
  return bytes > 0 ? 2 * static_cast<double>(cost.macs.total()) / static_cast<double>(bytes) : 0;
}

}  // namespace lathe::engine
