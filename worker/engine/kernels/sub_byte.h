// Elements of 2 or 4 bits, packed low bits first, and the same a byte each.
#ifndef LATHE_WORKER_ENGINE_KERNELS_SUB_BYTE_H_
#define LATHE_WORKER_ENGINE_KERNELS_SUB_BYTE_H_

#include <cstdint>

namespace lathe::engine {

// `bits` is 2 or 4. packed: ceil(count bits / 8) bytes; out: count bytes, sign-extended when
// `is_signed`.
void UnpackBits(const uint8_t* packed, int64_t count, int bits, bool is_signed, uint8_t* out);

// Keeps the low bits of each byte; unused bits of the last byte of `packed` become 0.
void PackBits(const uint8_t* bytes, int64_t count, int bits, uint8_t* packed);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_SUB_BYTE_H_
