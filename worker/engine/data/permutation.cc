#include "worker/engine/data/permutation.h"

namespace lathe::engine {
namespace {
constexpr int kRounds = 6;
}  // namespace

uint64_t SplitMix64(uint64_t state) {
  uint64_t z = state + 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

Permutation::Permutation(int64_t size, uint64_t seed) : size_(size), seed_(SplitMix64(seed)) {
  while (half_bits_ < 31 && (int64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
  if ((int64_t{1} << (2 * half_bits_)) < size) half_bits_ = 32;  // past 2^62: never a real dataset
}

uint64_t Permutation::Round(int round, uint64_t half) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  return SplitMix64(seed_ + SplitMix64((static_cast<uint64_t>(round) << 32) | half)) & mask;
}

int64_t Permutation::PlaceOf(int64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  auto v = static_cast<uint64_t>(value);
  do {
    uint64_t left = v >> half_bits_;
    uint64_t right = v & mask;
    for (int round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ Round(round, right);
      left = right;
      right = next;
    }
    v = (left << half_bits_) | right;
  } while (v >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(v);
}

int64_t Permutation::ValueAt(int64_t place) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  auto v = static_cast<uint64_t>(place);
  do {
    uint64_t left = v >> half_bits_;
    uint64_t right = v & mask;
    for (int round = kRounds; round-- > 0;) {
      const uint64_t before = right ^ Round(round, left);
      right = left;
      left = before;
    }
    v = (left << half_bits_) | right;
  } while (v >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(v);
}

}  // namespace lathe::engine
