#include "worker/engine/kernels/sub_byte.h"

#include <algorithm>

namespace lathe::engine {
namespace {

template <int kBits>
void Unpack(const uint8_t* packed, int64_t count, bool is_signed, uint8_t* out) {
  constexpr int kEach = 8 / kBits;
  constexpr int kMask = (1 << kBits) - 1;
  // Flipping the sign bit and taking its weight away extends it.
  const int sign = is_signed ? 1 << (kBits - 1) : 0;
  const auto element = [&](int64_t byte, int j) {
    return static_cast<uint8_t>((((packed[byte] >> (j * kBits)) & kMask) ^ sign) - sign);
  };
  const int64_t whole = count / kEach;
  for (int64_t i = 0; i < whole; ++i) {
    for (int j = 0; j < kEach; ++j) out[i * kEach + j] = element(i, j);
  }
  for (int j = 0; whole * kEach + j < count; ++j) out[whole * kEach + j] = element(whole, j);
}

template <int kBits>
void Pack(const uint8_t* bytes, int64_t count, uint8_t* packed) {
  constexpr int kEach = 8 / kBits;
  constexpr int kMask = (1 << kBits) - 1;
  for (int64_t i = 0; i * kEach < count; ++i) {
    int byte = 0;
    const int64_t live = std::min<int64_t>(kEach, count - i * kEach);
    for (int j = 0; j < live; ++j) byte |= (bytes[i * kEach + j] & kMask) << (j * kBits);
    packed[i] = static_cast<uint8_t>(byte);
  }
}

}  // namespace

void UnpackBits(const uint8_t* packed, int64_t count, int bits, bool is_signed, uint8_t* out) {
  if (bits == 4) {
    Unpack<4>(packed, count, is_signed, out);
  } else {
    Unpack<2>(packed, count, is_signed, out);
  }
}

void PackBits(const uint8_t* bytes, int64_t count, int bits, uint8_t* packed) {
  if (bits == 4) {
    Pack<4>(bytes, count, packed);
  } else {
    Pack<2>(bytes, count, packed);
  }
}

}  // namespace lathe::engine
