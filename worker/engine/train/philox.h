// Philox 4x32 with ten rounds (Salmon, Moraes, Dror and Shaw 2011, "Parallel Random Numbers: As
// Easy as 1, 2, 3", section 3.3): numbers by a counter, so that the draw for any place is had
// without the others, and a resumed run draws what an unbroken one does.
#ifndef LATHE_WORKER_ENGINE_TRAIN_PHILOX_H_
#define LATHE_WORKER_ENGINE_TRAIN_PHILOX_H_

#include <array>
#include <cstdint>

namespace lathe::engine {

// Four words of 32 random bits for the counter (a, b) under `key`.
inline std::array<uint32_t, 4> Philox(uint64_t key, uint64_t a, uint64_t b) {
  constexpr uint64_t kMultiply0 = 0xD2511F53;
  constexpr uint64_t kMultiply1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9;
  constexpr uint32_t kWeyl1 = 0xBB67AE85;
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32),
                               static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMultiply0 * c[0];
    const uint64_t p1 = kMultiply1 * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

// In [0, 1), 24 bits.
inline float UnitFloat(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_PHILOX_H_
