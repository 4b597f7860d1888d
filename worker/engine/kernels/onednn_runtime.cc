#include "worker/engine/kernels/onednn_runtime.h"

#include <cstdlib>
#include <new>

#include "worker/engine/kernels/backend.h"

// Of libgomp, which oneDNN is built on; clang has no <omp.h> of its own without libomp.
extern "C" void omp_set_num_threads(int threads);

namespace lathe::engine {

void UseCallingThreadAlone() { omp_set_num_threads(1); }

OneDnnRuntime::OneDnnRuntime() : engine(dnnl::engine::kind::cpu, 0), stream(engine) {
  UseCallingThreadAlone();
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  if (isa >= dnnl::cpu_isa::avx512_core) blocked = Layout::kBlocked16;
}

void KernelScratch::Free::operator()(void* p) const { std::free(p); }

void* KernelScratch::Take(size_t bytes) {
  if (bytes > bytes_ || data_ == nullptr) {
    const size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096;
    data_.reset();
    bytes_ = 0;
    data_.reset(std::aligned_alloc(64, rounded));
    if (data_ == nullptr) throw std::bad_alloc();
    bytes_ = rounded;
  }
  return data_.get();
}

dnnl::memory::desc DescOf(const dnnl::memory::dims& dims, Layout layout) {
  using Tag = dnnl::memory::format_tag;
  constexpr Tag kTags[3][3] = {{Tag::ncw, Tag::nCw8c, Tag::nCw16c},
                               {Tag::nchw, Tag::nChw8c, Tag::nChw16c},
                               {Tag::ncdhw, Tag::nCdhw8c, Tag::nCdhw16c}};
  return {dims, dnnl::memory::data_type::f32, kTags[dims.size() - 3][static_cast<size_t>(layout)]};
}

dnnl::memory::dims JoinDims(std::initializer_list<int64_t> head, const Shape& tail) {
  dnnl::memory::dims dims(head);
  dims.insert(dims.end(), tail.begin(), tail.end());
  return dims;
}

dnnl::memory::desc PlainWeights(const ConvSpec& spec) {
  const int64_t o = spec.out_channels / spec.groups;
  const int64_t i = spec.in_channels / spec.groups;
  const size_t axes = spec.window.kernel.size();
  const bool grouped = spec.groups > 1;
  dnnl::memory::dims dims = grouped ? JoinDims({spec.groups, o, i}, spec.window.kernel)
                                    : JoinDims({o, i}, spec.window.kernel);
  dnnl::memory::dims strides(dims.size());
  int64_t stride = 1;
  for (size_t a = dims.size(); a-- > dims.size() - axes;) {
    strides[a] = stride;
    stride *= dims[a];
  }
  const size_t out_at = grouped ? 1 : 0;
  const size_t in_at = out_at + 1;
  strides[spec.transposed ? out_at : in_at] = stride;
  stride *= spec.transposed ? o : i;
  strides[spec.transposed ? in_at : out_at] = stride;
  stride *= spec.transposed ? i : o;
  if (grouped) strides[0] = stride;
  return {dims, dnnl::memory::data_type::f32, strides};
}

BlockedFit FitBlocked(const ConvSpec& spec, Layout blocked) {
  const int64_t block = LayoutBlock(blocked);
  const bool depthwise = spec.groups == spec.in_channels && spec.groups > 1;
  const auto fills = [&](int64_t channels) {
    return channels % block == 0 || (spec.groups == 1 && channels >= block * 3 / 4);
  };
  const bool in_fits = depthwise || fills(spec.in_channels / spec.groups);
  const bool out_fits = depthwise || fills(spec.out_channels / spec.groups);
  BlockedFit fit;
  fit.few = spec.groups == 1 && spec.in_channels <= 4;
  fit.worth = out_fits && (in_fits || fit.few) && !(depthwise && spec.groups < block / 2);
  return fit;
}

bool AppendPostOp(const PostOp& op, dnnl::post_ops& ops) {
  using Algorithm = dnnl::algorithm;
  const auto append = [&ops](Algorithm algorithm, float alpha, float beta) {
    ops.append_eltwise(1.0f, algorithm, alpha, beta);
    return true;
  };
  switch (op.kind) {
    case PostOp::Kind::kNone:
      return true;
    case PostOp::Kind::kRelu:
      return append(Algorithm::eltwise_relu, 0, 0);
    case PostOp::Kind::kClip:
      return append(Algorithm::eltwise_clip, op.alpha, op.beta);
    case PostOp::Kind::kLeakyRelu:
      return append(Algorithm::eltwise_relu, op.alpha, 0);
    case PostOp::Kind::kElu:
      return append(Algorithm::eltwise_elu, op.alpha, 0);
    case PostOp::Kind::kSigmoid:
      return append(Algorithm::eltwise_logistic, 0, 0);
    case PostOp::Kind::kTanh:
      return append(Algorithm::eltwise_tanh, 0, 0);
    case PostOp::Kind::kSilu:
      return append(Algorithm::eltwise_swish, op.alpha, 0);
    case PostOp::Kind::kHardSwish:
      return append(Algorithm::eltwise_hardswish, 0, 0);
    case PostOp::Kind::kGelu:
      return append(Algorithm::eltwise_gelu_erf, 0, 0);
    case PostOp::Kind::kGeluTanh:
      return append(Algorithm::eltwise_gelu_tanh, 0, 0);
    case PostOp::Kind::kHardSigmoid:
      return false;  // 2.6 has none
  }
  return false;
}

}  // namespace lathe::engine
