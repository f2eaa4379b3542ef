#include "tessera/core/gemm.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "tessera/core/blas.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/memory.h"
#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/core/tensor.h"
#include "tessera/core/whole.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The panels of a weight, one entry for each way it has been read.
struct PackedWeight {
  PanelKey key;
  real* panels;
  std::atomic<bool> ready;
  std::mutex packing;
  PackedWeight* next;
};

namespace {

constexpr int64_t blas_block = 128;  // rows of C in a call of OpenBLAS, whose sums may depend on it

/// Does it round operands? The double twin never does.
bool rounds(Precision in) { return sizeof(real) == sizeof(float) && in == Precision::bf16; }

int64_t panels_size(bool bf16, int64_t K, int64_t N) {
  return bf16 ? up_to(N, 32) * up_to(K, 32) : up_to(N, 2 * int64_t{kernels().lanes}) * K;
}

void pack(bool bf16, bool transposed, const real* b, int64_t ldb, int64_t K, int64_t N, real* panels) {
  const Kernels& k = kernels();
  const auto how = bf16         ? transposed ? k.bf16_pack_transposed : k.bf16_pack
                   : transposed ? k.gemm_pack_transposed
                                : k.gemm_pack;
  how(b, ldb, K, N, panels);
}

real* take(int64_t n) { return static_cast<real*>(Pool::mine().take(static_cast<size_t>(n) * sizeof(real))); }

PackedWeight* find(PackedWeight* p, const PanelKey& key) {
  while (p && !(p->key == key)) p = p->next;
  return p;
}
PackedWeight& entry(Leaf& weight, const PanelKey& key, int64_t size) {
  if (auto* p = find(weight.packed.load(std::memory_order_acquire), key)) return *p;
  static std::mutex adding;
  std::lock_guard guard(adding);
  PackedWeight* head = weight.packed.load(std::memory_order_relaxed);
  if (auto* p = find(head, key)) return *p;
  auto* p = new PackedWeight{key, take(size), false, {}, head};
  weight.packed.store(p, std::memory_order_release);
  return *p;
}
const real* kept(PackedWeight& p, parallel::Ref<void(real*)> make) {
  if (p.ready.load(std::memory_order_acquire)) return p.panels;
  std::lock_guard guard(p.packing);  // several workers may ask at once: one packs, the others wait
  if (!p.ready.load(std::memory_order_relaxed)) {
    make(p.panels);
    p.ready.store(true, std::memory_order_release);
  }
  return p.panels;
}

/// B in panels.
KeptPanels panels_of(Leaf* weight, bool transposed, const real* b, int64_t ldb, int64_t K, int64_t N, bool bf16) {
  return {weight,
          {b, transposed ? PanelKey::transposed : PanelKey::as_is, bf16, {K, N, ldb}},
          panels_size(bf16, K, N),
          [=](real* panels) { pack(bf16, transposed, b, ldb, K, N, panels); }};
}

GemmTask task(int64_t M, int64_t N, int64_t K, const real* a, int64_t a_row, int64_t a_col, const real* panels,
              real beta, real* C, int64_t ldc) {
  GemmTask t{};
  t.M = M, t.N = N, t.K = K, t.a = a, t.a_row = a_row, t.a_col = a_col, t.panels = panels, t.beta = beta, t.c = C,
  t.ldc = ldc;
  return t;
}

/// Runs rows [i, e) of a task.
void run(const GemmTask& whole, int64_t i, int64_t e, bool bf16) {
  GemmTask t = rows_of(whole, i, e);
  if (!bf16) return kernels().gemm(&t);
  t.scratch = take(64 * up_to(t.K, 32));
  kernels().bf16_gemm(&t);
  Pool::give(t.scratch);
}

/// Columns [j, e) of a task with panels, whole panels of the fp32 kernel.
GemmTask columns_of(GemmTask t, int64_t j, int64_t e) {
  t.N = e - j, t.panels += j * t.K, t.c += j;
  if (t.bias) t.bias += j;
  if (t.add) t.add += j;
  if (t.slope) t.slope += j;
  if (j > 0) t.soon = nullptr, t.soon_bytes = 0;
  return t;
}

void run(const GemmTask& t, bool bf16) {
  // Few rows make few parts, each of which reads all of B: columns, where B does not fit L2. Swin-T, one image of 224 x 224 on two threads of a
  // Zen 4, in turn: 51.2, 51.7, 51.8 ms before, 50.3, 49.7, 49.2 now; where B does fit (the 0.8M ViT, one image) it took 1.37 ms instead of 1.01.
  const int64_t panel = 2 * int64_t{kernels().lanes};
  constexpr int64_t most = (1 << 20) / sizeof(real);
  if (!bf16 && t.M < 256 && t.N >= 4 * panel && t.N * t.K > most)
    return parallel::rows(t.N, parallel::grain_of_products(t.M * t.K, panel), [&](int64_t j, int64_t e) {
      const GemmTask part = columns_of(t, j, e);
      kernels().gemm(&part);
    });
  parallel::rows(t.M, parallel::grain_of_products(t.N * t.K, 32), [&](int64_t i, int64_t e) { run(t, i, e, bf16); });
}

int narrow(int64_t v) { return static_cast<int>(v); }

/// Where vectors hold 16 bytes, OpenBLAS, which chooses its kernels itself, is faster, except for small products.
bool prefer_blas(int64_t M, int64_t N, int64_t K, bool bf16) {
  static const bool narrow_vectors = kernels().lanes * sizeof(real) <= 16;
  return narrow_vectors && M * N * K > 64 * 64 * 64 && !bf16;
}

void blas_rows(bool ta, bool tb, int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B,
               int64_t ldb, real beta, real* C, int64_t ldc) {
  parallel::rows(M, blas_block, [&](int64_t from, int64_t to) {
    for (int64_t a = from; a < to; a += blas_block)
      blas::gemm(ta, tb, narrow(std::min(blas_block, to - a)), narrow(N), narrow(K), real(1), ta ? A + a : A + a * lda,
                 narrow(lda), B, narrow(ldb), beta, C + a * ldc, narrow(ldc));
  });
}

/// The epilogue as passes of their own, behind OpenBLAS.
void finish_rows(int64_t M, int64_t N, real* C, int64_t ldc, const Epilogue& end) {
  if (!end.bias && !end.add && !end.gelu) return;
  parallel::rows(M, blas_block, [&](int64_t a, int64_t b) {
    for (int64_t i = a; i < b; ++i) {
      real* c = C + i * ldc;
      if (end.bias) kernels().accumulate(end.bias, c, N);
      if (end.add) kernels().accumulate(end.add + i * end.ld_add, c, N);
      if (end.gelu && end.slope) kernels().gelu_and_slope(c, c, end.slope + i * end.ld_slope, N);
      if (end.gelu && !end.slope) kernels().gelu(c, c, N);
    }
  });
}

}  // namespace

void gemm_nt(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, const Epilogue& end, Leaf* weight, Precision in) {
  if (M <= 0 || N <= 0) return;
  const bool bf16 = rounds(in);
  if (prefer_blas(M, N, K, bf16)) {
    blas_rows(false, true, M, N, K, A, lda, B, ldb, beta, C, ldc);
    return finish_rows(M, N, C, ldc, end);
  }
  const KeptPanels panels = panels_of(weight, true, B, ldb, K, N, bf16);
  GemmTask t = task(M, N, K, A, lda, 1, panels.data(), beta, C, ldc);
  t.bias = end.bias, t.add = end.add, t.ld_add = end.ld_add, t.gelu = end.gelu, t.slope = end.slope,
  t.ld_slope = end.ld_slope;
  run(t, bf16);
}

void gemm_nt(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, const real* bias, Leaf* weight, Precision in) {
  Epilogue end;
  end.bias = bias;
  gemm_nt(M, N, K, A, lda, B, ldb, beta, C, ldc, end, weight, in);
}

void gemm_nn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, Leaf* weight, std::span<const real> soon, Precision in) {
  if (M <= 0 || N <= 0) return;
  const bool bf16 = rounds(in);
  if (prefer_blas(M, N, K, bf16)) return blas_rows(false, false, M, N, K, A, lda, B, ldb, beta, C, ldc);
  const KeptPanels panels = panels_of(weight, false, B, ldb, K, N, bf16);
  GemmTask t = task(M, N, K, A, lda, 1, panels.data(), beta, C, ldc);
  t.soon = soon.data(), t.soon_bytes = static_cast<int64_t>(soon.size_bytes());
  run(t, bf16);
}

void gemm_tn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real beta,
             real* C, int64_t ldc, Precision in) {
  if (M <= 0 || N <= 0) return;
  const bool bf16 = rounds(in);
  if (prefer_blas(M, N, K, bf16)) return blas_rows(true, false, M, N, K, A, lda, B, ldb, beta, C, ldc);
  // B is read once: whoever takes columns of C packs those of B
  const int64_t panel = std::max<int64_t>(32, 2 * int64_t{kernels().lanes});
  parallel::rows(N, parallel::grain_of_products(M * K, panel), [&](int64_t j, int64_t e) {
    GemmTask t = task(M, e - j, K, A, 1, lda, nullptr, beta, C + j, ldc);
    if (bf16) {
      const KeptPanels panels = panels_of(nullptr, false, B + j, ldb, K, e - j, true);
      t.panels = panels.data();
      return run(t, 0, M, true);
    }
    t.b = B + j, t.ldb = ldb, t.scratch = take(panels_size(false, K, e - j));
    kernels().gemm(&t);
    Pool::give(t.scratch);
  });
}

KeptPanels::KeptPanels(Leaf* weight, const PanelKey& key, int64_t size, parallel::Ref<void(real*)> make) {
  if (weight && !weight->lent.load(std::memory_order_acquire)) {  // a lent weight may change at any moment
    data_ = kept(entry(*weight, key, size), make);
    return;
  }
  own_.at = take(size);
  make(own_.at);
  data_ = own_.at;
}
KeptPanels::Own::~Own() {
  if (at) Pool::give(at);
}

Packed::Packed(Leaf* weight, const PanelKey& key, bool transposed, int64_t groups, int64_t K, int64_t N,
               parallel::Ref<void(real*)> fill)
    : transposed_(transposed), bf16_(key.bf16), K_(K), N_(N) {
  if (N <= 0) return;
  if (prefer_blas(blas_block, N, K, bf16_)) {
    matrices_ = take(groups * K * N);
    fill(matrices_);
    return;
  }
  const int64_t each = panels_size(bf16_, K, N);
  panels_.emplace(weight, key, groups * each, [&](real* panels) {
    real* all = take(groups * K * N);
    fill(all);
    for (int64_t g = 0; g < groups; ++g)
      pack(bf16_, transposed, all + g * K * N, transposed ? K : N, K, N, panels + g * each);
    Pool::give(all);
  });
}

Packed::~Packed() {
  if (matrices_) Pool::give(matrices_);
}

void Packed::multiply(int64_t group, int64_t M, const real* A, int64_t lda, real beta, real* C, int64_t ldc,
                      const real* bias) const {
  if (M <= 0 || N_ <= 0) return;
  if (!panels_) {
    blas_rows(false, transposed_, M, N_, K_, A, lda, matrices_ + group * K_ * N_, transposed_ ? K_ : N_, beta, C, ldc);
    return finish_rows(M, N_, C, ldc, {.bias = bias});
  }
  GemmTask t = task(M, N_, K_, A, lda, 1, panels_->data() + group * panels_size(bf16_, K_, N_), beta, C, ldc);
  t.bias = bias;
  run(t, bf16_);
}

void drop_packed(Leaf& weight) {
  for (auto* p = weight.packed.load(std::memory_order_acquire); p; p = p->next)
    p->ready.store(false, std::memory_order_relaxed);
}

void free_packed(Leaf& weight) {
  for (auto* p = weight.packed.exchange(nullptr); p;) {
    Pool::give(p->panels);
    delete std::exchange(p, p->next);
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
