#include "worker/engine/kernels/onednn_backend.h"

#include <unordered_map>
#include <utility>

#include "worker/engine/kernels/onednn_runtime.h"
#include "worker/engine/kernels/packed_gemm.h"
#include "worker/engine/kernels/row_kernels.h"

namespace lathe::engine {
namespace {

using dnnl::memory;

class OneDnnPool : public PoolKernel {
 public:
  explicit OneDnnPool(OneDnnRuntime& runtime) : runtime_(runtime) {}

  absl::Status Prepare(const PoolSpec& spec) override {
    if (made_ && spec == spec_) return absl::OkStatus();
    made_ = false;
    spec_ = spec;
    const absl::Status status = Guard([&] {
      const WindowSpec& w = spec.window;
      memory::dims in = {spec.batch, spec.channels};
      memory::dims out = in;
      in.insert(in.end(), w.in.begin(), w.in.end());
      out.insert(out.end(), w.out.begin(), w.out.end());
      src_ = DescOf(in, spec.layout);
      dst_ = DescOf(out, spec.layout);
      memory::dims dilates(w.dilations);
      for (int64_t& d : dilates) --d;
      const auto algorithm = spec.kind == PoolSpec::Kind::kMax ? dnnl::algorithm::pooling_max
                             : spec.kind == PoolSpec::Kind::kAverage
                                 ? dnnl::algorithm::pooling_avg_exclude_padding
                                 : dnnl::algorithm::pooling_avg_include_padding;
      const dnnl::pooling_v2_forward::desc desc(dnnl::prop_kind::forward_inference, algorithm, src_,
                                                dst_, w.strides, w.kernel, dilates, w.pads_begin,
                                                w.pads_end);
      dnnl::primitive_attr attr;
      attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      const dnnl::pooling_v2_forward::primitive_desc pd(desc, attr, runtime_.engine);
      scratchpad_ = pd.scratchpad_desc();
      primitive_ = dnnl::pooling_v2_forward(pd);
    });
    made_ = status.ok();
    return status;
  }

  absl::Status Run(const float* x, float* y) override {
    return Guard([&] {
      std::unordered_map<int, memory> args = {
          {DNNL_ARG_SRC, memory(src_, runtime_.engine, const_cast<float*>(x))},
          {DNNL_ARG_DST, memory(dst_, runtime_.engine, y)}};
      if (scratchpad_.get_size() > 0) {
        args[DNNL_ARG_SCRATCHPAD] =
            memory(scratchpad_, runtime_.engine, scratch_.Take(scratchpad_.get_size()));
      }
      primitive_.execute(runtime_.stream, args);
    });
  }

 private:
  OneDnnRuntime& runtime_;
  PoolSpec spec_;
  bool made_ = false;
  dnnl::primitive primitive_;
  memory::desc src_;
  memory::desc dst_;
  memory::desc scratchpad_;
  KernelScratch scratch_;
};

// Products by packed panels.
class PanelGemm : public GemmKernel {
 public:
  absl::Status Run(const GemmArgs& g) override {
    return Guard([&] { Multiply(g); });
  }

 private:
  // Fewer rows than this do not repay a copy of b.
  static constexpr int64_t kRowsWorthPacking = 48;

  void Multiply(const GemmArgs& g) {
    PackedGemmArgs p;
    p.m = g.m;
    p.n = g.n;
    p.k = g.k;
    p.a = g.a;
    p.trans_a = g.trans_a && g.m > 1;
    p.lda = p.trans_a ? g.m : g.k;
    // Copies of a's tiles are worth it where many columns read them.
    if (p.trans_a || (g.m >= kRowsWorthPacking && g.n >= kRowsWorthPacking)) {
      p.room = static_cast<float*>(
          a_scratch_.Take(sizeof(float) * static_cast<size_t>(PackedGemmRoom())));
    }
    p.b = g.b;
    p.ldb = g.n;
    const int64_t ldb = g.trans_b ? g.k : g.n;
    if (g.b_slot >= 0) {
      std::vector<float>& kept = packed_[g.b_slot];
      if (kept.empty()) {
        kept.resize(static_cast<size_t>(PackedGemmFloats(g.k, g.n)) + 1);
        PackGemm(g.trans_b, g.k, g.n, g.b, ldb, kept.data());
      }
      p.packed = kept.data();
    } else if ((g.trans_b && g.n > 1) || g.m >= kRowsWorthPacking) {
      auto* b = static_cast<float*>(
          b_scratch_.Take(sizeof(float) * static_cast<size_t>(PackedGemmFloats(g.k, g.n))));
      PackGemm(g.trans_b, g.k, g.n, g.b, ldb, b);
      p.packed = b;
    }
    p.alpha = g.alpha;
    p.bias = g.bias;
    p.accumulate = g.accumulate;
    p.post_op = g.post_op;
    p.c = g.c;
    p.ldc = g.n;
    PackedGemm(p);
  }

  std::unordered_map<int64_t, std::vector<float>> packed_;
  KernelScratch a_scratch_;
  KernelScratch b_scratch_;
};

class OneDnnBackend : public Backend {
 public:
  absl::string_view name() const override { return "onednn"; }
  std::unique_ptr<ConvKernel> MakeConv() override { return MakeOneDnnConv(runtime_); }
  std::unique_ptr<ConvGradKernel> MakeConvGrad() override { return MakeOneDnnConvGrad(runtime_); }
  std::unique_ptr<PoolKernel> MakePool() override { return std::make_unique<OneDnnPool>(runtime_); }
  std::unique_ptr<GemmKernel> MakeGemm() override { return std::make_unique<PanelGemm>(); }

  void Activate(const PostOp& op, int64_t count, float* x) override { ApplyPostOp(op, count, x); }
  void Softmax(int64_t rows, int64_t n, bool log, const float* x, float* y) override {
    SoftmaxRows(rows, n, log, x, y);
  }
  void Normalize(int64_t rows, int64_t n, bool centered, float epsilon, const float* x,
                 const float* scale, const float* bias, float* y, float* mean,
                 float* inverse) override {
    NormalizeRows(rows, n, centered, epsilon, x, scale, bias, y, mean, inverse);
  }

 private:
  OneDnnRuntime runtime_;
};

}  // namespace

std::unique_ptr<Backend> MakeOneDnnBackend() {
  std::unique_ptr<Backend> backend;
  // A processor that oneDNN does not serve: plain loops do.
  if (!Guard([&] { backend = std::make_unique<OneDnnBackend>(); }).ok()) {
    return MakeBackend(BackendKind::kReference);
  }
  return backend;
}

}  // namespace lathe::engine
