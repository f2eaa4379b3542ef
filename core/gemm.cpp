#include "core/gemm.h"

#include "core/blas.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {
constexpr int64_t block = 256;  // rows of C per task outside of shards

void each_block(int64_t M, parallel::Ref<void(int64_t, int64_t)> f) { parallel::rows(M, block, f); }
int narrow(int64_t v) { return static_cast<int>(v); }
}  // namespace

void gemm_nt(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta, real* C,
             int64_t ldc, const real* bias, Leaf*) {
  each_block(M, [&](int64_t a, int64_t b) {
    real b1 = beta;
    if (bias) {
      for (int64_t i = a; i < b; ++i)
        for (int64_t j = 0; j < N; ++j) C[i * ldc + j] = beta == 0 ? bias[j] : beta * C[i * ldc + j] + bias[j];
      b1 = 1;
    }
    blas::gemm(false, true, narrow(b - a), narrow(N), narrow(K), real(1), A + a * lda, narrow(lda), B, narrow(ldb), b1,
               C + a * ldc, narrow(ldc));
  });
}

void gemm_nn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta, real* C,
             int64_t ldc, Leaf*) {
  each_block(M, [&](int64_t a, int64_t b) {
    blas::gemm(false, false, narrow(b - a), narrow(N), narrow(K), real(1), A + a * lda, narrow(lda), B, narrow(ldb), beta,
               C + a * ldc, narrow(ldc));
  });
}

void gemm_tn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta, real* C,
             int64_t ldc) {
  each_block(M, [&](int64_t a, int64_t b) {
    blas::gemm(true, false, narrow(b - a), narrow(N), narrow(K), real(1), A + a, narrow(lda), B, narrow(ldb), beta,
               C + a * ldc, narrow(ldc));
  });
}

void drop_packed(Leaf&) {}

}  // namespace TESSERA_NS
}  // namespace tessera
