// Decimation in time: with length = p m, p transforms of every p-th element, then for each k < m
//
//   y[k + r m] = sum over q < p of w^(q k) Y_q[k] exp(-2 pi i q r / p),   w = exp(-2 pi i / length)
//
// Bluestein: n k = (n^2 + k^2 - (k - n)^2) / 2 makes the transform a convolution with a chirp,
// which a power of two of at least 2 length - 1 can hold.
#include "worker/engine/kernels/fft.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lathe::engine {
namespace {

constexpr int64_t kLargestFactor = 31;

std::complex<double> Turn(int64_t numerator, int64_t denominator) {
  const double angle =
      -2 * std::numbers::pi * static_cast<double>(numerator) / static_cast<double>(denominator);
  return {std::cos(angle), std::sin(angle)};
}

// Without the checks for infinities that operator* makes.
std::complex<double> Times(std::complex<double> a, std::complex<double> b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

Fft::Fft(int64_t length) : length_(length) {
  int64_t rest = length;
  for (int64_t p : {4, 2, 3, 5}) {
    for (; rest % p == 0; rest /= p) factors_.push_back(p);
  }
  for (int64_t p = 7; p <= kLargestFactor; p += 2) {
    for (; rest % p == 0; rest /= p) factors_.push_back(p);
  }
  if (rest == 1) {
    for (int64_t k = 0; k < length; ++k) twiddles_.push_back(Turn(k, length));
    column_.resize(kLargestFactor + 1);
    return;
  }
  factors_.clear();
  int64_t padded = 1;
  while (padded < 2 * length - 1) padded *= 2;
  power_ = std::make_unique<Fft>(padded);
  for (auto& buffer : work_) buffer.resize(static_cast<size_t>(padded));
  chirp_.resize(static_cast<size_t>(length));
  int64_t square = 0;  // n^2 modulo 2 length
  for (int64_t n = 0; n < length; ++n) {
    chirp_[n] = Turn(square, 2 * length);
    square = (square + 2 * n + 1) % (2 * length);
  }
  std::fill(work_[0].begin(), work_[0].end(), Complex(0));
  for (int64_t n = 0; n < length; ++n) {
    work_[0][n] = std::conj(chirp_[n]);
    if (n > 0) work_[0][padded - n] = work_[0][n];
  }
  chirp_spectrum_.resize(static_cast<size_t>(padded));
  power_->Forward(work_[0], chirp_spectrum_);
}

Fft::~Fft() = default;

void Fft::Mixed(const Complex* x, int64_t stride, Complex* y, int64_t length, size_t factor) {
  if (length == 1) {
    *y = *x;
    return;
  }
  const int64_t p = factors_[factor];
  const int64_t m = length / p;
  for (int64_t q = 0; q < p; ++q) Mixed(x + q * stride, stride * p, y + q * m, m, factor + 1);
  const int64_t step = length_ / length;  // twiddles of this length among those of the whole
  for (int64_t k = 0; k < m; ++k) {
    if (p == 2) {
      const Complex a = y[k];
      const Complex b = Times(twiddles_[k * step], y[k + m]);
      y[k] = a + b;
      y[k + m] = a - b;
      continue;
    }
    if (p == 4) {
      const Complex a = y[k];
      const Complex b = Times(twiddles_[k * step], y[k + m]);
      const Complex c = Times(twiddles_[2 * k * step], y[k + 2 * m]);
      const Complex d = Times(twiddles_[3 * k * step], y[k + 3 * m]);
      const Complex even = a + c;
      const Complex odd = a - c;
      const Complex sum = b + d;
      const Complex turned(b.imag() - d.imag(), d.real() - b.real());  // -i (b - d)
      y[k] = even + sum;
      y[k + m] = odd + turned;
      y[k + 2 * m] = even - sum;
      y[k + 3 * m] = odd - turned;
      continue;
    }
    for (int64_t q = 0; q < p; ++q) column_[q] = Times(twiddles_[q * k * step], y[k + q * m]);
    for (int64_t r = 0; r < p; ++r) {
      Complex sum = column_[0];
      for (int64_t q = 1; q < p; ++q) {
        sum += Times(twiddles_[q * r % p * (length_ / p)], column_[q]);
      }
      y[k + r * m] = sum;
    }
  }
}

void Fft::Chirp(std::span<const Complex> x, std::span<Complex> y) {
  const auto padded = static_cast<int64_t>(work_[0].size());
  std::fill(work_[0].begin(), work_[0].end(), Complex(0));
  for (int64_t n = 0; n < length_; ++n) work_[0][n] = Times(x[n], chirp_[n]);
  power_->Forward(work_[0], work_[1]);
  // The inverse transform is the forward one of conjugates.
  for (int64_t k = 0; k < padded; ++k) {
    work_[1][k] = std::conj(Times(work_[1][k], chirp_spectrum_[k]));
  }
  power_->Forward(work_[1], work_[0]);
  const double scale = 1.0 / static_cast<double>(padded);
  for (int64_t k = 0; k < length_; ++k) y[k] = Times(std::conj(work_[0][k]), chirp_[k]) * scale;
}

void Fft::Forward(std::span<const Complex> x, std::span<Complex> y) {
  if (power_ != nullptr) return Chirp(x, y);
  Mixed(x.data(), 1, y.data(), length_, 0);
}

}  // namespace lathe::engine
