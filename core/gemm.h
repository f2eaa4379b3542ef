#pragma once
// The three products of a linear layer y = x W^T, each with its own entry so that each can have its own fast path:
//   forward   y  (M,N) = x (M,K) W^T      W (N,K)      gemm_nt
//   input     dx (M,K) = dy (M,N) W                    gemm_nn
//   weight    dW (N,K) = dy^T x                        gemm_tn
// All matrices are row-major with explicit row strides; C = beta C + product (beta 0 overwrites, whatever C held).
// Rows of C (of dW: columns) are shared with idle workers; an element's sum is one chain whoever computes it, so bits never depend on threads.
// Our own kernels (core/kernels/gemm.cpp) are 1.1 to 1.6 times as fast as OpenBLAS on the shapes of a ViT; it is their oracle
// in the tests, and takes over where vectors are narrow.
#include <cstdint>
#include <optional>
#include <span>

#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

struct Leaf;

/// What a product does with C before it leaves the registers (or, GELU, the innermost cache).
struct Epilogue {
  const real* bias = nullptr;  ///< (N), added to every row
  const real* add = nullptr;   ///< (M,N), added: a residual
  int64_t ld_add = 0;
  bool gelu = false;      ///< C = gelu(C), the exact one
  real* slope = nullptr;  ///< with gelu: receives gelu'(C) (M,N), so that backward is one elementwise product; or null
  int64_t ld_slope = 0;
};

/// C (M,N) = beta C + A (M,K) B(N,K)^T + bias. `bias` (N) may be null. `weight`, if given, is the parameter that owns
/// B, whose packed panels are kept until its values are rewritten, unless a pointer to them is lent (Leaf::lent). All compute in the
/// process's precision unless `in` says another.
void gemm_nt(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, const real* bias = nullptr, Leaf* weight = nullptr, Precision in = precision());
void gemm_nt(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, const Epilogue& end, Leaf* weight = nullptr, Precision in = precision());
/// C (M,N) = beta C + A (M,K) B (K,N). `soon` is memory that is needed next and comes into the cache meanwhile.
void gemm_nn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, Leaf* weight = nullptr, std::span<const real> soon = {}, Precision in = precision());
/// C (M,N) = beta C + A(K,M)^T B (K,N).
void gemm_tn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, Precision in = precision());

/// A way of reading a weight, for which its panels are kept: as it lies, transposed, or as an op of that name arranges it, which depends on `of`.
struct PanelKey {
  enum Order {
    as_is,
    transposed,
    conv,
    conv_input,
    conv_patches,
    conv_patches_input,
    conv_winograd,
    conv_winograd_input
  };
  const real* values;
  Order order;
  bool bf16;
  int64_t of[8];
  bool operator==(const PanelKey&) const = default;
};

/// `size` reals that `make` writes: those a weight keeps until its values are rewritten, or, without a weight and where a pointer to its values is
/// lent, fresh ones that live as long as this object.
class KeptPanels {
 public:
  KeptPanels(Leaf* weight, const PanelKey& key, int64_t size, parallel::Ref<void(real*)> make);
  KeptPanels(const KeptPanels&) = delete;
  KeptPanels& operator=(const KeptPanels&) = delete;
  const real* data() const { return data_; }

 private:
  struct Own {
    real* at = nullptr;
    ~Own();
  } own_;
  const real* data_;
};

/// The matrices of `groups` of a weight in panels, for several products with each.
class Packed {
 public:
  /// B (K,N) of a group, or with `transposed` B (N,K)^T. `fill` writes them, one behind the other, where the weight has no panels of that key.
  Packed(Leaf* weight, const PanelKey& key, bool transposed, int64_t groups, int64_t K, int64_t N,
         parallel::Ref<void(real*)> fill);
  ~Packed();
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
  /// C (M,N) = beta C + A (M,K) B [+ bias], B being that of a group.
  void multiply(int64_t group, int64_t M, const real* A, int64_t lda, real beta, real* C, int64_t ldc,
                const real* bias = nullptr) const;

 private:
  bool transposed_, bf16_;
  int64_t K_, N_;
  std::optional<KeptPanels> panels_;
  real* matrices_ = nullptr;  // what OpenBLAS reads instead
};

/// Forgets the packed panels of a weight whose values change; their memory waits for the next ones. Not beside a
/// running product.
void drop_packed(Leaf& weight);
/// Gives that memory back: the weight dies.
void free_packed(Leaf& weight);

}  // namespace TESSERA_NS
}  // namespace tessera
