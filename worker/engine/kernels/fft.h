// Discrete Fourier transforms of any length, in float64.
#ifndef LATHE_WORKER_ENGINE_KERNELS_FFT_H_
#define LATHE_WORKER_ENGINE_KERNELS_FFT_H_

#include <complex>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace lathe::engine {

// y[k] = sum over n of x[n] exp(-2 pi i k n / length). Lengths with small prime factors alone take
// O(n log n) by mixed radices; others go by Bluestein's chirp through a power of two. Not
// thread-safe: it keeps working memory of about 16 bytes an element, with a large prime factor 250.
class Fft {
 public:
  explicit Fft(int64_t length);  // >= 1
  ~Fft();

  int64_t length() const { return length_; }
  // x and y: `length` elements each, not the same memory.
  void Forward(std::span<const std::complex<double>> x, std::span<std::complex<double>> y);

 private:
  using Complex = std::complex<double>;
  void Mixed(const Complex* x, int64_t stride, Complex* y, int64_t length, size_t factor);
  void Chirp(std::span<const Complex> x, std::span<Complex> y);

  int64_t length_;
  std::vector<int64_t> factors_;   // of the length; empty when Bluestein's way is taken
  std::vector<Complex> twiddles_;  // exp(-2 pi i k / length)
  std::vector<Complex> column_;    // one butterfly
  // Bluestein: chirp_[n] = exp(-pi i n^2 / length), and the transform of its conjugate, padded.
  std::vector<Complex> chirp_;
  std::vector<Complex> chirp_spectrum_;
  std::vector<Complex> work_[2];
  std::unique_ptr<Fft> power_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_FFT_H_
