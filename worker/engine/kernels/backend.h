// Who does the heavy arithmetic: convolutions and their gradients, pools, products, softmax,
// normalizations. All float32.
//
// A node's kernel is made once and kept: it packs constant weights on first use, and keeps what it
// made for a shape (at most kMaxShapesKept of them; past that it starts over).
#ifndef LATHE_WORKER_ENGINE_KERNELS_BACKEND_H_
#define LATHE_WORKER_ENGINE_KERNELS_BACKEND_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/kernels/post_op.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

enum class BackendKind {
  kReference,  // plain loops and OpenBLAS: what the other is held against
  kOneDnn,     // oneDNN's primitives and our own vector kernels
};

inline constexpr size_t kMaxShapesKept = 16;

// A window sliding over spatial axes; all vectors one entry an axis. Extents positive, pads may be
// negative only where a kernel says so.
struct WindowSpec {
  Shape in;
  Shape out;
  Shape kernel;
  Shape strides;
  Shape dilations;
  Shape pads_begin;
  Shape pads_end;

  bool operator==(const WindowSpec& other) const = default;
};

struct ConvSpec {
  WindowSpec window;
  int64_t batch = 0;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t groups = 1;
  bool transposed = false;  // ConvTranspose: `in` and `out` are its own input and output
  bool bias = false;
  bool residual = false;  // y := post_op(conv + residual), residual as y
  bool constant_weights = false;
  PostOp post_op;
  Layout x_layout = Layout::kPlain;

  bool operator==(const ConvSpec& other) const = default;
};

class ConvKernel {
 public:
  virtual ~ConvKernel() = default;
  // Makes ready for such a convolution and returns the layout that y will have. Every extent is
  // positive; the caller has checked that they fit together. UNIMPLEMENTED for what it cannot do.
  virtual absl::StatusOr<Layout> Prepare(const ConvSpec& spec) = 0;
  // Runs what was prepared last. w: [O, I / groups, kernel...] (transposed: [I, O / groups,
  // kernel...]) plain; bias [O]. y may hold the residual already (residual == y), in y's layout;
  // otherwise the residual is in `residual_layout`.
  virtual absl::Status Run(const float* x, const float* w, const float* bias, const float* residual,
                           Layout residual_layout, float* y) = 0;
};

// The gradients of a convolution y = conv(x, w) + b that are wanted, given G_y.
struct ConvGradSpec {
  ConvSpec conv;  // of the forward run, without residual and post-op; `bias` says that b has one
  Layout y_layout = Layout::kPlain;  // of G_y
  bool data = false;                 // G_x
  bool weights = false;              // G_w, and G_b where conv.bias

  bool operator==(const ConvGradSpec& other) const = default;
};

class ConvGradKernel {
 public:
  virtual ~ConvGradKernel() = default;
  // As ConvKernel::Prepare; returns the layout that G_x will have.
  virtual absl::StatusOr<Layout> Prepare(const ConvGradSpec& spec) = 0;
  // Runs what was prepared last. w and gw are plain, as ConvKernel's w; gb is [O]. x is read for
  // G_w alone, w for G_x alone; what is not wanted may be nullptr.
  virtual absl::Status Run(const float* x, const float* w, const float* gy, float* gx, float* gw,
                           float* gb) = 0;
};

struct PoolSpec {
  enum class Kind : uint8_t { kMax, kAverage, kAverageWithPads };
  Kind kind = Kind::kMax;
  WindowSpec window;
  int64_t batch = 0;
  int64_t channels = 0;
  Layout layout = Layout::kPlain;  // of x and y

  bool operator==(const PoolSpec& other) const = default;
};

class PoolKernel {
 public:
  virtual ~PoolKernel() = default;
  // As ConvKernel::Prepare; y has x's layout.
  virtual absl::Status Prepare(const PoolSpec& spec) = 0;
  virtual absl::Status Run(const float* x, float* y) = 0;
};

struct GemmArgs {
  bool trans_a = false;  // a is [k, m]
  bool trans_b = false;  // b is [n, k]
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  float alpha = 1;
  const float* a = nullptr;  // dense
  const float* b = nullptr;  // dense
  // b is the same in every run and may be kept packed, under this number (0, 1, ...); -1: it may
  // not.
  int64_t b_slot = -1;
  const float* bias = nullptr;  // [n], or nullptr
  bool accumulate = false;      // adds to what c holds (bias is ignored then)
  PostOp post_op;
  float* c = nullptr;  // [m, n], dense
};

class GemmKernel {
 public:
  virtual ~GemmKernel() = default;
  // c := post_op(alpha op(a) op(b) + bias).
  virtual absl::Status Run(const GemmArgs& args) = 0;
};

// One thread; not thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual absl::string_view name() const = 0;

  virtual std::unique_ptr<ConvKernel> MakeConv() = 0;
  virtual std::unique_ptr<ConvGradKernel> MakeConvGrad() = 0;
  virtual std::unique_ptr<PoolKernel> MakePool() = 0;
  virtual std::unique_ptr<GemmKernel> MakeGemm() = 0;

  // x := op(x), `count` of them.
  virtual void Activate(const PostOp& op, int64_t count, float* x) = 0;
  // Over each of `rows` rows of `n`; y may be x. `log`: the logarithm of it.
  virtual void Softmax(int64_t rows, int64_t n, bool log, const float* x, float* y) = 0;
  // y := (x - mean) / sqrt(var + epsilon) * scale + bias, over each of `rows` rows of `n`; scale
  // [n] and bias [n] may be nullptr. `centered` false: no mean is taken away (RMS normalization).
  // mean and inverse [rows] are written when given. y may be x.
  virtual void Normalize(int64_t rows, int64_t n, bool centered, float epsilon, const float* x,
                         const float* scale, const float* bias, float* y, float* mean,
                         float* inverse) = 0;
};

std::unique_ptr<Backend> MakeBackend(BackendKind kind);

// Keeps libraries from starting threads of their own for the calling thread: parallelism belongs to
// whoever runs the engine. What a library is told about that, it remembers for each thread.
void UseCallingThreadAlone();

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_BACKEND_H_
