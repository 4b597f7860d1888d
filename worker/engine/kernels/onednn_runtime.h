// What the oneDNN kernels share (internal to kernels/).
#ifndef LATHE_WORKER_ENGINE_KERNELS_ONEDNN_RUNTIME_H_
#define LATHE_WORKER_ENGINE_KERNELS_ONEDNN_RUNTIME_H_

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// The processor and its one queue.
struct OneDnnRuntime {
  OneDnnRuntime();
  dnnl::engine engine;
  dnnl::stream stream;
  // The layout that this processor's convolutions like best.
  Layout blocked = Layout::kBlocked8;
};

// Memory of kernels that grows and is kept: no page is touched for the first time in later runs.
class KernelScratch {
 public:
  // At least `bytes`, aligned to a cache line; valid until the next call.
  void* Take(size_t bytes);

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

// The description of a float32 tensor [n, c, spatial...] in a layout of ours.
dnnl::memory::desc DescOf(const dnnl::memory::dims& dims, Layout layout);

// [head..., tail...].
dnnl::memory::dims JoinDims(std::initializer_list<int64_t> head, const Shape& tail);

// How the weights of a convolution come: [g,] O, I, kernel... of a plain convolution; of a
// transposed one the model's order is I, [g,] O and the logical order stays O, I.
dnnl::memory::desc PlainWeights(const ConvSpec& spec);

// Whether the channels of a convolution fill the vectors of the blocked layout `blocked`.
struct BlockedFit {
  bool worth = false;  // y is blocked, and x too unless:
  bool few = false;    // the first layer's few channels are read as they are
};
BlockedFit FitBlocked(const ConvSpec& spec, Layout blocked);

// Runs `fn`; what oneDNN throws becomes a Status: UNIMPLEMENTED for what it cannot do,
// RESOURCE_EXHAUSTED, INTERNAL.
template <typename Fn>
absl::Status Guard(Fn&& fn) {
  try {
    fn();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    const std::string what = absl::StrCat("oneDNN: ", error.what(), " (", error.status, ")");
    if (error.status == dnnl_unimplemented || error.status == dnnl_invalid_arguments) {
      return absl::UnimplementedError(what);
    }
    if (error.status == dnnl_out_of_memory) return absl::ResourceExhaustedError(what);
    return absl::InternalError(what);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("oneDNN: no memory");
  }
}

// Appends `op`; false when oneDNN does not have it.
bool AppendPostOp(const PostOp& op, dnnl::post_ops& ops);

std::unique_ptr<ConvKernel> MakeOneDnnConv(OneDnnRuntime& runtime);
std::unique_ptr<ConvGradKernel> MakeOneDnnConvGrad(OneDnnRuntime& runtime);
std::unique_ptr<PoolKernel> MakeOneDnnPool(OneDnnRuntime& runtime);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_ONEDNN_RUNTIME_H_
