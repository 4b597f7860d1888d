// What is done to each element of a kernel's result before it is stored.
#ifndef LATHE_WORKER_ENGINE_KERNELS_POST_OP_H_
#define LATHE_WORKER_ENGINE_KERNELS_POST_OP_H_

#include <cstdint>

namespace lathe::engine {

struct PostOp {
  enum class Kind : uint8_t {
    kNone,
    kRelu,
    kClip,       // min(max(x, alpha), beta)
    kLeakyRelu,  // x < 0 ? alpha x : x
    kElu,        // x < 0 ? alpha (e^x - 1) : x
    kSigmoid,
    kTanh,
    kHardSigmoid,  // min(max(alpha x + beta, 0), 1)
    kHardSwish,    // x min(max(x / 6 + 1 / 2, 0), 1)
    kSilu,         // x sigmoid(alpha x)
    kGelu,
    kGeluTanh,
  };
  Kind kind = Kind::kNone;
  float alpha = 0;
  float beta = 0;

  bool operator==(const PostOp& other) const = default;
};

// x := op(x), `count` of them.
void ApplyPostOp(const PostOp& op, int64_t count, float* x);
// The same, one element at a time: what the other is held against.
float ReferencePostOp(const PostOp& op, float x);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_POST_OP_H_
