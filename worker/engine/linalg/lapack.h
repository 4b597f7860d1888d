// The few LAPACK routines used, as C++ overloads for float and double. Column-major, as in LAPACK.
// Each allocates its workspace and returns LAPACK's `info`: 0 when all went well.
//
// BLAS runs on one thread: results must not depend on the machine's cores, and the engine's own
// threads (tensor/parallel.h) share the work out. UseOneBlasThread sets that for the whole process;
// every entry point of linalg/ calls it, and it is never set back.
#ifndef LATHE_WORKER_ENGINE_LINALG_LAPACK_H_
#define LATHE_WORKER_ENGINE_LINALG_LAPACK_H_

namespace lathe::engine::lapack {

void UseOneBlasThread();

// Reduces the symmetric a [n, n] (leading dimension lda, lower triangle given) to tridiagonal form:
// diagonal d [n], off-diagonal e [n - 1], reflectors in a and tau [n - 1].
int Tridiagonalize(int n, float* a, int lda, float* d, float* e, float* tau);
int Tridiagonalize(int n, double* a, int lda, double* d, double* e, double* tau);

// c [n, columns] := Q c, where Q is what Tridiagonalize left in a and tau.
int ApplyReflectors(int n, int columns, float* a, float* tau, float* c);
int ApplyReflectors(int n, int columns, double* a, double* tau, double* c);

// Eigenvalues of a tridiagonal matrix, rising, in d; e is destroyed.
int TridiagonalEigenvalues(int n, double* d, double* e);

// Eigenvectors number first..last (1-based, of rising eigenvalues) of a tridiagonal matrix, in
// z [n, last - first + 1], by relatively robust representations. d and e [n] are destroyed.
int TridiagonalEigenvectors(int n, double* d, double* e, int first, int last, double* z);

// All eigenvectors of a tridiagonal matrix, in z [n, n] by rising eigenvalue, by divide and
// conquer: faster than the above where most are wanted. d and e [n] are destroyed.
int AllTridiagonalEigenvectors(int n, float* d, float* e, float* z);
int AllTridiagonalEigenvectors(int n, double* d, double* e, double* z);

// Cholesky: the lower triangle of a [n, n] becomes L with L L^T = a. Positive: not definite.
int Cholesky(int n, double* a);

// Row-major: the lower triangle of a [n, n] becomes L with L L^T = a, then L^-1. Positive: not
// definite.
int CholeskyRows(int n, float* a);
int CholeskyRows(int n, double* a);
int InvertTriangleRows(int n, float* a);
int InvertTriangleRows(int n, double* a);

// Singular values (falling) and vectors of a [rows, columns], destroyed: u [rows, k], s [k],
// vt [k, columns] with k = min(rows, columns), by divide and conquer.
int SingularValues(int rows, int columns, float* a, float* s, float* u, float* vt);

}  // namespace lathe::engine::lapack

#endif  // LATHE_WORKER_ENGINE_LINALG_LAPACK_H_
