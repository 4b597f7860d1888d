#include "worker/engine/linalg/lapack.h"

#include <cblas.h>

#include <algorithm>
#include <cstddef>
#include <vector>

// Debian's OpenBLAS exports LAPACK's Fortran symbols and no C interface. The trailing lengths are
// those of the character arguments, as gfortran passes them.
extern "C" {
void ssytrd_(const char*, const int*, float*, const int*, float*, float*, float*, float*,
             const int*, int*, std::size_t);
void dsytrd_(const char*, const int*, double*, const int*, double*, double*, double*, double*,
             const int*, int*, std::size_t);
void sormtr_(const char*, const char*, const char*, const int*, const int*, float*, const int*,
             float*, float*, const int*, float*, const int*, int*, std::size_t, std::size_t,
             std::size_t);
void dormtr_(const char*, const char*, const char*, const int*, const int*, double*, const int*,
             double*, double*, const int*, double*, const int*, int*, std::size_t, std::size_t,
             std::size_t);
void dsterf_(const int*, double*, double*, int*);
void dstemr_(const char*, const char*, const int*, double*, double*, const double*, const double*,
             const int*, const int*, int*, double*, double*, const int*, const int*, int*, int*,
             double*, const int*, int*, const int*, int*, std::size_t, std::size_t);
void sstedc_(const char*, const int*, float*, float*, float*, const int*, float*, const int*, int*,
             const int*, int*, std::size_t);
void dstedc_(const char*, const int*, double*, double*, double*, const int*, double*, const int*,
             int*, const int*, int*, std::size_t);
void dpotrf_(const char*, const int*, double*, const int*, int*, std::size_t);
void spotrf_(const char*, const int*, float*, const int*, int*, std::size_t);
void strtri_(const char*, const char*, const int*, float*, const int*, int*, std::size_t,
             std::size_t);
void dtrtri_(const char*, const char*, const int*, double*, const int*, int*, std::size_t,
             std::size_t);
void sgesdd_(const char*, const int*, const int*, float*, const int*, float*, float*, const int*,
             float*, const int*, float*, const int*, int*, int*, std::size_t);
}

namespace lathe::engine::lapack {
namespace {

void Sytrd(int n, float* a, int lda, float* d, float* e, float* tau, float* work, int size,
           int* info) {
  ssytrd_("L", &n, a, &lda, d, e, tau, work, &size, info, 1);
}
void Sytrd(int n, double* a, int lda, double* d, double* e, double* tau, double* work, int size,
           int* info) {
  dsytrd_("L", &n, a, &lda, d, e, tau, work, &size, info, 1);
}
void Ormtr(int n, int columns, float* a, float* tau, float* c, float* work, int size, int* info) {
  sormtr_("L", "L", "N", &n, &columns, a, &n, tau, c, &n, work, &size, info, 1, 1, 1);
}
void Ormtr(int n, int columns, double* a, double* tau, double* c, double* work, int size,
           int* info) {
  dormtr_("L", "L", "N", &n, &columns, a, &n, tau, c, &n, work, &size, info, 1, 1, 1);
}

// LAPACK's protocol: a first call with size -1 asks for the workspace, a second one works. A float
// cannot hold every size, so the answer is taken with a margin.
template <typename T, typename Fn>
int WithWorkspace(Fn&& call) {
  int info = 0;
  T wanted = 0;
  call(&wanted, -1, &info);
  if (info != 0) return info;
  std::vector<T> work(static_cast<size_t>(static_cast<double>(wanted) * 1.001) + 64);
  call(work.data(), static_cast<int>(work.size()), &info);
  return info;
}

template <typename T>
int TridiagonalizeImpl(int n, T* a, int lda, T* d, T* e, T* tau) {
  return WithWorkspace<T>(
      [&](T* work, int size, int* info) { Sytrd(n, a, lda, d, e, tau, work, size, info); });
}

template <typename T>
int ApplyReflectorsImpl(int n, int columns, T* a, T* tau, T* c) {
  return WithWorkspace<T>(
      [&](T* work, int size, int* info) { Ormtr(n, columns, a, tau, c, work, size, info); });
}

void Stedc(int n, float* d, float* e, float* z, float* work, int size, int* integers,
           int integer_size, int* info) {
  sstedc_("I", &n, d, e, z, &n, work, &size, integers, &integer_size, info, 1);
}
void Stedc(int n, double* d, double* e, double* z, double* work, int size, int* integers,
           int integer_size, int* info) {
  dstedc_("I", &n, d, e, z, &n, work, &size, integers, &integer_size, info, 1);
}

template <typename T>
int AllTridiagonalEigenvectorsImpl(int n, T* d, T* e, T* z) {
  // LAPACK's documented needs for vectors of the tridiagonal matrix itself.
  std::vector<T> work(1 + 4 * static_cast<size_t>(n) + static_cast<size_t>(n) * n);
  std::vector<int> integers(3 + 5 * static_cast<size_t>(n));
  int info = 0;
  Stedc(n, d, e, z, work.data(), static_cast<int>(work.size()), integers.data(),
        static_cast<int>(integers.size()), &info);
  return info;
}

}  // namespace

void UseOneBlasThread() { openblas_set_num_threads(1); }

int Tridiagonalize(int n, float* a, int lda, float* d, float* e, float* tau) {
  return TridiagonalizeImpl(n, a, lda, d, e, tau);
}
int Tridiagonalize(int n, double* a, int lda, double* d, double* e, double* tau) {
  return TridiagonalizeImpl(n, a, lda, d, e, tau);
}
int ApplyReflectors(int n, int columns, float* a, float* tau, float* c) {
  return ApplyReflectorsImpl(n, columns, a, tau, c);
}
int ApplyReflectors(int n, int columns, double* a, double* tau, double* c) {
  return ApplyReflectorsImpl(n, columns, a, tau, c);
}

int TridiagonalEigenvalues(int n, double* d, double* e) {
  int info = 0;
  dsterf_(&n, d, e, &info);
  return info;
}

int TridiagonalEigenvectors(int n, double* d, double* e, int first, int last, double* z) {
  const int count = last - first + 1;
  const double none = 0;
  int found = 0;
  int robust = 1;  // look whether the matrix defines its eigenvalues to high relative accuracy
  int info = 0;
  std::vector<double> values(static_cast<size_t>(n));
  std::vector<int> support(2 * static_cast<size_t>(std::max(1, count)));
  std::vector<double> work(18 * static_cast<size_t>(n));
  std::vector<int> integers(10 * static_cast<size_t>(n));
  const int work_size = static_cast<int>(work.size());
  const int integer_size = static_cast<int>(integers.size());
  dstemr_("V", "I", &n, d, e, &none, &none, &first, &last, &found, values.data(), z, &n, &count,
          support.data(), &robust, work.data(), &work_size, integers.data(), &integer_size, &info,
          1, 1);
  return info == 0 && found != count ? -1 : info;
}

int AllTridiagonalEigenvectors(int n, float* d, float* e, float* z) {
  return AllTridiagonalEigenvectorsImpl(n, d, e, z);
}
int AllTridiagonalEigenvectors(int n, double* d, double* e, double* z) {
  return AllTridiagonalEigenvectorsImpl(n, d, e, z);
}

int Cholesky(int n, double* a) {
  int info = 0;
  dpotrf_("L", &n, a, &n, &info, 1);
  return info;
}

// A row-major lower triangle is LAPACK's upper one.
int CholeskyRows(int n, float* a) {
  int info = 0;
  spotrf_("U", &n, a, &n, &info, 1);
  return info;
}
int CholeskyRows(int n, double* a) {
  int info = 0;
  dpotrf_("U", &n, a, &n, &info, 1);
  return info;
}
int InvertTriangleRows(int n, float* a) {
  int info = 0;
  strtri_("U", "N", &n, a, &n, &info, 1, 1);
  return info;
}
int InvertTriangleRows(int n, double* a) {
  int info = 0;
  dtrtri_("U", "N", &n, a, &n, &info, 1, 1);
  return info;
}

int SingularValues(int rows, int columns, float* a, float* s, float* u, float* vt) {
  const int k = std::min(rows, columns);
  std::vector<int> integers(8 * static_cast<size_t>(k));
  return WithWorkspace<float>([&](float* work, int size, int* info) {
    sgesdd_("S", &rows, &columns, a, &rows, s, u, &rows, vt, &k, work, &size, integers.data(), info,
            1);
  });
}

}  // namespace lathe::engine::lapack
