// Convolutions by oneDNN's primitives.
//
// In a blocked layout (the channels of a pixel in vectors) its compiled kernels are several times
// faster than the lowered product that serves plain layouts, so the blocked one is tried first
// wherever the channels fill a block; what leaves the kernel stays blocked for the next.
#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/strings/match.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/onednn_runtime.h"
#include "worker/engine/kernels/reference_backend.h"

namespace lathe::engine {
namespace {

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

// One convolution made ready.
struct Plan {
  ConvSpec spec;
  dnnl::primitive primitive;
  memory::desc src;
  memory::desc dst;
  memory::desc weights;
  memory::desc scratchpad;
  Layout x_layout = Layout::kPlain;  // that the primitive wants
  Layout y_layout = Layout::kPlain;
  bool post_op_outside = false;
  bool residual_outside = false;
  std::string kind;
  std::shared_ptr<memory> packed;  // constant weights in the primitive's format
};

class OneDnnConv : public ConvKernel {
 public:
  explicit OneDnnConv(OneDnnRuntime& runtime) : runtime_(runtime) {}

  absl::StatusOr<Layout> Prepare(const ConvSpec& spec) override {
    for (Plan& plan : plans_) {
      if (plan.spec == spec) {
        current_ = &plan;
        return plan.y_layout;
      }
    }
    Plan plan;
    absl::Status made = Guard([&] { plan = Make(spec); });
    RETURN_IF_ERROR(made);
    if (plans_.size() >= kMaxShapesKept) plans_.clear();
    plans_.push_back(std::move(plan));
    current_ = &plans_.back();
    return current_->y_layout;
  }

  absl::Status Run(const float* x, const float* w, const float* bias, const float* residual,
                   Layout residual_layout, float* y) override {
    return Guard([&] { RunPlan(*current_, x, w, bias, residual, residual_layout, y); });
  }

 private:
  Plan Make(const ConvSpec& spec) {
    const BlockedFit fit = FitBlocked(spec, runtime_.blocked);
    if (fit.worth) {
      Plan plan;
      const Layout in = fit.few ? Layout::kPlain : runtime_.blocked;
      if (Guard([&] { plan = MakeIn(spec, in, runtime_.blocked); }).ok() &&
          absl::StrContains(plan.kind, "jit")) {
        return plan;
      }
    }
    return MakeIn(spec, Layout::kPlain, Layout::kPlain);
  }

  Plan MakeIn(const ConvSpec& spec, Layout in, Layout out) {
    Plan plan;
    plan.spec = spec;
    plan.x_layout = in;
    plan.y_layout = out;
    const WindowSpec& w = spec.window;
    plan.src = DescOf(JoinDims({spec.batch, spec.in_channels}, w.in), in);
    plan.dst = DescOf(JoinDims({spec.batch, spec.out_channels}, w.out), out);
    const memory::desc weights(PlainWeights(spec).dims(), memory::data_type::f32, Tag::any);
    const memory::desc bias =
        spec.bias ? memory::desc({spec.out_channels}, memory::data_type::f32, Tag::a)
                  : memory::desc();
    Dims dilates(w.dilations);
    for (int64_t& d : dilates) --d;
    // With everything inside, then with less and less of it.
    for (int outside = 0;; ++outside) {
      dnnl::post_ops ops;
      plan.residual_outside = spec.residual && outside > 0;
      if (spec.residual && !plan.residual_outside) ops.append_sum();
      plan.post_op_outside = outside > 0 || !AppendPostOp(spec.post_op, ops);
      dnnl::primitive_attr attr;
      attr.set_post_ops(ops);
      attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      const absl::Status made = Guard([&] {
        if (spec.transposed) {
          const dnnl::deconvolution_forward::desc desc(
              dnnl::prop_kind::forward_inference, dnnl::algorithm::deconvolution_direct, plan.src,
              weights, bias, plan.dst, w.strides, dilates, w.pads_begin, w.pads_end);
          const dnnl::deconvolution_forward::primitive_desc pd(desc, attr, runtime_.engine);
          Take(pd, dnnl::deconvolution_forward(pd), plan);
        } else {
          const dnnl::convolution_forward::desc desc(
              dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, plan.src,
              weights, bias, plan.dst, w.strides, dilates, w.pads_begin, w.pads_end);
          const dnnl::convolution_forward::primitive_desc pd(desc, attr, runtime_.engine);
          Take(pd, dnnl::convolution_forward(pd), plan);
        }
      });
      if (made.ok()) return plan;
      const bool plain = !spec.residual && spec.post_op.kind == PostOp::Kind::kNone;
      if (outside > 0 || plain) {
        throw dnnl::error(dnnl_unimplemented, std::string(made.message()).c_str());
      }
    }
  }

  template <typename Desc>
  static void Take(const Desc& pd, dnnl::primitive primitive, Plan& plan) {
    plan.weights = pd.weights_desc();
    plan.scratchpad = pd.scratchpad_desc();
    plan.kind = pd.impl_info_str();
    plan.primitive = std::move(primitive);
  }

  // The constant weights in `plan`'s format: packed by an earlier plan, or now.
  void Pack(Plan& plan, const float* w) {
    if (plan.packed != nullptr) return;
    for (const Plan& other : plans_) {
      if (other.packed != nullptr && other.weights == plan.weights && other.spec.constant_weights) {
        plan.packed = other.packed;
        return;
      }
    }
    plan.packed = std::make_shared<memory>(plan.weights, runtime_.engine);
    Reorder(PlainWeights(plan.spec), const_cast<float*>(w), *plan.packed);
  }

  void Reorder(const memory::desc& from, void* data, memory& to) {
    memory source(from, runtime_.engine, data);
    dnnl::reorder(source, to).execute(runtime_.stream, source, to);
  }

  void RunPlan(Plan& plan, const float* x, const float* w, const float* bias, const float* residual,
               Layout residual_layout, float* y) {
    const ConvSpec& spec = plan.spec;
    memory packed;
    if (spec.constant_weights) {
      Pack(plan, w);
      packed = *plan.packed;
    } else if (plan.weights == PlainWeights(spec)) {
      packed = memory(plan.weights, runtime_.engine, const_cast<float*>(w));
    } else {
      packed =
          memory(plan.weights, runtime_.engine, weights_scratch_.Take(plan.weights.get_size()));
      Reorder(PlainWeights(spec), const_cast<float*>(w), packed);
    }
    void* input = const_cast<float*>(x);
    if (spec.x_layout != plan.x_layout) {
      memory blocked(plan.src, runtime_.engine, input_scratch_.Take(plan.src.get_size()));
      Reorder(DescOf(plan.src.dims(), spec.x_layout), input, blocked);
      input = blocked.get_data_handle();
    }
    const size_t y_bytes = plan.dst.get_size();
    const float* added = residual;
    if (residual != nullptr && residual != y) {
      void* at = plan.residual_outside ? residual_scratch_.Take(y_bytes) : y;
      if (residual_layout == plan.y_layout) {
        if (plan.residual_outside) {
          at = const_cast<float*>(residual);
        } else {
          std::memcpy(at, residual, y_bytes);
        }
      } else {
        memory to(plan.dst, runtime_.engine, at);
        Reorder(DescOf(plan.dst.dims(), residual_layout), const_cast<float*>(residual), to);
      }
      added = static_cast<const float*>(at);
    } else if (residual != nullptr && plan.residual_outside) {
      void* copy = residual_scratch_.Take(y_bytes);
      std::memcpy(copy, residual, y_bytes);
      added = static_cast<const float*>(copy);
    }
    std::unordered_map<int, memory> args = {
        {DNNL_ARG_SRC, memory(plan.src, runtime_.engine, input)},
        {DNNL_ARG_WEIGHTS, packed},
        {DNNL_ARG_DST, memory(plan.dst, runtime_.engine, y)}};
    if (spec.bias) {
      args[DNNL_ARG_BIAS] = memory({{spec.out_channels}, memory::data_type::f32, Tag::a},
                                   runtime_.engine, const_cast<float*>(bias));
    }
    if (plan.scratchpad.get_size() > 0) {
      args[DNNL_ARG_SCRATCHPAD] =
          memory(plan.scratchpad, runtime_.engine, scratch_.Take(plan.scratchpad.get_size()));
    }
    plan.primitive.execute(runtime_.stream, args);
    const auto count = static_cast<int64_t>(y_bytes / sizeof(float));
    if (plan.residual_outside) {
      for (int64_t i = 0; i < count; ++i) y[i] += added[i];
    }
    if (!plan.post_op_outside || spec.post_op.kind == PostOp::Kind::kNone) return;
    ApplyPostOp(spec.post_op, count, y);
    ClearPadding(plan, y);
  }

  // Channels past the last are zeros again: a post-op of 0 need not be 0.
  static void ClearPadding(const Plan& plan, float* y) {
    const int64_t block = LayoutBlock(plan.y_layout);
    const int64_t live = plan.spec.out_channels % block;
    if (live == 0) return;
    int64_t pixels = 1;
    for (const int64_t extent : plan.spec.window.out) pixels *= extent;
    const int64_t blocks = plan.spec.out_channels / block + 1;
    for (int64_t n = 0; n < plan.spec.batch; ++n) {
      float* tile = y + ((n + 1) * blocks - 1) * pixels * block;
      for (int64_t p = 0; p < pixels; ++p) {
        std::fill(tile + p * block + live, tile + (p + 1) * block, 0.0f);
      }
    }
  }

  OneDnnRuntime& runtime_;
  std::deque<Plan> plans_;
  Plan* current_ = nullptr;
  KernelScratch scratch_;
  KernelScratch input_scratch_;
  KernelScratch residual_scratch_;
  KernelScratch weights_scratch_;
};

}  // namespace

std::unique_ptr<ConvKernel> MakeOneDnnConv(OneDnnRuntime& runtime) {
  return std::make_unique<OneDnnConv>(runtime);
}

}  // namespace lathe::engine
