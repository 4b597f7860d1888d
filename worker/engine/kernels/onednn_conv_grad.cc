// Gradients of convolutions by oneDNN's primitives: G_x by backward_data, G_w and G_b by
// backward_weights. As in the forward run, the blocked layout is tried first wherever the channels
// fill a block; G_x stays blocked for the node before.
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/strings/match.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/onednn_runtime.h"

namespace lathe::engine {
namespace {

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

// An operand on its way into or out of a primitive: as it lies in memory, and as the primitive has
// it.
struct Operand {
  memory::desc outside;
  memory::desc inside;
  std::optional<dnnl::reorder> reorder;  // between the two where they differ
  KernelScratch room;
};

struct Part {
  dnnl::primitive primitive;
  memory::desc scratchpad;
  std::string kind;
  Operand x;  // G_x in the data part
  Operand w;  // G_w in the weights part
  Operand y;
};

struct Plan {
  ConvGradSpec spec;
  Layout x_layout = Layout::kPlain;  // of G_x
  std::optional<Part> data;
  std::optional<Part> weights;
};

class OneDnnConvGrad : public ConvGradKernel {
 public:
  explicit OneDnnConvGrad(OneDnnRuntime& runtime) : runtime_(runtime) {}

  absl::StatusOr<Layout> Prepare(const ConvGradSpec& spec) override {
    for (Plan& plan : plans_) {
      if (plan.spec == spec) {
        current_ = &plan;
        return plan.x_layout;
      }
    }
    if (plans_.size() >= kMaxShapesKept) plans_.clear();
    Plan& plan = plans_.emplace_back();
    const absl::Status made = Guard([&] { Make(spec, plan); });
    if (!made.ok()) plans_.pop_back();
    RETURN_IF_ERROR(made);
    current_ = &plan;
    return plan.x_layout;
  }

  absl::Status Run(const float* x, const float* w, const float* gy, float* gx, float* gw,
                   float* gb) override {
    return Guard([&] {
      Plan& plan = *current_;
      if (plan.data) {
        Part& part = *plan.data;
        std::unordered_map<int, memory> args = {
            {DNNL_ARG_DIFF_DST, Bring(part.y, gy)},
            {DNNL_ARG_WEIGHTS, Bring(part.w, w)},
            {DNNL_ARG_DIFF_SRC, memory(part.x.inside, runtime_.engine, gx)}};
        Execute(part, args);
      }
      if (!plan.weights) return;
      Part& part = *plan.weights;
      const memory grad = part.w.reorder ? memory(part.w.inside, runtime_.engine,
                                                  part.w.room.Take(part.w.inside.get_size()))
                                         : memory(part.w.inside, runtime_.engine, gw);
      std::unordered_map<int, memory> args = {{DNNL_ARG_DIFF_DST, Bring(part.y, gy)},
                                              {DNNL_ARG_SRC, Bring(part.x, x)},
                                              {DNNL_ARG_DIFF_WEIGHTS, grad}};
      if (plan.spec.conv.bias) {
        args[DNNL_ARG_DIFF_BIAS] = memory(
            {{plan.spec.conv.out_channels}, memory::data_type::f32, Tag::a}, runtime_.engine, gb);
      }
      Execute(part, args);
      if (!part.w.reorder) return;
      memory out(part.w.outside, runtime_.engine, gw);
      part.w.reorder->execute(runtime_.stream, const_cast<memory&>(grad), out);
    });
  }

 private:
  void Make(const ConvGradSpec& spec, Plan& plan) {
    plan.spec = spec;
    const BlockedFit fit = FitBlocked(spec.conv, runtime_.blocked);
    const Layout best = fit.worth ? runtime_.blocked : Layout::kPlain;
    if (spec.data) {
      MakePart(spec, true, best, best, plan.data) ||
          MakePart(spec, true, Layout::kPlain, Layout::kPlain, plan.data);
      plan.x_layout = plan.data->x.inside == DescOf(plan.data->x.inside.dims(), Layout::kPlain)
                          ? Layout::kPlain
                          : runtime_.blocked;
    }
    if (spec.weights) {
      (fit.few && MakePart(spec, false, Layout::kPlain, best, plan.weights)) ||
          MakePart(spec, false, best, best, plan.weights) ||
          MakePart(spec, false, Layout::kPlain, Layout::kPlain, plan.weights);
    }
  }

  // Makes one part with x and y in these layouts. False when oneDNN has no compiled kernel for
  // blocked ones; what stands in the way of plain ones is thrown.
  bool MakePart(const ConvGradSpec& spec, bool data, Layout x, Layout y,
                std::optional<Part>& part) {
    const bool last = x == Layout::kPlain && y == Layout::kPlain;
    part.emplace();
    const auto make = [&] {
      spec.conv.transposed ? MakeTransposed(spec, data, x, y, *part)
                           : MakePlain(spec, data, x, y, *part);
    };
    if (last) {
      make();
    } else if (!Guard(make).ok() || !absl::StrContains(part->kind, "jit")) {
      part.reset();
      return false;
    }
    part->x.outside = data ? part->x.inside : DescOf(part->x.inside.dims(), spec.conv.x_layout);
    part->y.outside = DescOf(part->y.inside.dims(), spec.y_layout);
    part->w.outside = PlainWeights(spec.conv);
    Connect(part->x, true);
    Connect(part->y, true);
    Connect(part->w, data);
    return true;
  }

  struct Descs {
    memory::desc x;
    memory::desc y;
    memory::desc w;
    memory::desc b;
    Dims dilates;
    dnnl::primitive_attr attr;
  };

  Descs Describe(const ConvSpec& spec, bool data, Layout x, Layout y) {
    const WindowSpec& w = spec.window;
    Descs d;
    d.x = DescOf(JoinDims({spec.batch, spec.in_channels}, w.in), x);
    d.y = DescOf(JoinDims({spec.batch, spec.out_channels}, w.out), y);
    d.w = memory::desc(PlainWeights(spec).dims(), memory::data_type::f32, Tag::any);
    if (spec.bias && !data) {
      d.b = memory::desc({spec.out_channels}, memory::data_type::f32, Tag::a);
    }
    d.dilates = w.dilations;
    for (int64_t& dilate : d.dilates) --dilate;
    d.attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return d;
  }

  void MakePlain(const ConvGradSpec& spec, bool data, Layout x, Layout y, Part& part) {
    const WindowSpec& w = spec.conv.window;
    const Descs d = Describe(spec.conv, data, x, y);
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const dnnl::convolution_forward::primitive_desc hint(
        {dnnl::prop_kind::forward_training, algorithm, d.x, d.w, d.b, d.y, w.strides, d.dilates,
         w.pads_begin, w.pads_end},
        runtime_.engine);
    if (data) {
      const dnnl::convolution_backward_data::primitive_desc pd(
          {algorithm, d.x, d.w, d.y, w.strides, d.dilates, w.pads_begin, w.pads_end}, d.attr,
          runtime_.engine, hint);
      Take(pd, pd.diff_src_desc(), pd.weights_desc(), dnnl::convolution_backward_data(pd), part);
      return;
    }
    const dnnl::convolution_backward_weights::primitive_desc pd(
        {algorithm, d.x, d.w, d.b, d.y, w.strides, d.dilates, w.pads_begin, w.pads_end}, d.attr,
        runtime_.engine, hint);
    Take(pd, pd.src_desc(), pd.diff_weights_desc(), dnnl::convolution_backward_weights(pd), part);
  }

  void MakeTransposed(const ConvGradSpec& spec, bool data, Layout x, Layout y, Part& part) {
    const WindowSpec& w = spec.conv.window;
    const Descs d = Describe(spec.conv, data, x, y);
    const auto algorithm = dnnl::algorithm::deconvolution_direct;
    const dnnl::deconvolution_forward::primitive_desc hint(
        {dnnl::prop_kind::forward_training, algorithm, d.x, d.w, d.b, d.y, w.strides, d.dilates,
         w.pads_begin, w.pads_end},
        runtime_.engine);
    if (data) {
      const dnnl::deconvolution_backward_data::primitive_desc pd(
          {algorithm, d.x, d.w, d.y, w.strides, d.dilates, w.pads_begin, w.pads_end}, d.attr,
          runtime_.engine, hint);
      Take(pd, pd.diff_src_desc(), pd.weights_desc(), dnnl::deconvolution_backward_data(pd), part);
      return;
    }
    const dnnl::deconvolution_backward_weights::primitive_desc pd(
        {algorithm, d.x, d.w, d.b, d.y, w.strides, d.dilates, w.pads_begin, w.pads_end}, d.attr,
        runtime_.engine, hint);
    Take(pd, pd.src_desc(), pd.diff_weights_desc(), dnnl::deconvolution_backward_weights(pd), part);
  }

  template <typename Desc>
  static void Take(const Desc& pd, const memory::desc& x, const memory::desc& w,
                   dnnl::primitive primitive, Part& part) {
    part.kind = pd.impl_info_str();
    part.scratchpad = pd.scratchpad_desc();
    part.x.inside = x;
    part.w.inside = w;
    part.y.inside = pd.diff_dst_desc();
    part.primitive = std::move(primitive);
  }

  // Prepares the way between the two forms of an operand.
  void Connect(Operand& operand, bool inwards) {
    if (operand.inside == operand.outside) return;
    const memory::desc& from = inwards ? operand.outside : operand.inside;
    const memory::desc& to = inwards ? operand.inside : operand.outside;
    operand.reorder.emplace(
        dnnl::reorder::primitive_desc(runtime_.engine, from, runtime_.engine, to));
  }

  // An operand that the primitive reads, in the form that it wants.
  memory Bring(Operand& operand, const float* data) {
    memory given(operand.outside, runtime_.engine, const_cast<float*>(data));
    if (!operand.reorder) return given;
    memory inside(operand.inside, runtime_.engine, operand.room.Take(operand.inside.get_size()));
    operand.reorder->execute(runtime_.stream, given, inside);
    return inside;
  }

  void Execute(Part& part, std::unordered_map<int, memory>& args) {
    if (part.scratchpad.get_size() > 0) {
      args[DNNL_ARG_SCRATCHPAD] =
          memory(part.scratchpad, runtime_.engine, scratch_.Take(part.scratchpad.get_size()));
    }
    part.primitive.execute(runtime_.stream, args);
  }

  OneDnnRuntime& runtime_;
  std::deque<Plan> plans_;
  Plan* current_ = nullptr;
  KernelScratch scratch_;
};

}  // namespace

std::unique_ptr<ConvGradKernel> MakeOneDnnConvGrad(OneDnnRuntime& runtime) {
  return std::make_unique<OneDnnConvGrad>(runtime);
}

}  // namespace lathe::engine
