#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/channel_blocks.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>

#include "worker/engine/kernels/channel_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Pixels that are summed in float32 before double precision takes over.
constexpr int64_t kRun = 128;

// The channels of a vector: some of the block's.
template <int kBlock>
struct Lanes {
  using D = hn::CappedTag<float, kBlock>;
  using V = hn::Vec<D>;
  static constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(D()));
};

template <int kBlock>
HWY_INLINE void AddTo(hn::Vec<typename Lanes<kBlock>::D> sum, double* to) {
  using L = Lanes<kBlock>;
  HWY_ALIGN float lanes[L::kWidth];
  hn::Store(sum, typename L::D(), lanes);
  for (int64_t j = 0; j < L::kWidth; ++j) to[j] += static_cast<double>(lanes[j]);
}

template <int kBlock>
void Sum(int64_t pixels, const float* center, const float* x, const float* g, BlockSums& sums) {
  using L = Lanes<kBlock>;
  const typename L::D d;
  for (int64_t lane = 0; lane < kBlock; lane += L::kWidth) {
    const auto middle = hn::LoadU(d, center + lane);
    for (int64_t first = 0; first < pixels; first += kRun) {
      const int64_t last = std::min(first + kRun, pixels);
      // Even and odd pixels apart, so that one addition need not wait for the last.
      typename L::V away[2] = {hn::Zero(d), hn::Zero(d)};
      typename L::V squares[2] = {hn::Zero(d), hn::Zero(d)};
      typename L::V grads[2] = {hn::Zero(d), hn::Zero(d)};
      typename L::V products[2] = {hn::Zero(d), hn::Zero(d)};
      const auto add = [&](int64_t p, int slot) HWY_ATTR {
        const auto v = hn::Sub(hn::LoadU(d, x + p * kBlock + lane), middle);
        away[slot] = hn::Add(away[slot], v);
        squares[slot] = hn::MulAdd(v, v, squares[slot]);
        if (g == nullptr) return;
        const auto grad = hn::LoadU(d, g + p * kBlock + lane);
        grads[slot] = hn::Add(grads[slot], grad);
        products[slot] = hn::MulAdd(grad, v, products[slot]);
      };
      int64_t p = first;
      for (; p + 2 <= last; p += 2) {
        add(p, 0);
        add(p + 1, 1);
      }
      if (p < last) add(p, 0);
      AddTo<kBlock>(hn::Add(away[0], away[1]), sums.d + lane);
      AddTo<kBlock>(hn::Add(squares[0], squares[1]), sums.squares + lane);
      if (g == nullptr) continue;
      AddTo<kBlock>(hn::Add(grads[0], grads[1]), sums.g + lane);
      AddTo<kBlock>(hn::Add(products[0], products[1]), sums.products + lane);
    }
  }
}

template <int kBlock>
void ScaleShift(int64_t pixels, const float* scale, const float* shift, const float* x, float* y) {
  using L = Lanes<kBlock>;
  const typename L::D d;
  for (int64_t lane = 0; lane < kBlock; lane += L::kWidth) {
    const auto a = hn::LoadU(d, scale + lane);
    const auto b = hn::LoadU(d, shift + lane);
    for (int64_t p = lane; p < pixels * kBlock; p += kBlock) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, x + p), a, b), d, y + p);
    }
  }
}

template <int kBlock>
void Combine(int64_t pixels, const BlockLine& line, const float* g, const float* x, float* dx) {
  using L = Lanes<kBlock>;
  const typename L::D d;
  for (int64_t lane = 0; lane < kBlock; lane += L::kWidth) {
    const auto by_g = hn::LoadU(d, line.a + lane);
    const auto by_x = hn::LoadU(d, line.b + lane);
    const auto center = hn::LoadU(d, line.center + lane);
    const auto shift = hn::LoadU(d, line.c + lane);
    for (int64_t p = lane; p < pixels * kBlock; p += kBlock) {
      const auto rest = hn::MulAdd(hn::Sub(hn::LoadU(d, x + p), center), by_x, shift);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, g + p), by_g, rest), d, dx + p);
    }
  }
}

void Sum8(int64_t pixels, const float* center, const float* x, const float* g, BlockSums& sums) {
  Sum<8>(pixels, center, x, g, sums);
}
void Sum16(int64_t pixels, const float* center, const float* x, const float* g, BlockSums& sums) {
  Sum<16>(pixels, center, x, g, sums);
}
void ScaleShift8(int64_t pixels, const float* scale, const float* shift, const float* x, float* y) {
  ScaleShift<8>(pixels, scale, shift, x, y);
}
void ScaleShift16(int64_t pixels, const float* scale, const float* shift, const float* x,
                  float* y) {
  ScaleShift<16>(pixels, scale, shift, x, y);
}
void Combine8(int64_t pixels, const BlockLine& line, const float* g, const float* x, float* dx) {
  Combine<8>(pixels, line, g, x, dx);
}
void Combine16(int64_t pixels, const BlockLine& line, const float* g, const float* x, float* dx) {
  Combine<16>(pixels, line, g, x, dx);
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::engine {
namespace {

HWY_EXPORT(Sum8);
HWY_EXPORT(Sum16);
HWY_EXPORT(ScaleShift8);
HWY_EXPORT(ScaleShift16);
HWY_EXPORT(Combine8);
HWY_EXPORT(Combine16);

}  // namespace

void AddBlockSums(int64_t block, int64_t pixels, const float* center, const float* x,
                  const float* g, BlockSums& sums) {
  block == 8 ? HWY_DYNAMIC_DISPATCH(Sum8)(pixels, center, x, g, sums)
             : HWY_DYNAMIC_DISPATCH(Sum16)(pixels, center, x, g, sums);
}

void ScaleShiftBlock(int64_t block, int64_t pixels, const float* scale, const float* shift,
                     const float* x, float* y) {
  block == 8 ? HWY_DYNAMIC_DISPATCH(ScaleShift8)(pixels, scale, shift, x, y)
             : HWY_DYNAMIC_DISPATCH(ScaleShift16)(pixels, scale, shift, x, y);
}

void CombineBlock(int64_t block, int64_t pixels, const BlockLine& line, const float* g,
                  const float* x, float* dx) {
  block == 8 ? HWY_DYNAMIC_DISPATCH(Combine8)(pixels, line, g, x, dx)
             : HWY_DYNAMIC_DISPATCH(Combine16)(pixels, line, g, x, dx);
}

}  // namespace lathe::engine
#endif  // HWY_ONCE
