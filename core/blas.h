#pragma once
// The only door to OpenBLAS: row-major, single-threaded calls (parallelism is ours, see parallel.h).
#include <string>

namespace tessera::blas {

/// C (M x N) = alpha op(A) op(B) + beta C. op transposes where ta / tb; ld* are row strides of the stored matrices.
void gemm(bool ta, bool tb, int M, int N, int K, float alpha, const float* A, int lda, const float* B, int ldb,
          float beta, float* C, int ldc);
void gemm(bool ta, bool tb, int M, int N, int K, double alpha, const double* A, int lda, const double* B, int ldb,
          double beta, double* C, int ldc);

/// OpenBLAS's own description: version and the CPU it was dispatched for.
std::string description();

/// Multiplies a few matrices and compares them with plain loops; throws Error if this OpenBLAS computes wrong results on this
/// CPU (some pairs do) with the remedy. Sets OpenBLAS to one thread. Does its work once: at the start of the program `tessera`, else
/// at the first gemm().
void self_test();

/// cblas_gemm's arguments without the layout, which is row-major.
template <class T>
using Product = void(bool ta, bool tb, int M, int N, int K, T alpha, const T* A, int lda, const T* B, int ldb, T beta,
                     T* C, int ldc);
/// What self_test() does with OpenBLAS's products, with any.
void self_test(Product<float>& single, Product<double>& twice);

}  // namespace tessera::blas
