#include "worker/engine/kernels/quantize.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace lathe::engine {
namespace {

constexpr int64_t kLengths[] = {1,  2,  3,  7,   8,    15,   16,   17,   31,
                                32, 33, 64, 100, 1023, 1024, 1025, 2500, 5000};

std::vector<float> Normal(int64_t count, unsigned seed, float scale = 1, float shift = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(shift, scale);
  std::vector<float> w(static_cast<size_t>(count));
  for (float& x : w) x = normal(random);
  return w;
}

int Lowest(const RoundingRule& r) { return r.symmetric ? -((1 << (r.bits - 1)) - 1) : 0; }
int Highest(const RoundingRule& r) {
  return r.symmetric ? (1 << (r.bits - 1)) - 1 : (1 << r.bits) - 1;
}
int Stored(int8_t q, const RoundingRule& r) {
  return r.symmetric ? static_cast<int>(q) : static_cast<int>(static_cast<uint8_t>(q));
}

// Least error that any integer of the range leaves, weight by weight, in float64.
double BestError(const std::vector<float>& w, const SetScale& s, const RoundingRule& r) {
  double total = 0;
  for (const float x : w) {
    const double q = std::clamp(std::nearbyint(static_cast<double>(x) / s.scale) + s.zero_point,
                                static_cast<double>(Lowest(r)), static_cast<double>(Highest(r)));
    const double e = x - (q - s.zero_point) * static_cast<double>(s.scale);
    total += e * e;
  }
  return total;
}

// Runs `check` on every instruction set that this processor has.
template <typename Check>
void OnEveryTarget(const Check& check) {
  const int64_t all = hwy::SupportedTargets();
  for (int64_t rest = all; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(QuantizeKernels, ScaleIsThatOfTheRange) {
  for (const int64_t n : kLengths) {
    const std::vector<float> w = Normal(n, 1, 0.3f, 0.1f);
    float low = 0;
    float high = 0;
    for (const float x : w) {
      low = std::min(low, x);
      high = std::max(high, x);
    }
    for (int bits = 2; bits <= 8; ++bits) {
      const RoundingRule symmetric{bits, true, false};
      EXPECT_EQ(FindScale(w.data(), n, symmetric).scale,
                std::max(-low, high) / static_cast<float>(Highest(symmetric)));
      const RoundingRule affine{bits, false, false};
      const SetScale s = FindScale(w.data(), n, affine);
      EXPECT_FLOAT_EQ(s.scale, (high - low) / static_cast<float>(Highest(affine)));
      EXPECT_NEAR(s.zero_point, -low / s.scale, 0.5001);
      EXPECT_GE(s.zero_point, 0);
      EXPECT_LE(s.zero_point, Highest(affine));
    }
  }
}

TEST(QuantizeKernels, RoundsToTheNearestIntegerOfTheRange) {
  for (const int64_t n : kLengths) {
    const std::vector<float> w = Normal(n, 2, 0.3f, 0.05f);
    for (int bits = 2; bits <= 8; ++bits) {
      for (const bool symmetric : {true, false}) {
        for (const bool clip : {true, false}) {
          const RoundingRule rule{bits, symmetric, clip};
          const SetScale s = FindScale(w.data(), n, rule);
          std::vector<int8_t> q(w.size());
          RoundSet(w.data(), n, rule, s, q.data());
          for (size_t i = 0; i < w.size(); ++i) {
            const int stored = Stored(q[i], rule);
            ASSERT_GE(stored, Lowest(rule));
            ASSERT_LE(stored, Highest(rule));
            const double exact =
                std::clamp(static_cast<double>(w[i]) / s.scale + s.zero_point,
                           static_cast<double>(Lowest(rule)), static_cast<double>(Highest(rule)));
            // Half a step, and what the float32 product may be off: 2^-22 of at most 2^9.
            ASSERT_LE(std::abs(stored - exact), 0.5 + 0x1p-13);
          }
        }
      }
    }
  }
}

TEST(QuantizeKernels, TiesGoToEven) {
  const float w[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, 127.0f};
  const RoundingRule rule{8, true, false};
  int8_t q[8];
  RoundSet(w, 8, rule, FindScale(w, 8, rule), q);
  const int8_t expected[] = {0, 2, 2, 0, -2, -2, 126, 127};
  EXPECT_TRUE(std::equal(q, q + 8, expected));
  // An odd zero point does not change which way a tie goes.
  const RoundingRule affine{8, false, false};
  RoundSet(w, 6, affine, SetScale{1.0f, 3}, q);
  const uint8_t shifted[] = {3, 5, 5, 3, 1, 1};
  EXPECT_EQ(std::memcmp(q, shifted, 6), 0);
}

TEST(QuantizeKernels, SearchIsNeverWorseThanTheRange) {
  for (const int64_t n : kLengths) {
    std::vector<float> w = Normal(n, 3);
    w[static_cast<size_t>(n / 2)] *= 6;
    for (int bits = 2; bits <= 8; ++bits) {
      for (const bool symmetric : {true, false}) {
        const RoundingRule plain{bits, symmetric, false};
        const RoundingRule clip{bits, symmetric, true};
        // float32 sums of at most 64 squares a slot: 64 * 2^-24.
        EXPECT_LE(BestError(w, FindScale(w.data(), n, clip), clip),
                  BestError(w, FindScale(w.data(), n, plain), plain) * (1 + 0x1p-17));
      }
    }
  }
}

TEST(QuantizeKernels, SearchFindsTheBestOfTwentyRatios) {
  for (const int64_t n : {32, 100, 3000}) {
    std::vector<float> w = Normal(n, 4);
    w[3] = 9;
    for (const int bits : {2, 4, 8}) {
      const RoundingRule rule{bits, true, true};
      const float smallest = bits <= 4 ? 0.3f : 0.5f;
      double least = 1e300;
      for (int p = 0; p < 20; ++p) {
        const float ratio = 1 - (1 - smallest) * static_cast<float>(p) / 19;
        const SetScale s{9 * ratio / static_cast<float>(Highest(rule)), 0};
        least = std::min(least, BestError(w, s, rule));
      }
      EXPECT_NEAR(BestError(w, FindScale(w.data(), n, rule), rule) / least, 1, 1e-4);
    }
  }
}

// The search as quantize.h defines it: a sum of sixteen slots for each ratio, the first of the
// least.
float PlainSearch(const std::vector<float>& w, const RoundingRule& rule) {
  const auto highest = static_cast<float>(Highest(rule));
  float largest = 0;
  for (const float x : w) largest = std::max(largest, std::abs(x));
  const float smallest = rule.bits <= 4 ? 0.3f : 0.5f;
  double least = std::numeric_limits<double>::infinity();
  float best = 1;
  for (int point = 0; point < 20; ++point) {
    const float ratio = 1.0f - (1.0f - smallest) * (static_cast<float>(point) * (1.0f / 19));
    const float scale = SymmetricScale(largest * ratio, highest);
    const float inverse = 1.0f / scale;
    float slots[16] = {};
    for (size_t i = 0; i < w.size(); ++i) {
      const float t = w[i] * inverse;
      const float e = t - std::min(std::max(std::nearbyint(t), -highest), highest);
      slots[i % 16] += e * e;
    }
    float four[4];
    for (int i = 0; i < 4; ++i)
      four[i] = (slots[i] + slots[i + 8]) + (slots[i + 4] + slots[i + 12]);
    const float sum = (four[0] + four[2]) + (four[1] + four[3]);
    const double error =
        static_cast<double>(scale) * static_cast<double>(scale) * static_cast<double>(sum);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

TEST(QuantizeKernels, TheSearchIsThePlainOneBitForBitAtAnyLength) {
  for (const int bits : {2, 3, 4, 8}) {
    const RoundingRule rule{bits, true, true};
    for (const int64_t n : {1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 100, 127, 128, 129, 500, 1024}) {
      for (unsigned seed = 0; seed < 20; ++seed) {
        const std::vector<float> w = Normal(n, 100 + seed, 0.7f);
        const float expected = PlainSearch(w, rule);
        OnEveryTarget([&] {
          ASSERT_EQ(FindScale(w.data(), n, rule).scale, expected)
              << bits << ' ' << n << ' ' << seed;
        });
      }
    }
    const std::vector<float> zeros(40, 0.0f);
    EXPECT_EQ(FindScale(zeros.data(), 40, rule).scale, 1.0f);
  }
}

TEST(QuantizeKernels, ErrorIsThatOfTheDecodedWeights) {
  for (const int64_t n : kLengths) {
    const std::vector<float> w = Normal(n, 5, 0.3f, 0.1f);
    for (const bool symmetric : {true, false}) {
      const RoundingRule rule{6, symmetric, false};
      const SetScale s = FindScale(w.data(), n, rule);
      std::vector<int8_t> q(w.size());
      RoundSet(w.data(), n, rule, s, q.data());
      double error = 0;
      double signal = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        const double e = w[i] - static_cast<double>(Stored(q[i], rule) - s.zero_point) * s.scale;
        error += e * e;
        signal += static_cast<double>(w[i]) * w[i];
      }
      const SquaredSums sums = SetError(w.data(), q.data(), n, rule, s);
      // Decoding rounds once: 2^-24 of a weight, against errors of up to a hundredth of it.
      EXPECT_NEAR(sums.error, error, 1e-4 * error + 1e-13 * signal);
      EXPECT_NEAR(sums.signal, signal, 1e-13 * signal);
    }
  }
}

TEST(QuantizeKernels, HugeTinyAndZeroWeightsAreDefined) {
  for (const int bits : {2, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      for (const bool clip : {true, false}) {
        const RoundingRule rule{bits, symmetric, clip};
        for (const float size : {FLT_MAX, 1e30f, 1e-36f, FLT_MIN, FLT_TRUE_MIN, 0.0f}) {
          std::vector<float> w = {size, -size, size / 2, -size / 4, 0};
          w.resize(40, 0.0f);
          const SetScale s = FindScale(w.data(), 40, rule);
          ASSERT_TRUE(std::isfinite(s.scale) && s.scale > 0) << size;
          ASSERT_TRUE(std::isfinite(1 / s.scale)) << size;
          std::vector<int8_t> q(w.size());
          RoundSet(w.data(), 40, rule, s, q.data());
          EXPECT_EQ(Stored(q.back(), rule), s.zero_point);  // zero stays zero
          const SquaredSums sums = SetError(w.data(), q.data(), 40, rule, s);
          EXPECT_TRUE(std::isfinite(sums.error) && std::isfinite(sums.signal)) << size;
          EXPECT_LE(sums.error, sums.signal * 1.01) << size;
        }
      }
    }
  }
}

TEST(QuantizeKernels, PacksTheLowNibbleFirst) {
  for (const int64_t n : kLengths) {
    std::mt19937 random(6);
    std::vector<int8_t> q(static_cast<size_t>(n));
    for (int8_t& x : q) x = static_cast<int8_t>(static_cast<int>(random() % 16) - 8);
    std::vector<uint8_t> packed(static_cast<size_t>((n + 1) / 2), 0xee);
    OnEveryTarget([&] {
      PackNibbles(q.data(), n, packed.data());
      for (int64_t i = 0; i < n; ++i) {
        const uint8_t nibble = (packed[static_cast<size_t>(i / 2)] >> (i % 2 * 4)) & 0x0f;
        ASSERT_EQ(nibble, static_cast<uint8_t>(q[static_cast<size_t>(i)]) & 0x0f) << n << ' ' << i;
      }
      if (n % 2 == 1) {
        EXPECT_EQ(packed.back() >> 4, 0);
      }
    });
  }
}

TEST(QuantizeKernels, RoundingInOneGoEqualsSetBySet) {
  for (const int64_t n : {1, 33, 1000, 4096, 10000}) {
    const std::vector<float> w = Normal(n, 7);
    for (const int64_t set : {2, 16, 32, 34, 128, 1000, 1024, 1026, 3000, 20000}) {
      for (const int bits : {2, 3, 4, 8}) {
        const RoundingRule rule{bits, true, false};
        const int64_t sets = (n + set - 1) / set;
        std::vector<float> scales(static_cast<size_t>(sets));
        std::vector<int8_t> q(w.size());
        for (int64_t s = 0; s < sets; ++s) {
          const int64_t at = s * set;
          const int64_t length = std::min(set, n - at);
          const SetScale scale = FindScale(w.data() + at, length, rule);
          scales[static_cast<size_t>(s)] = scale.scale;
          RoundSet(w.data() + at, length, rule, scale, q.data() + at);
        }
        std::vector<uint8_t> packed(static_cast<size_t>((n + 1) / 2));
        PackNibbles(q.data(), n, packed.data());
        OnEveryTarget([&] {
          std::vector<float> found(scales.size());
          std::vector<uint8_t> bytes(w.size());
          RoundSets(w.data(), n, set, bits, /*nibbles=*/false, bytes.data(), found.data());
          ASSERT_EQ(found, scales) << n << ' ' << set;
          ASSERT_EQ(std::memcmp(bytes.data(), q.data(), q.size()), 0) << n << ' ' << set;
          if (bits > 4) return;
          std::vector<uint8_t> nibbles(packed.size());
          RoundSets(w.data(), n, set, bits, /*nibbles=*/true, nibbles.data(), found.data());
          ASSERT_EQ(found, scales) << n << ' ' << set;
          ASSERT_EQ(nibbles, packed) << n << ' ' << set << ' ' << bits;
        });
      }
    }
  }
}

TEST(QuantizeKernels, EveryInstructionSetGivesTheSameBits) {
  for (const int64_t n : kLengths) {
    const std::vector<float> w = Normal(n, 8, 0.3f, 0.1f);
    for (const int bits : {2, 4, 8}) {
      for (const bool symmetric : {true, false}) {
        const RoundingRule rule{bits, symmetric, true};
        std::vector<std::string> results;
        OnEveryTarget([&] {
          const SetScale s = FindScale(w.data(), n, rule);
          std::vector<int8_t> q(w.size());
          RoundSet(w.data(), n, rule, s, q.data());
          const SquaredSums sums = SetError(w.data(), q.data(), n, rule, s);
          std::string bytes(reinterpret_cast<const char*>(q.data()), q.size());
          bytes.append(reinterpret_cast<const char*>(&s), sizeof(s));
          bytes.append(reinterpret_cast<const char*>(&sums), sizeof(sums));
          results.push_back(std::move(bytes));
        });
        ASSERT_GE(results.size(), 1u);
        for (const std::string& r : results) EXPECT_EQ(r, results.front()) << n << ' ' << bits;
      }
    }
  }
}

TEST(QuantizeKernels, ErrorWithMultipliersIsThatOfTheMultipliedWeights) {
  for (const int64_t n : kLengths) {
    const std::vector<float> w = Normal(n, 8, 0.3f, 0.1f);
    std::vector<float> by = Normal(n, 9, 0.2f, 2.0f);
    for (float& b : by) b = std::max(b, 0.5f);
    std::vector<float> divided(w.size());
    OnEveryTarget([&] {
      DivideEach(w.data(), by.data(), n, divided.data());
      for (size_t i = 0; i < w.size(); ++i) ASSERT_EQ(divided[i], w[i] / by[i]);
    });
    for (const bool symmetric : {true, false}) {
      const RoundingRule rule{6, symmetric, false};
      const SetScale s = FindScale(divided.data(), n, rule);
      std::vector<int8_t> q(w.size());
      RoundSet(divided.data(), n, rule, s, q.data());
      double error = 0;
      double signal = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        const float decoded =
            static_cast<float>(Stored(q[i], rule) - s.zero_point) * s.scale * by[i];
        const double e = static_cast<double>(w[i]) - static_cast<double>(decoded);
        error += e * e;
        signal += static_cast<double>(w[i]) * w[i];
      }
      OnEveryTarget([&] {
        const SquaredSums sums = SetError(w.data(), q.data(), n, rule, s, by.data());
        // Differences are float32 on both sides: what is left is the order of float64 sums.
        EXPECT_NEAR(sums.error, error, 1e-6 * error + 1e-13 * signal);
        EXPECT_NEAR(sums.signal, signal, 1e-13 * signal);
      });
    }
  }
}

}  // namespace
}  // namespace lathe::engine
