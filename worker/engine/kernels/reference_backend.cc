#include "worker/engine/kernels/reference_backend.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace lathe::engine {
namespace {

int64_t Product(const Shape& dims) {
  int64_t product = 1;
  for (const int64_t extent : dims) product *= extent;
  return product;
}

// Steps `index` through `dims`, the last axis fastest; false after the last.
bool Next(const Shape& dims, Shape& index) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

// Calls fn(offset in the input plane, offset in the kernel) for each element of the window at
// output position `at` that lies inside the input.
template <typename Fn>
void ForWindow(const WindowSpec& w, const Shape& at, Fn&& fn) {
  Shape k(w.kernel.size(), 0);
  int64_t tap = 0;
  do {
    int64_t offset = 0;
    bool inside = true;
    for (size_t i = 0; i < k.size(); ++i) {
      const int64_t p = at[i] * w.strides[i] - w.pads_begin[i] + k[i] * w.dilations[i];
      inside = inside && p >= 0 && p < w.in[i];
      offset = offset * w.in[i] + p;
    }
    if (inside) fn(offset, tap);
    ++tap;
  } while (Next(w.kernel, k));
}

// A transposed convolution is this one with `in` and `out` in each other's place: what is read
// there is written here.
WindowSpec Mirrored(WindowSpec w) {
  std::swap(w.in, w.out);
  return w;
}

class ReferenceConv : public ConvKernel {
 public:
  absl::StatusOr<Layout> Prepare(const ConvSpec& spec) override {
    if (spec.x_layout != Layout::kPlain) {
      return absl::UnimplementedError("the reference takes plain layouts only");
    }
    spec_ = spec;
    return Layout::kPlain;
  }

  absl::Status Run(const float* x, const float* w, const float* bias, const float* residual, Layout,
                   float* y) override {
    const int64_t y_plane = Product(spec_.window.out);
    const int64_t planes = spec_.batch * spec_.out_channels;
    // The residual may be y itself.
    sums_.assign(static_cast<size_t>(planes * y_plane), 0.0f);
    spec_.transposed ? Scatter(x, w) : Gather(x, w);
    for (int64_t i = 0; i < planes * y_plane; ++i) {
      float value = sums_[static_cast<size_t>(i)];
      if (bias != nullptr) value += bias[i / y_plane % spec_.out_channels];
      if (residual != nullptr) value += residual[i];
      y[i] = ReferencePostOp(spec_.post_op, value);
    }
    return absl::OkStatus();
  }

 private:
  void Gather(const float* x, const float* w) {
    const int64_t x_plane = Product(spec_.window.in);
    const int64_t taps = Product(spec_.window.kernel);
    const int64_t in_group = spec_.in_channels / spec_.groups;
    const int64_t out_group = spec_.out_channels / spec_.groups;
    float* y = sums_.data();
    for (int64_t n = 0; n < spec_.batch; ++n) {
      for (int64_t o = 0; o < spec_.out_channels; ++o) {
        const float* from = x + (n * spec_.in_channels + o / out_group * in_group) * x_plane;
        const float* weights = w + o * in_group * taps;
        Shape at(spec_.window.out.size(), 0);
        do {
          float sum = 0;
          ForWindow(spec_.window, at, [&](int64_t offset, int64_t tap) {
            for (int64_t c = 0; c < in_group; ++c) {
              sum += from[c * x_plane + offset] * weights[c * taps + tap];
            }
          });
          *y++ = sum;
        } while (Next(spec_.window.out, at));
      }
    }
  }

  void Scatter(const float* x, const float* w) {
    const WindowSpec window = Mirrored(spec_.window);
    const int64_t x_plane = Product(spec_.window.in);
    const int64_t y_plane = Product(spec_.window.out);
    const int64_t taps = Product(window.kernel);
    const int64_t in_group = spec_.in_channels / spec_.groups;
    const int64_t out_group = spec_.out_channels / spec_.groups;
    for (int64_t n = 0; n < spec_.batch; ++n) {
      for (int64_t c = 0; c < spec_.in_channels; ++c) {
        const float* from = x + (n * spec_.in_channels + c) * x_plane;
        float* to = sums_.data() + (n * spec_.out_channels + c / in_group * out_group) * y_plane;
        Shape at(window.out.size(), 0);
        do {
          const float value = *from++;
          ForWindow(window, at, [&](int64_t offset, int64_t tap) {
            for (int64_t o = 0; o < out_group; ++o) {
              to[o * y_plane + offset] += value * w[(c * out_group + o) * taps + tap];
            }
          });
        } while (Next(window.out, at));
      }
    }
  }

  ConvSpec spec_;
  std::vector<float> sums_;
};

// Plain or transposed, w is [A, B / groups, taps]: A are the channels of the side whose positions
// the window is placed for (y of a plain convolution, x of a transposed one), B those of the side
// that it reaches into.
class ReferenceConvGrad : public ConvGradKernel {
 public:
  absl::StatusOr<Layout> Prepare(const ConvGradSpec& spec) override {
    if (spec.conv.x_layout != Layout::kPlain || spec.y_layout != Layout::kPlain) {
      return absl::UnimplementedError("the reference takes plain layouts only");
    }
    spec_ = spec;
    return Layout::kPlain;
  }

  absl::Status Run(const float* x, const float* w, const float* gy, float* gx, float* gw,
                   float* gb) override {
    const ConvSpec& conv = spec_.conv;
    const int64_t y_plane = Product(conv.window.out);
    if (spec_.data) {
      sums_.assign(static_cast<size_t>(conv.batch * conv.in_channels * Product(conv.window.in)), 0);
      if (conv.transposed) {
        Walk(
            [&](int64_t at, int64_t to, int64_t tap) { sums_[Size(at)] += Times(gy[to], w[tap]); });
      } else {
        Walk(
            [&](int64_t at, int64_t to, int64_t tap) { sums_[Size(to)] += Times(gy[at], w[tap]); });
      }
      std::copy(sums_.begin(), sums_.end(), gx);
    }
    if (!spec_.weights) return absl::OkStatus();
    const int64_t channels = conv.transposed ? conv.in_channels : conv.out_channels;
    const int64_t others = conv.transposed ? conv.out_channels : conv.in_channels;
    sums_.assign(static_cast<size_t>(channels * others / conv.groups * Product(conv.window.kernel)),
                 0);
    const float* placed = conv.transposed ? x : gy;
    const float* reached = conv.transposed ? gy : x;
    Walk([&](int64_t at, int64_t to, int64_t tap) {
      sums_[Size(tap)] += Times(placed[at], reached[to]);
    });
    std::copy(sums_.begin(), sums_.end(), gw);
    if (!conv.bias) return absl::OkStatus();
    sums_.assign(static_cast<size_t>(conv.out_channels), 0);
    for (int64_t i = 0; i < conv.batch * conv.out_channels * y_plane; ++i) {
      sums_[Size(i / y_plane % conv.out_channels)] += gy[i];
    }
    std::copy(sums_.begin(), sums_.end(), gb);
    return absl::OkStatus();
  }

 private:
  static size_t Size(int64_t index) { return static_cast<size_t>(index); }
  static double Times(float a, float b) { return static_cast<double>(a) * b; }

  // Calls fn(element of the placed side, element of the reached side, element of w) for each
  // product of the convolution.
  template <typename Fn>
  void Walk(Fn&& fn) const {
    const ConvSpec& conv = spec_.conv;
    const WindowSpec window = conv.transposed ? Mirrored(conv.window) : conv.window;
    const int64_t channels = conv.transposed ? conv.in_channels : conv.out_channels;
    const int64_t others = conv.transposed ? conv.out_channels : conv.in_channels;
    const int64_t group = channels / conv.groups;
    const int64_t other_group = others / conv.groups;
    const int64_t plane = Product(window.in);
    const int64_t taps = Product(window.kernel);
    int64_t from = 0;
    if (Product(window.out) == 0 || taps == 0) return;
    for (int64_t n = 0; n < conv.batch; ++n) {
      for (int64_t a = 0; a < channels; ++a) {
        const int64_t to = (n * others + a / group * other_group) * plane;
        Shape at(window.out.size(), 0);
        do {
          ForWindow(window, at, [&](int64_t offset, int64_t tap) {
            for (int64_t b = 0; b < other_group; ++b) {
              fn(from, to + b * plane + offset, (a * other_group + b) * taps + tap);
            }
          });
          ++from;
        } while (Next(window.out, at));
      }
    }
  }

  ConvGradSpec spec_;
  std::vector<double> sums_;
};

class ReferencePool : public PoolKernel {
 public:
  absl::Status Prepare(const PoolSpec& spec) override {
    if (spec.layout != Layout::kPlain) {
      return absl::UnimplementedError("the reference takes plain layouts only");
    }
    spec_ = spec;
    return absl::OkStatus();
  }

  absl::Status Run(const float* x, float* y) override {
    const int64_t plane = Product(spec_.window.in);
    for (int64_t p = 0; p < spec_.batch * spec_.channels; ++p, x += plane) {
      Shape at(spec_.window.out.size(), 0);
      do {
        *y++ = Pool(x, at);
      } while (Next(spec_.window.out, at));
    }
    return absl::OkStatus();
  }

 private:
  float Pool(const float* x, const Shape& at) const {
    if (spec_.kind == PoolSpec::Kind::kMax) {
      float largest = std::numeric_limits<float>::lowest();
      ForWindow(spec_.window, at, [&](int64_t offset, int64_t) {
        if (x[offset] > largest || std::isnan(x[offset])) largest = x[offset];
      });
      return largest;
    }
    double sum = 0;
    int64_t count = 0;
    ForWindow(spec_.window, at, [&](int64_t offset, int64_t) {
      sum += x[offset];
      ++count;
    });
    if (spec_.kind == PoolSpec::Kind::kAverageWithPads) count = Product(spec_.window.kernel);
    return count == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(count));
  }

  PoolSpec spec_;
};

class ReferenceGemm : public GemmKernel {
 public:
  absl::Status Run(const GemmArgs& g) override {
    if (g.m == 0 || g.n == 0) return absl::OkStatus();
    const auto size = static_cast<size_t>(g.m * g.n);
    if (!g.accumulate) {
      for (size_t i = 0; i < size; ++i) {
        g.c[i] = g.bias == nullptr ? 0.0f : g.bias[i % static_cast<size_t>(g.n)];
      }
    }
    constexpr int64_t kMost = std::numeric_limits<int>::max();
    if (std::max({g.m, g.n, g.k}) > kMost) {
      return absl::ResourceExhaustedError("a product of more than 2^31 rows or columns");
    }
    if (g.k > 0) {
      cblas_sgemm(CblasRowMajor, g.trans_a ? CblasTrans : CblasNoTrans,
                  g.trans_b ? CblasTrans : CblasNoTrans, static_cast<int>(g.m),
                  static_cast<int>(g.n), static_cast<int>(g.k), g.alpha, g.a,
                  static_cast<int>(g.trans_a ? g.m : g.k), g.b,
                  static_cast<int>(g.trans_b ? g.k : g.n), 1.0f, g.c, static_cast<int>(g.n));
    }
    for (size_t i = 0; i < size; ++i) g.c[i] = ReferencePostOp(g.post_op, g.c[i]);
    return absl::OkStatus();
  }
};

class ReferenceBackend : public Backend {
 public:
  absl::string_view name() const override { return "reference"; }
  std::unique_ptr<ConvKernel> MakeConv() override { return std::make_unique<ReferenceConv>(); }
  std::unique_ptr<ConvGradKernel> MakeConvGrad() override {
    return std::make_unique<ReferenceConvGrad>();
  }
  std::unique_ptr<PoolKernel> MakePool() override { return std::make_unique<ReferencePool>(); }
  std::unique_ptr<GemmKernel> MakeGemm() override { return std::make_unique<ReferenceGemm>(); }

  void Activate(const PostOp& op, int64_t count, float* x) override {
    for (int64_t i = 0; i < count; ++i) x[i] = ReferencePostOp(op, x[i]);
  }

  void Softmax(int64_t rows, int64_t n, bool log, const float* x, float* y) override {
    for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
      const float largest = *std::max_element(x, x + n);
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i] - largest));
      for (int64_t i = 0; i < n; ++i) {
        const double shifted = x[i] - largest;
        y[i] = static_cast<float>(log ? shifted - std::log(sum) : std::exp(shifted) / sum);
      }
    }
  }

  void Normalize(int64_t rows, int64_t n, bool centered, float epsilon, const float* x,
                 const float* scale, const float* bias, float* y, float* mean,
                 float* inverse) override {
    for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
      double sum = 0;
      for (int64_t i = 0; centered && i < n; ++i) sum += x[i];
      const double middle = sum / static_cast<double>(n);
      double squares = 0;
      for (int64_t i = 0; i < n; ++i) squares += (x[i] - middle) * (x[i] - middle);
      const double by = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
      for (int64_t i = 0; i < n; ++i) {
        y[i] = static_cast<float>((x[i] - middle) * by * (scale == nullptr ? 1.0f : scale[i]) +
                                  (bias == nullptr ? 0.0f : bias[i]));
      }
      if (mean != nullptr) mean[r] = static_cast<float>(middle);
      if (inverse != nullptr) inverse[r] = static_cast<float>(by);
    }
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace lathe::engine
