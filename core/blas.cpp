#include "tessera/core/blas.h"

#include <cblas.h>
#include <sys/mman.h>

#include <array>
#include <cmath>
#include <mutex>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/parallel.h"
#include "tessera/core/rng.h"

extern "C" {  // OpenBLAS's own names, absent from a reference cblas.h
void openblas_set_num_threads(int);
char* openblas_get_config();
char* openblas_get_corename();
}

namespace tessera::blas {
namespace {

void product(bool ta, bool tb, int M, int N, int K, float alpha, const float* A, int lda, const float* B, int ldb,
             float beta, float* C, int ldc) {
  cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N, K, alpha, A, lda, B,
              ldb, beta, C, ldc);
}
void product(bool ta, bool tb, int M, int N, int K, double alpha, const double* A, int lda, const double* B, int ldb,
             double beta, double* C, int ldc) {
  cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N, K, alpha, A, lda, B,
              ldb, beta, C, ldc);
}

template <class T>
void compare(const char* type, int M, int N, int K, bool ta, bool tb, Product<T>& run, double tolerance) {
  std::vector<T> a(static_cast<size_t>(M * K)), b(static_cast<size_t>(K * N)), c(static_cast<size_t>(M * N), T(1));
  const rng::Stream random(static_cast<uint64_t>(M * 31 + N * 7 + K));
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(random.uniform(i) - 0.5);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(random.uniform(a.size() + i) - 0.5);
  run(ta, tb, M, N, K, T(1), a.data(), ta ? M : K, b.data(), tb ? K : N, T(2), c.data(), N);
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) {
      double want = 2;
      for (int k = 0; k < K; ++k)
        want += static_cast<double>(a[static_cast<size_t>(ta ? k * M + i : i * K + k)]) *
                static_cast<double>(b[static_cast<size_t>(tb ? j * K + k : k * N + j)]);
      const double got = static_cast<double>(c[static_cast<size_t>(i * N + j)]);
      if (!(std::abs(got - want) <= tolerance))
        fail("blas",
             "{} computes {} wrong on this CPU ({} instead of {} in a {}x{}x{} product); set OPENBLAS_CORETYPE=Haswell "
             "or install another OpenBLAS",
             description(), type, got, want, M, N, K);
    }
}

}  // namespace

std::string description() { return fmt::format("{} ({})", openblas_get_config(), openblas_get_corename()); }

void self_test(Product<float>& single, Product<double>& twice) {
  for (auto [M, N, K] : std::initializer_list<std::array<int, 3>>{
           {1, 1, 1}, {7, 5, 3}, {33, 17, 65}, {130, 96, 129}})  // small-matrix and blocked paths
    for (int t = 0; t < 4; ++t) {
      compare<float>("fp32 products", M, N, K, t & 1, t & 2, single, 1e-4);
      compare<double>("fp64 products", M, N, K, t & 1, t & 2, twice, 1e-11);
    }
}

namespace {

/// OpenBLAS maps a buffer for every thread that multiplies, at its first product, and tries for ever when the system gives none: so we
/// ask first whether it would (ulimit -v, a small container).
void check_memory() {
  constexpr size_t buffer = size_t{160} << 20;  // 128 MB on x86-64, and its tables
  const size_t all = buffer * static_cast<size_t>(parallel::threads());
  void* room = ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED)
    fail("blas",
         "there is no address space for the buffers of {} threads, {} MB: raise ulimit -v, or use fewer threads",
         parallel::threads(), all >> 20);
  ::munmap(room, all);
}

}  // namespace

void self_test() {
  static std::once_flag flag;
  std::call_once(flag, [] {
    check_memory();
    openblas_set_num_threads(1);
    self_test(product, product);
  });
}

void gemm(bool ta, bool tb, int M, int N, int K, float alpha, const float* A, int lda, const float* B, int ldb,
          float beta, float* C, int ldc) {
  self_test();
  product(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

void gemm(bool ta, bool tb, int M, int N, int K, double alpha, const double* A, int lda, const double* B, int ldb,
          double beta, double* C, int ldc) {
  self_test();
  product(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

}  // namespace tessera::blas
