// Products of matrices of small integers, exact: int32 sums of int16 products.
//
// Operands have their zero points taken away first, and so lie in [-255, 255]; two products fit
// int32 with room to spare, and a sum of up to 33000 of them too. Longer sums wrap around.
//
// The right operand lies in panels of kPanel columns, pairs of rows together, as the processors'
// pairwise multiply-add wants it: element (row k, column n) is at
//   (n / kPanel * pairs + k / 2) * 2 kPanel + (n % kPanel) * 2 + k % 2,   pairs = ceil(K / 2)
// with zeros past the last row and column.
#ifndef LATHE_WORKER_ENGINE_KERNELS_INTEGER_PRODUCT_H_
#define LATHE_WORKER_ENGINE_KERNELS_INTEGER_PRODUCT_H_

#include <cstdint>

namespace lathe::engine {

inline constexpr int64_t kPanel = 16;

// Elements of a packed right operand [k, n].
constexpr int64_t PackedElements(int64_t k, int64_t n) {
  return (n + kPanel - 1) / kPanel * kPanel * ((k + 1) / 2) * 2;
}
// Elements between the rows of a left operand [m, k]: k made even. The last one is 0 where k is
// odd.
constexpr int64_t LeftStride(int64_t k) { return (k + 1) / 2 * 2; }

// out[i] = in[i] - zero.
template <typename T>
void Centre(const T* in, int64_t count, int32_t zero, int16_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int16_t>(in[i] - zero);
}

// Left operand a [m, k] (rows `row_stride`, columns `column_stride` apart) with zero point
// zeros[i * zero_step] of row i, to rows LeftStride(k) apart. T: int8_t or uint8_t.
template <typename T>
void PackLeft(const T* a, int64_t m, int64_t k, int64_t row_stride, int64_t column_stride,
              const int32_t* zeros, int64_t zero_step, int16_t* out);

// Right operand b [k, n] (rows `row_stride`, columns `column_stride` apart), zero point
// zeros[j * zero_step] of column j, to PackedElements(k, n).
template <typename T>
void PackRight(const T* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
               const int32_t* zeros, int64_t zero_step, int16_t* out);

// c [m, n] (rows `c_stride` apart) := a b, of packed operands.
void IntegerProduct(int64_t m, int64_t n, int64_t k, const int16_t* a, const int16_t* b, int32_t* c,
                    int64_t c_stride);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_INTEGER_PRODUCT_H_
