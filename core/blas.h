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
/// CPU (some pairs do) with the remedy. Sets OpenBLAS to one thread. Called once, by the first user of gemm().
void self_test();

}  // namespace tessera::blas
