// Discrete Fourier transforms of a tensor's axis, and of windows that slide along a signal.
// Computed in float64.
#include <complex>
#include <memory>
#include <span>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/fft.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

using Complex = std::complex<double>;

// The plan for one length, and room for one line before and after.
struct FftState : NodeState {
  std::unique_ptr<Fft> fft;
  std::vector<Complex> x;
  std::vector<Complex> y;
};

absl::StatusOr<FftState*> StateFor(RunContext& ctx, int64_t length) {
  FftState& state = ctx.State<FftState>();
  if (state.fft == nullptr || state.fft->length() != length) {
    // The plan's memory is not the run's: what it takes is held against the run's limit here.
    constexpr int64_t kBytesEach = 320;
    if (length > kMaxExtent / kBytesEach) return ctx.Error("the transform is too long");
    RETURN_IF_ERROR(ctx.Scratch(length * kBytesEach).status());
    state.fft = std::make_unique<Fft>(length);
    state.x.resize(static_cast<size_t>(length));
    state.y.resize(static_cast<size_t>(length));
  }
  return &state;
}

// Complex numbers along an axis: element i is at data[(i * stride) * parts], of 1 or 2 parts.
template <typename T>
struct Line {
  T* data;
  int64_t stride;
  int64_t parts;

  Complex Get(int64_t i) const {
    const T* at = data + i * stride * parts;
    return {static_cast<double>(at[0]), parts == 2 ? static_cast<double>(at[1]) : 0.0};
  }
  void Put(int64_t i, Complex value) const {
    T* at = data + i * stride * parts;
    at[0] = static_cast<T>(value.real());
    if (parts == 2) at[1] = static_cast<T>(value.imag());
  }
};

// One line in state.x, transformed.
template <typename T>
void TransformLine(FftState& state, bool inverse, int64_t bins, const Line<T>& out) {
  const auto length = static_cast<int64_t>(state.x.size());
  if (inverse) {
    for (Complex& value : state.x) value = std::conj(value);
  }
  state.fft->Forward(state.x, state.y);
  const double scale = inverse ? 1.0 / static_cast<double>(length) : 1.0;
  for (int64_t k = 0; k < bins; ++k) {
    out.Put(k, inverse ? std::conj(state.y[k]) * scale : state.y[k]);
  }
}

template <typename T>
void Dft(FftState& state, const DftForm& form, const Value& in, Value& out) {
  const auto axis = static_cast<size_t>(form.axis);
  const int64_t extent = in.dims[axis];
  const int64_t bins = out.dims[axis];
  const int64_t parts = in.dims.back();
  const int64_t out_parts = out.dims.back();
  const int64_t rows = ExtentProduct(in.dims, 0, axis);
  const int64_t block = ExtentProduct(in.dims, axis + 1, in.dims.size() - 1);
  const bool halved = form.inverse && form.onesided;
  const int64_t known = halved ? form.length / 2 + 1 : form.length;
  // Line does not write through the input's.
  T* x = const_cast<T*>(in.As<T>().data());
  T* y = out.Mutable<T>().data();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t b = 0; b < block; ++b) {
      const Line<T> from = {x + (row * extent * block + b) * parts, block, parts};
      for (int64_t i = 0; i < form.length; ++i) {
        // The other half of a real signal's spectrum is the first one's conjugate.
        const int64_t source = i < known ? i : form.length - i;
        const Complex value = source < extent ? from.Get(source) : Complex(0);
        state.x[i] = i < known ? value : std::conj(value);
      }
      TransformLine(state, form.inverse, bins,
                    Line<T>{y + (row * bins * block + b) * out_parts, block, out_parts});
    }
  }
}

absl::Status CheckParts(const RunContext& ctx) {
  const Value& in = ctx.In(0);
  if (!in.IsTensor() || in.dims.size() < 2 || (in.dims.back() != 1 && in.dims.back() != 2)) {
    return ctx.Error("the last axis must hold a real part, or a real and an imaginary one");
  }
  if (in.dtype != DType::kFloat && in.dtype != DType::kDouble) return ctx.Error("it takes floats");
  return absl::OkStatus();
}

absl::Status RunDft(RunContext& ctx) {
  RETURN_IF_ERROR(CheckParts(ctx));
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  if (out->size() == 0) return absl::OkStatus();
  std::vector<ValueFact> facts;
  std::vector<const ValueFact*> inputs;
  facts.reserve(ctx.input_count());
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    facts.push_back(FactOfValue(ctx.In(i)));
    inputs.push_back(ctx.Has(i) ? &facts.back() : nullptr);
  }
  const auto form = ReadDft(OpContext(ctx.node(), ctx.opset(), std::move(inputs)));
  if (!form) return ctx.Error("the inputs do not fit together");
  if (form->onesided && !form->inverse && ctx.In(0).dims.back() == 2) {
    return ctx.Error("a one-sided transform takes a real signal");
  }
  ASSIGN_OR_RETURN(FftState * state, StateFor(ctx, form->length));
  if (out->dtype == DType::kFloat) {
    Dft<float>(*state, *form, ctx.In(0), *out);
  } else {
    Dft<double>(*state, *form, ctx.In(0), *out);
  }
  return absl::OkStatus();
}

template <typename T>
void Stft(FftState& state, int64_t step, const Value& signal, const T* window, Value& out) {
  const int64_t length = signal.dims[1];
  const int64_t parts = signal.dims[2];
  const int64_t frames = out.dims[1];
  const int64_t bins = out.dims[2];
  T* x = const_cast<T*>(signal.As<T>().data());
  T* y = out.Mutable<T>().data();
  for (int64_t n = 0; n < signal.dims[0]; ++n) {
    for (int64_t f = 0; f < frames; ++f) {
      const Line<T> from = {x + (n * length + f * step) * parts, 1, parts};
      for (size_t i = 0; i < state.x.size(); ++i) {
        const double weight = window == nullptr ? 1.0 : static_cast<double>(window[i]);
        state.x[i] = from.Get(static_cast<int64_t>(i)) * weight;
      }
      TransformLine(state, false, bins, Line<T>{y + (n * frames + f) * bins * 2, 1, 2});
    }
  }
}

absl::Status RunStft(RunContext& ctx) {
  RETURN_IF_ERROR(CheckParts(ctx));
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const Value& signal = ctx.In(0);
  if (out->size() == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int64_t> step, ctx.Ints(1));
  if (ctx.Has(2) && ctx.In(2).dtype != signal.dtype) {
    return ctx.Error("window must be of the signal's type");
  }
  const bool onesided = ctx.node().IntAttribute("onesided", 1) != 0;
  if (onesided && signal.dims[2] == 2) {
    return ctx.Error("a one-sided transform takes a real signal");
  }
  int64_t length = ctx.Has(2) ? ctx.In(2).dims[0] : signal.dims[1];
  if (ctx.Has(3)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(3));
    length = given[0];
  }
  ASSIGN_OR_RETURN(FftState * state, StateFor(ctx, length));
  if (out->dtype == DType::kFloat) {
    Stft<float>(*state, step[0], signal, ctx.Has(2) ? ctx.Data<float>(2).data() : nullptr, *out);
  } else {
    Stft<double>(*state, step[0], signal, ctx.Has(2) ? ctx.Data<double>(2).data() : nullptr, *out);
  }
  return absl::OkStatus();
}

constexpr unsigned kFloats = kComputesInFloat | kTakesDouble;
constexpr OpForward kForwards[] = {
    {"", "DFT", RunDft, kFloats},
    {"", "STFT", RunStft, kFloats},
};

}  // namespace

std::span<const OpForward> SignalForwards() { return kForwards; }

}  // namespace lathe::engine
