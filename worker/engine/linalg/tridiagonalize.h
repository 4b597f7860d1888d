// Householder reduction to tridiagonal form on several threads.
#ifndef LATHE_WORKER_ENGINE_LINALG_TRIDIAGONALIZE_H_
#define LATHE_WORKER_ENGINE_LINALG_TRIDIAGONALIZE_H_

#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// As lapack::Tridiagonalize, with its layout and its results to rounding; the same bits for any
// number of threads. Returns LAPACK's info. Elements are taken to be of one scale: what is below
// 1e-30 counts as zero.
int Tridiagonalize(int n, float* a, float* d, float* e, float* tau, Parallel& parallel);
// float64 is LAPACK's own, on one thread.
int Tridiagonalize(int n, double* a, double* d, double* e, double* tau, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_TRIDIAGONALIZE_H_
