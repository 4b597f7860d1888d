// The fast backend against the plain one.
#include "worker/engine/kernels/backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "worker/engine/kernels/packed_gemm.h"

namespace lathe::engine {
namespace {

std::vector<float> Random(int64_t count, uint32_t seed, float spread = 1) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-spread, spread);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(engine);
  return values;
}

int64_t Product(const Shape& dims) {
  int64_t product = 1;
  for (const int64_t extent : dims) product *= extent;
  return product;
}

// Both sum up to `terms` products of numbers below 1 in float32, in different orders: an error of
// sqrt(terms) roundings of sums below sqrt(terms) or so, with room of a factor of 10.
void ExpectClose(const std::vector<float>& wanted, const std::vector<float>& got, int64_t terms) {
  ASSERT_EQ(wanted.size(), got.size());
  const float bound = 1e-6f * static_cast<float>(std::max<int64_t>(terms, 10));
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(wanted[i], got[i], bound) << "element " << i;
  }
}

// [N, C, plane] to and from the blocked layouts.
std::vector<float> Reordered(const std::vector<float>& in, int64_t batch, int64_t channels,
                             int64_t plane, Layout layout, bool to_blocked) {
  const int64_t block = LayoutBlock(layout);
  if (block == 1) return in;
  const int64_t blocks = (channels + block - 1) / block;
  const int64_t count = batch * plane * (to_blocked ? blocks * block : channels);
  std::vector<float> out(static_cast<size_t>(count), 0.0f);
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < plane; ++p) {
        const auto plain = static_cast<size_t>((n * channels + c) * plane + p);
        const auto blocked =
            static_cast<size_t>(((n * blocks + c / block) * plane + p) * block + c % block);
        (to_blocked ? out[blocked] : out[plain]) = in[to_blocked ? plain : blocked];
      }
    }
  }
  return out;
}

ConvSpec Conv(Shape in, int64_t in_channels, int64_t out_channels, Shape kernel, int64_t groups = 1,
              int64_t stride = 1, int64_t dilation = 1, int64_t pad = 0, int64_t pad_end = 0) {
  ConvSpec spec;
  spec.batch = 2;
  spec.in_channels = in_channels;
  spec.out_channels = out_channels;
  spec.groups = groups;
  WindowSpec& w = spec.window;
  for (size_t i = 0; i < in.size(); ++i) {
    const int64_t reach = (kernel[i] - 1) * dilation + 1;
    w.out.push_back((in[i] + pad + pad_end - reach) / stride + 1);
    w.pads_begin.push_back(pad);
    w.pads_end.push_back((w.out[i] - 1) * stride + reach - in[i] - pad);
  }
  w.strides.assign(in.size(), stride);
  w.dilations.assign(in.size(), dilation);
  w.in = std::move(in);
  w.kernel = std::move(kernel);
  return spec;
}

// The same window backwards.
ConvSpec Transposed(ConvSpec spec) {
  spec.transposed = true;
  std::swap(spec.window.in, spec.window.out);
  std::swap(spec.in_channels, spec.out_channels);
  return spec;
}

std::vector<ConvSpec> Convolutions() {
  return {
      Conv({9}, 3, 5, {3}),
      Conv({20}, 16, 32, {5}, 1, 2, 1, 2, 2),
      Conv({7, 9}, 3, 16, {3, 3}, 1, 2, 1, 1, 1),
      Conv({7, 9}, 16, 16, {3, 3}, 1, 1, 1, 1, 1),
      Conv({7, 9}, 16, 20, {1, 1}),
      Conv({8, 8}, 16, 24, {1, 1}, 1, 2),
      Conv({7, 9}, 10, 6, {3, 2}, 2, 1, 2),
      Conv({7, 9}, 16, 32, {3, 3}, 2, 1, 1, 1, 1),
      Conv({9, 9}, 24, 24, {3, 3}, 24, 1, 1, 1, 1),
      Conv({9, 9}, 12, 12, {5, 5}, 12, 2, 1, 2, 2),
      Conv({9, 9}, 8, 16, {3, 3}, 8, 1, 1, 0, 1),
      Conv({5, 6, 7}, 8, 8, {3, 3, 3}, 1, 1, 1, 1, 1),
      Conv({9, 9}, 1, 6, {5, 5}, 1, 1, 1, 2, 2),
      Conv({8, 8}, 6, 16, {5, 5}),
      Transposed(Conv({11}, 6, 4, {3}, 1, 2)),
      Transposed(Conv({9, 9}, 16, 8, {3, 3}, 1, 2, 1, 1, 1)),
      Transposed(Conv({9, 7}, 6, 4, {3, 3}, 2, 1, 2)),
      Transposed(Conv({8, 8}, 16, 16, {2, 2}, 16, 2)),
  };
}

std::vector<float> RunConv(BackendKind kind, const ConvSpec& spec, const std::vector<float>& x,
                           const std::vector<float>& w, const std::vector<float>& bias,
                           const std::vector<float>& residual) {
  const std::unique_ptr<Backend> backend = MakeBackend(kind);
  const std::unique_ptr<ConvKernel> kernel = backend->MakeConv();
  const auto layout = kernel->Prepare(spec);
  EXPECT_TRUE(layout.ok()) << layout.status();
  if (!layout.ok()) return {};
  const int64_t plane = Product(spec.window.out);
  const int64_t block = LayoutBlock(*layout);
  const int64_t stored = (spec.out_channels + block - 1) / block * block;
  std::vector<float> y(static_cast<size_t>(spec.batch * stored * plane));
  for (int run = 0; run < 2; ++run) {  // the second one with packed weights
    const absl::Status status =
        kernel->Run(x.data(), w.data(), spec.bias ? bias.data() : nullptr,
                    spec.residual ? residual.data() : nullptr, Layout::kPlain, y.data());
    EXPECT_TRUE(status.ok()) << status;
  }
  return Reordered(y, spec.batch, spec.out_channels, plane, *layout, false);
}

TEST(BackendTest, ConvolutionsAgree) {
  int number = 0;
  for (const ConvSpec& base : Convolutions()) {
    for (const PostOp::Kind op : {PostOp::Kind::kNone, PostOp::Kind::kRelu,
                                  PostOp::Kind::kHardSigmoid, PostOp::Kind::kSilu}) {
      for (const bool residual : {false, true}) {
        ConvSpec spec = base;
        spec.post_op = {op, op == PostOp::Kind::kHardSigmoid ? 0.3f : 1.0f, 0.4f};
        spec.bias = residual || op == PostOp::Kind::kRelu;
        spec.residual = residual;
        spec.constant_weights = op != PostOp::Kind::kSilu;
        const int64_t in_plane = Product(spec.window.in);
        const auto x = Random(spec.batch * spec.in_channels * in_plane, 1);
        const int64_t taps = Product(spec.window.kernel);
        const auto w = Random(spec.in_channels * spec.out_channels / spec.groups * taps, 2);
        const auto bias = Random(spec.out_channels, 3);
        const auto added = Random(spec.batch * spec.out_channels * Product(spec.window.out), 4);
        const auto wanted = RunConv(BackendKind::kReference, spec, x, w, bias, added);
        for (const Layout layout : {Layout::kPlain, Layout::kBlocked8}) {
          SCOPED_TRACE(testing::Message()
                       << "case " << number << ", post-op " << static_cast<int>(op) << ", residual "
                       << residual << ", layout " << static_cast<int>(layout));
          spec.x_layout = layout;
          const auto in = Reordered(x, spec.batch, spec.in_channels, in_plane, layout, true);
          ExpectClose(wanted, RunConv(BackendKind::kOneDnn, spec, in, w, bias, added),
                      taps * spec.in_channels / spec.groups);
        }
      }
    }
    ++number;
  }
}

struct ConvGrads {
  std::vector<float> x;
  std::vector<float> w;
  std::vector<float> b;
};

ConvGrads RunConvGrad(BackendKind kind, const ConvGradSpec& spec, const std::vector<float>& x,
                      const std::vector<float>& w, const std::vector<float>& gy) {
  const std::unique_ptr<Backend> backend = MakeBackend(kind);
  const std::unique_ptr<ConvGradKernel> kernel = backend->MakeConvGrad();
  const auto layout = kernel->Prepare(spec);
  EXPECT_TRUE(layout.ok()) << layout.status();
  if (!layout.ok()) return {};
  const ConvSpec& conv = spec.conv;
  const int64_t plane = Product(conv.window.in);
  const int64_t block = LayoutBlock(*layout);
  const int64_t stored = (conv.in_channels + block - 1) / block * block;
  ConvGrads out;
  out.x.assign(static_cast<size_t>(conv.batch * stored * plane), -7.0f);
  out.w.assign(w.size(), -7.0f);
  out.b.assign(static_cast<size_t>(conv.out_channels), -7.0f);
  const absl::Status status = kernel->Run(x.data(), w.data(), gy.data(), out.x.data(), out.w.data(),
                                          spec.conv.bias ? out.b.data() : nullptr);
  EXPECT_TRUE(status.ok()) << status;
  out.x = Reordered(out.x, conv.batch, conv.in_channels, plane, *layout, false);
  return out;
}

TEST(BackendTest, GradientsOfConvolutionsAgree) {
  int number = 0;
  for (const ConvSpec& conv : Convolutions()) {
    for (const bool bias : {false, true}) {
      ConvGradSpec spec;
      spec.conv = conv;
      spec.conv.bias = bias;
      spec.data = true;
      spec.weights = true;
      const int64_t in_plane = Product(conv.window.in);
      const int64_t out_plane = Product(conv.window.out);
      const int64_t taps = Product(conv.window.kernel);
      const auto x = Random(conv.batch * conv.in_channels * in_plane, 1);
      const auto w = Random(conv.in_channels * conv.out_channels / conv.groups * taps, 2);
      const auto gy = Random(conv.batch * conv.out_channels * out_plane, 3);
      const ConvGrads wanted = RunConvGrad(BackendKind::kReference, spec, x, w, gy);
      for (const Layout x_layout : {Layout::kPlain, Layout::kBlocked8}) {
        for (const Layout y_layout : {Layout::kPlain, Layout::kBlocked8}) {
          SCOPED_TRACE(testing::Message()
                       << "case " << number << ", bias " << bias << ", layouts "
                       << static_cast<int>(x_layout) << static_cast<int>(y_layout));
          spec.conv.x_layout = x_layout;
          spec.y_layout = y_layout;
          const auto in = Reordered(x, conv.batch, conv.in_channels, in_plane, x_layout, true);
          const auto g = Reordered(gy, conv.batch, conv.out_channels, out_plane, y_layout, true);
          const ConvGrads got = RunConvGrad(BackendKind::kOneDnn, spec, in, w, g);
          ExpectClose(wanted.x, got.x, taps * conv.out_channels / conv.groups);
          ExpectClose(wanted.w, got.w, conv.batch * std::max(in_plane, out_plane));
          if (bias) ExpectClose(wanted.b, got.b, conv.batch * out_plane);
        }
      }
    }
    ++number;
  }
}

TEST(BackendTest, PoolsAgree) {
  for (const Shape& in : {Shape{20}, Shape{9, 11}, Shape{5, 6, 7}}) {
    for (const auto kind :
         {PoolSpec::Kind::kMax, PoolSpec::Kind::kAverage, PoolSpec::Kind::kAverageWithPads}) {
      for (const int64_t dilation : {1, 2}) {
        for (const Layout layout : {Layout::kPlain, Layout::kBlocked8}) {
          PoolSpec spec;
          spec.kind = kind;
          spec.window = Conv(in, 1, 1, Shape(in.size(), 3), 1, 2, dilation, 1, 1).window;
          spec.batch = 2;
          spec.channels = 11;
          const auto x = Random(2 * 11 * Product(in), 5);
          const int64_t plane = Product(spec.window.out);
          std::vector<float> wanted(static_cast<size_t>(2 * 11 * plane));
          const auto plain = MakeBackend(BackendKind::kReference)->MakePool();
          ASSERT_TRUE(plain->Prepare(spec).ok());
          ASSERT_TRUE(plain->Run(x.data(), wanted.data()).ok());
          spec.layout = layout;
          const auto backend = MakeBackend(BackendKind::kOneDnn);
          const auto kernel = backend->MakePool();
          ASSERT_TRUE(kernel->Prepare(spec).ok());
          std::vector<float> y(static_cast<size_t>(2 * 16 * plane));
          const auto given = Reordered(x, 2, 11, Product(in), layout, true);
          ASSERT_TRUE(kernel->Run(given.data(), y.data()).ok());
          y = Reordered(y, 2, 11, plane, layout, false);
          y.resize(wanted.size());
          ExpectClose(wanted, y, 27);
        }
      }
    }
  }
}

TEST(BackendTest, ProductsAgree) {
  const auto backend = MakeBackend(BackendKind::kOneDnn);
  const auto plain = MakeBackend(BackendKind::kReference);
  for (const int64_t m : {1, 2, 3, 7, 50, 245}) {
    for (const int64_t n : {1, 5, 16, 33, 96}) {
      for (const int64_t k : {1, 17, 300}) {
        for (int form = 0; form < 16; ++form) {
          GemmArgs g;
          g.m = m;
          g.n = n;
          g.k = k;
          g.trans_a = (form & 1) != 0;
          g.trans_b = (form & 2) != 0;
          g.b_slot = (form & 4) != 0 ? 0 : -1;
          g.alpha = (form & 8) != 0 ? 0.5f : 1.0f;
          g.accumulate = form == 5 || form == 10;
          if (form % 3 == 0) g.post_op = {PostOp::Kind::kRelu, 0, 0};
          const auto a = Random(m * k, 6);
          const auto b = Random(k * n, 7);
          const auto bias = Random(n, 8);
          g.a = a.data();
          g.b = b.data();
          if (form % 2 == 0) g.bias = bias.data();
          auto wanted = Random(m * n, 9);
          auto got = wanted;
          g.c = wanted.data();
          ASSERT_TRUE(plain->MakeGemm()->Run(g).ok());
          g.c = got.data();
          ASSERT_TRUE(backend->MakeGemm()->Run(g).ok());
          SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << ", form " << form);
          ExpectClose(wanted, got, k);
        }
      }
    }
  }
}

// A row's result must not depend on how many rows there are, or batches would change answers.
TEST(BackendTest, ARowOfAProductIsTheSameAmongOthers) {
  const int64_t n = 70;
  const int64_t k = 600;
  const auto a = Random(9 * k, 10);
  const auto b = Random(k * n, 11);
  const auto backend = MakeBackend(BackendKind::kOneDnn);
  GemmArgs g;
  g.n = n;
  g.k = k;
  g.a = a.data();
  g.b = b.data();
  std::vector<float> all(static_cast<size_t>(9 * n));
  std::vector<float> one(static_cast<size_t>(n));
  g.m = 9;
  g.c = all.data();
  ASSERT_TRUE(backend->MakeGemm()->Run(g).ok());
  g.m = 1;
  g.c = one.data();
  ASSERT_TRUE(backend->MakeGemm()->Run(g).ok());
  EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin()));
}

TEST(BackendTest, RowsAgree) {
  const auto backend = MakeBackend(BackendKind::kOneDnn);
  const auto plain = MakeBackend(BackendKind::kReference);
  for (const int64_t n : {1, 3, 16, 37, 384}) {
    const auto x = Random(5 * n, 12, 20);
    const auto scale = Random(n, 13);
    const auto bias = Random(n, 14);
    std::vector<float> wanted(x.size());
    std::vector<float> got(x.size());
    for (const bool log : {false, true}) {
      plain->Softmax(5, n, log, x.data(), wanted.data());
      backend->Softmax(5, n, log, x.data(), got.data());
      // A logarithm reaches 40: 4 ulp of it.
      ExpectClose(wanted, got, log ? 16 : 1);
    }
    for (const bool centered : {false, true}) {
      std::vector<float> stats(20);
      plain->Normalize(5, n, centered, 1e-3f, x.data(), scale.data(), bias.data(), wanted.data(),
                       stats.data(), stats.data() + 5);
      backend->Normalize(5, n, centered, 1e-3f, x.data(), scale.data(), bias.data(), got.data(),
                         stats.data() + 10, stats.data() + 15);
      ExpectClose(wanted, got, 10);
      for (size_t i = 0; i < 10; ++i) EXPECT_NEAR(stats[i], stats[i + 10], 2e-5f);
    }
  }
}

TEST(BackendTest, PostOpsAgreeAndKeepNan) {
  using Kind = PostOp::Kind;
  std::vector<float> x = Random(203, 15, 12);
  x.insert(x.end(), {0.0f, -0.0f, 100.0f, -100.0f, 1e-6f, -1e-6f});
  for (const Kind kind :
       {Kind::kRelu, Kind::kClip, Kind::kLeakyRelu, Kind::kElu, Kind::kSigmoid, Kind::kTanh,
        Kind::kHardSigmoid, Kind::kHardSwish, Kind::kSilu, Kind::kGelu, Kind::kGeluTanh}) {
    PostOp op{kind, 0.7f, 1.5f};
    if (kind == Kind::kClip) op.alpha = -1;
    std::vector<float> got = x;
    ApplyPostOp(op, static_cast<int64_t>(got.size()), got.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const float wanted = ReferencePostOp(op, x[i]);
      // A few ulp, and 1e-7 of x where x is multiplied by a function's absolute error.
      EXPECT_NEAR(got[i], wanted, 4e-7f * (1 + std::abs(wanted) + std::abs(x[i])))
          << static_cast<int>(kind) << " of " << x[i];
    }
    float nan = std::nanf("");
    ApplyPostOp(op, 1, &nan);
    if (kind != Kind::kHardSigmoid && kind != Kind::kHardSwish) {
      EXPECT_TRUE(std::isnan(nan)) << static_cast<int>(kind);
    }
  }
}

}  // namespace
}  // namespace lathe::engine
