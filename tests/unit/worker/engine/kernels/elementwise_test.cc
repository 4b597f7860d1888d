#include "worker/engine/kernels/elementwise.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace lathe::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct MapCase {
  std::string name;
  MapOp op;
  float alpha;
  float beta;
  std::function<double(double)> exact;
  // Of the arithmetic before the last step, which cancels: absolute.
  double absolute;
};

double Hard(double x, double a, double b) { return std::min(1.0, std::max(0.0, a * x + b)); }
double Logistic(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<MapCase> MapCases() {
  return {
      {"Relu", MapOp::kRelu, 0, 0, [](double x) { return std::max(x, 0.0); }, 0},
      {"LeakyRelu", MapOp::kLeakyRelu, 0.25F, 0, [](double x) { return x < 0 ? x / 4 : x; }, 0},
      {"Clip", MapOp::kClip, -1, 2, [](double x) { return std::min(2.0, std::max(-1.0, x)); }, 0},
      {"Exp", MapOp::kExp, 0, 0, [](double x) { return std::exp(x); }, 0},
      {"Sigmoid", MapOp::kSigmoid, 0, 0, Logistic, 0},
      {"Tanh", MapOp::kTanh, 0, 0, [](double x) { return std::tanh(x); }, 0},
      {"Erf", MapOp::kErf, 0, 0, [](double x) { return std::erf(x); }, 0},
      {"Elu", MapOp::kElu, 1.5F, 1, [](double x) { return x < 0 ? 1.5 * std::expm1(x) : x; }, 0},
      {"HardSigmoid", MapOp::kHardSigmoid, 0.25F, 0.5F, [](double x) { return Hard(x, 0.25, 0.5); },
       6e-8},
      {"HardSwish", MapOp::kHardSwish, 0.25F, 0.5F, [](double x) { return x * Hard(x, 0.25, 0.5); },
       2e-7},
      {"Swish", MapOp::kSwish, 1.5F, 0, [](double x) { return x * Logistic(1.5 * x); }, 1e-9},
      {"Mish", MapOp::kMish, 0, 0, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); },
       0},
      // 1 + erf cancels on the negative side: an error of erf's of 2^-24 times 6, times x / 2,
      // which is at most 3 where the sum is not zero.
      {"Gelu", MapOp::kGelu, 0, 0,
       [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }, 1.1e-6},
      {"GeluTanh", MapOp::kGeluTanh, 0, 0,
       [](double x) {
         return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       1.1e-6},
  };
}

std::vector<float> Points() {
  std::vector<float> points;
  for (int i = -20000; i <= 20000; ++i) points.push_back(static_cast<float>(i) * 1e-3F);
  for (int e = -140; e < 6; ++e) {
    for (const float sign : {-1.0F, 1.0F}) points.push_back(sign * std::ldexp(1.37F, e));
  }
  for (const float x : {0.0F, -87.0F, 87.0F, 88.5F, -95.0F, -103.0F}) points.push_back(x);
  return points;
}

// On every instruction set that the machine has.
class ElementwiseTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

INSTANTIATE_TEST_SUITE_P(Targets, ElementwiseTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& given) { return hwy::TargetName(given.param); });

TEST_P(ElementwiseTest, MapsAreWithinEightUnitsInTheLastPlace) {
  const std::vector<float> in = Points();
  std::vector<float> out(in.size());
  for (const MapCase& c : MapCases()) {
    ApplyMap(c.op, c.alpha, c.beta, in.data(), static_cast<int64_t>(in.size()), out.data());
    for (size_t i = 0; i < in.size(); ++i) {
      const double exact = c.exact(in[i]);
      if (std::abs(exact) > std::numeric_limits<float>::max()) continue;
      // Each step is off by half a unit at most; there are fewer than sixteen that do not cancel.
      // Below the normal numbers a unit is 2^-149; steps lose up to 32 of them, and a product with
      // the operand (Mish, SiLU) magnifies that.
      const double smallest = 0x1p-144 * std::max(1.0, std::abs(static_cast<double>(in[i])));
      const double bound = 8 * std::ldexp(std::abs(exact), -23) + smallest + c.absolute;
      ASSERT_NEAR(out[i], exact, bound) << c.name << " of " << in[i];
    }
  }
}

TEST_P(ElementwiseTest, NaNStaysAndInfinityGivesTheLimit) {
  const float in[] = {std::nanf(""), kInf, -kInf};
  float out[3];
  for (const MapCase& c : MapCases()) {
    ApplyMap(c.op, c.alpha, c.beta, in, 3, out);
    EXPECT_TRUE(std::isnan(out[0])) << c.name;
  }
  ApplyMap(MapOp::kExp, 0, 0, in, 3, out);
  EXPECT_EQ(out[1], kInf);
  EXPECT_EQ(out[2], 0);
  ApplyMap(MapOp::kGelu, 0, 0, in, 3, out);
  EXPECT_EQ(out[1], kInf);
  EXPECT_EQ(out[2], 0);
}

TEST_P(ElementwiseTest, AnElementDoesNotDependOnItsPlace) {
  std::vector<float> in(37);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i) * 0.37F - 6;
  std::vector<float> whole(in.size());
  for (const MapCase& c : MapCases()) {
    ApplyMap(c.op, c.alpha, c.beta, in.data(), 37, whole.data());
    for (size_t i = 0; i < in.size(); ++i) {
      float alone = 0;
      ApplyMap(c.op, c.alpha, c.beta, &in[i], 1, &alone);
      ASSERT_EQ(alone, whole[i]) << c.name;
    }
    ApplyMap(c.op, c.alpha, c.beta, whole.data(), 0, whole.data());
  }
}

TEST_P(ElementwiseTest, PairsAreExactForEveryLengthAndStep) {
  const auto exact = [](PairOp op, float x, float y) {
    switch (op) {
      case PairOp::kAdd:
        return x + y;
      case PairOp::kSub:
        return x - y;
      case PairOp::kMul:
        return x * y;
      case PairOp::kDiv:
        return x / y;
      case PairOp::kMin:
        return std::min(x, y);
      case PairOp::kMax:
        return std::max(x, y);
    }
    return 0.0F;
  };
  std::vector<float> a(70);
  std::vector<float> b(70);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<float>(i) - 30.5F;
    b[i] = 13.25F - static_cast<float>(i * 7 % 31);
  }
  for (const PairOp op :
       {PairOp::kAdd, PairOp::kSub, PairOp::kMul, PairOp::kDiv, PairOp::kMin, PairOp::kMax}) {
    for (int64_t count = 0; count <= 70; ++count) {
      for (int steps = 0; steps < 4; ++steps) {
        std::vector<float> out(71, 99);
        ApplyPair(op, a.data(), steps & 1, b.data(), steps >> 1, count, out.data());
        for (int64_t i = 0; i < count; ++i) {
          ASSERT_EQ(out[i], exact(op, a[i * (steps & 1)], b[i * (steps >> 1)]));
        }
        ASSERT_EQ(out[count], 99);
      }
    }
  }
}

TEST_P(ElementwiseTest, MinimumAndMaximumOfNaNAreNaN) {
  const float a[] = {std::nanf(""), 1, -kInf};
  const float b[] = {1, std::nanf(""), kInf};
  float out[3];
  for (const PairOp op : {PairOp::kMin, PairOp::kMax}) {
    ApplyPair(op, a, 1, b, 1, 3, out);
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_TRUE(std::isnan(out[1]));
    EXPECT_EQ(out[2], op == PairOp::kMin ? -kInf : kInf);
  }
}

}  // namespace
}  // namespace lathe::engine
