// What the engine asks of the machine it finds itself on: cores it may use, and a BLAS that computes right.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "tessera/core/blas.h"
#include "tessera/core/error.h"
#include "tessera/core/parallel.h"
#include "tessera/core/shape.h"
#include "tests/unit/scratch.h"

namespace {

using namespace tessera;

template <class T>
void plain_product(bool ta, bool tb, int M, int N, int K, T alpha, const T* A, int lda, const T* B, int ldb, T beta,
                   T* C, int ldc) {
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) {
      T sum = 0;
      for (int k = 0; k < K; ++k)
        sum += (ta ? A[k * lda + i] : A[i * lda + k]) * (tb ? B[j * ldb + k] : B[k * ldb + j]);
      C[i * ldc + j] = alpha * sum + beta * C[i * ldc + j];
    }
}

/// As plain_product, but the last element of products deeper than 64 misses a term, as a wrong blocked kernel would.
template <class T>
void wrong_product(bool ta, bool tb, int M, int N, int K, T alpha, const T* A, int lda, const T* B, int ldb, T beta,
                   T* C, int ldc) {
  plain_product(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
  if (K > 64) C[(M - 1) * ldc + N - 1] += alpha / 2;
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("machine: the self-test passes right products and names wrong ones with a remedy") {
  CHECK_NOTHROW(blas::self_test());
  CHECK_NOTHROW(blas::self_test(plain_product<float>, plain_product<double>));
  CHECK_THROWS_WITH_AS(blas::self_test(wrong_product<float>, plain_product<double>),
                       doctest::Contains("computes fp32 products wrong on this CPU"), Error);
  CHECK_THROWS_WITH_AS(blas::self_test(plain_product<float>, wrong_product<double>),
                       doctest::Contains("set OPENBLAS_CORETYPE=Haswell or install another OpenBLAS"), Error);
}

TEST_CASE("machine: the quota of a cgroup, of those above it, in both versions") {
  const Scratch dir;
  const std::filesystem::path root = dir.path();
  const std::string groups = (root / "cgroup").string();
  const auto cores = [&](const std::string& membership) {
    write(groups, membership);
    return parallel::cgroup_cores(groups, root.string());
  };
  CHECK(cores("0::/") == std::numeric_limits<int>::max());
  write(root / "job/step/cpu.max", "max 100000");
  CHECK(cores("0::/job/step\n") == std::numeric_limits<int>::max());
  write(root / "job/cpu.max", "150000 100000");  // one and a half: two may run
  CHECK(cores("0::/job/step\n") == 2);
  write(root / "job/step/cpu.max", "20000 100000");
  CHECK(cores("0::/job/step\n") == 1);
  CHECK(cores("0::/other\n") == std::numeric_limits<int>::max());
  write(root / "cpu.max", "300000 100000");  // a container that sees its own group as the root
  CHECK(cores("0::/other\n") == 3);
  std::filesystem::remove(root / "cpu.max");
  write(root / "cpu/batch/cpu.cfs_quota_us", "400000");
  write(root / "cpu/batch/cpu.cfs_period_us", "100000");
  CHECK(cores("9:name=systemd:/batch\n8:cpu,cpuacct:/batch\n") == 4);
  CHECK(cores("9:cpuset:/batch\n") == std::numeric_limits<int>::max());  // another controller's group
  CHECK(parallel::cgroup_cores((root / "missing").string(), root.string()) == std::numeric_limits<int>::max());
}

TEST_CASE("machine: a shape larger than any memory is refused before its size overflows") {
  CHECK(Shape{1 << 23, 1 << 23}.size() == int64_t{1} << 46);
  CHECK(Shape{5, 0, 7}.size() == 0);
  CHECK_THROWS_WITH_AS(Shape({1 << 30, 1 << 30}), doctest::Contains("(1073741824, 1073741824)... has too many"), Error);
  CHECK_THROWS_AS(Shape({1 << 30, 1 << 30, 16}), Error);  // 2^64: would wrap to 0
}
