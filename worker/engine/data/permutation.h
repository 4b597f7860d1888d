// A seeded shuffle of [0, size) that is computed, not stored: any place is found without the
// others, so that splits and resumed runs need no memory and no history.
#ifndef LATHE_WORKER_ENGINE_DATA_PERMUTATION_H_
#define LATHE_WORKER_ENGINE_DATA_PERMUTATION_H_

#include <cstdint>

namespace lathe::engine {

// A Feistel network of six rounds over the next power of two with an even number of bits; values
// past the size are sent through again (cycle walking). Its round function is SplitMix64 of seed,
// round and half. The same on every machine: part of what a seed means.
class Permutation {
 public:
  // size >= 0.
  Permutation(int64_t size, uint64_t seed);
  int64_t size() const { return size_; }
  // Where `value` goes, and what goes to `place`; both in [0, size).
  int64_t PlaceOf(int64_t value) const;
  int64_t ValueAt(int64_t place) const;

 private:
  uint64_t Round(int round, uint64_t half) const;

  int64_t size_;
  uint64_t seed_;
  int half_bits_ = 1;
};

// One step of SplitMix64 (Steele, Lea, Flood 2014): mixes `state`.
uint64_t SplitMix64(uint64_t state);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_PERMUTATION_H_
