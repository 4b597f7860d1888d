// Matrix products with the right operand in panels: packed once when it is a constant, so that a
// product of few rows costs no copy of its weights.
//
// Panel p of b [k, n] holds columns [p w, (p + 1) w), w = GemmPanelWidth(), as [k, w]; columns past
// n are zeros.
#ifndef LATHE_WORKER_ENGINE_KERNELS_PACKED_GEMM_H_
#define LATHE_WORKER_ENGINE_KERNELS_PACKED_GEMM_H_

#include <cstdint>

#include "worker/engine/kernels/post_op.h"

namespace lathe::engine {

int64_t GemmPanelWidth();
// Floats that PackGemm writes.
int64_t PackedGemmFloats(int64_t k, int64_t n);
// b: [k, n] with rows `ldb` apart; `transposed`: [n, k].
void PackGemm(bool transposed, int64_t k, int64_t n, const float* b, int64_t ldb, float* packed);

// Floats of PackedGemmArgs::room.
int64_t PackedGemmRoom();

struct PackedGemmArgs {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const float* a = nullptr;  // [m, k], rows lda apart
  int64_t lda = 0;
  bool trans_a = false;           // a is [k, m], rows lda apart; needs `room`
  float* room = nullptr;          // for copies of a's tiles, which many columns repay; or nullptr
  const float* packed = nullptr;  // of PackGemm, or nullptr:
  const float* b = nullptr;       // [k, n] as it is, rows ldb apart
  int64_t ldb = 0;
  float alpha = 1;              // of the product; applied only where != 1
  const float* bias = nullptr;  // [n]; added when given
  bool accumulate = false;      // adds to what c holds (bias is ignored then)
  PostOp post_op;
  float* c = nullptr;  // [m, n], rows ldc apart
  int64_t ldc = 0;
};
// c := post_op(alpha a b + bias). An element's sum runs over k in one order, whatever m and n are.
void PackedGemm(const PackedGemmArgs& args);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_PACKED_GEMM_H_
