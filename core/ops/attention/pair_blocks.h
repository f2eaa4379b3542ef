#pragma once
// What all images of a head share, block of n x m pairs by block: biases and masks that are added to the scores, and gates of width 1
// that multiply them. Gathered once, used by every image of the shard (and by every group with the same indices); gradients are
// summed likewise and scattered into the tables once. Internal to core/ops.
#include <limits>

#include "tessera/core/ops/attention/plan.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Where the gradients of tables and angles are added up, those of all heads.
struct Partial {
  std::array<real*, Terms::most> table{};
  std::array<real*, 4> rotary{};

  /// Of the table of head h, (R, padded); null if nobody wants it.
  real* of(const Plan::Term& t, int h) const {
    real* to = table[static_cast<size_t>(t.number)];
    return to ? to + (t.heads() == 1 ? 0 : h * t.R * t.padded) : nullptr;
  }
};

class PairBlocks {
 public:
  PairBlocks(const Plan& plan, const Partial& own) : p(plan), part(own) {}

  void lay_out(Arena& a, bool backward) {
    const int64_t size = (p.pairs_whole ? p.n : p.rows) * p.mp;
    for (Block* x : {p.pairs_added ? &added_ : nullptr, p.scaled ? &factor_ : nullptr}) {
      if (!x) continue;
      x->value = a.take<real>(size);
      if (backward) x->gradient = a.take<real>(size);
    }
  }

  /// Rows [row, row + count) of what is added to the scores of head h in group g; null if nothing is.
  const real* added(int h, int g, int row, int count) {
    return p.pairs_added ? hold(added_, h, p.added_by_group ? g : 0, row, count) : nullptr;
  }
  /// Does anybody want a gradient of it? Not of masks and fixed tables.
  bool wants_added(int h) const {
    bool wanted = false;
    p.each(Relative::bias, [&](const Plan::Term& t) { wanted |= part.of(t, h) != nullptr; });
    return wanted;
  }
  void added_backward(int h, int g, int row, int count, const real* ds) {
    if (!wants_added(h)) return;
    if (p.pairs_whole) {
      added(h, g, row, count);
      collect(added_, row, count, ds);
    } else {
      scatter_biases(ds, h, p.added_by_group ? g : 0, row, count);
    }
  }

  /// Rows of what multiplies the scores. To be called only if p.scaled.
  const real* factor(int h, int g, int row, int count) {
    return hold(factor_, h, p.gates_by_group ? g : 0, row, count);
  }
  /// dw: gradient of the factors of those rows.
  void factor_backward(int h, int g, int row, int count, const real* dw) {
    factor(h, g, row, count);
    collect(factor_, row, count, dw);
  }

  /// Hands on what was collected; to be called when a head is done.
  void end_head() { flush(added_), flush(factor_); }

 private:
  struct Block {
    real *value = nullptr, *gradient = nullptr;
    int h = -1, g = -1;
    int64_t row = 0, count = 0;
    bool open = false;  ///< gradient holds something
  };

  const real* hold(Block& x, int h, int g, int row, int count) {
    const int64_t first = p.pairs_whole ? 0 : row;
    if (x.h != h || x.g != g || x.row != first) {
      flush(x);
      x.h = h, x.g = g, x.row = first, x.count = p.pairs_whole ? p.n : count;
      &x == &added_ ? fill_added() : fill_factor();
    }
    return x.value + (row - first) * p.mp;
  }
  void collect(Block& x, int64_t row, int64_t count, const real* from) {
    if (!x.open && count < x.count) std::fill_n(x.gradient, x.count * p.mp, real(0)), x.open = true;
    real* to = x.gradient + (row - x.row) * p.mp;
    if (x.open) {
      k.accumulate(from, to, count * p.mp);
    } else {
      std::copy_n(from, count * p.mp, to);
    }
    x.open = true;
  }
  void flush(Block& x) {
    if (!x.open) return;
    x.open = false;
    if (&x == &added_) return scatter_biases(x.gradient, x.h, x.g, x.row, x.count);
    p.each_gate(false, [&](const Plan::Term& t) {  // the product of the others, so that a weight of 0 has its gradient
      real* to = part.of(t, x.h);
      if (!to) return;
      std::copy_n(x.gradient, x.count * p.mp, x.value);
      p.each_gate(false, [&](const Plan::Term& other) {
        if (&other != &t) times(other, x.value);
      });
      k.pair_scatter(x.value, p.mp, x.count, p.m, to, 0, 1, 0, t.rho(x.g, x.row), p.m, 0);
    });
    x.h = -1;  // its values are gone
  }

  void fill_added() {
    Block& x = added_;
    std::fill_n(x.value, x.count * p.mp, real(0));
    p.each(Relative::bias, [&](const Plan::Term& t) {
      k.pair_gather(x.value, p.mp, x.count, p.m, t.table(x.h), 0, 1, 0, t.rho(x.g, x.row), p.m, 0);
    });
    const Pattern::Spec& w = *p.c.who;
    if (!w.label_q.empty() || w.causal || w.no_self) {
      const auto hide = [masked = static_cast<real>(w.mask_value)](real& v) {
        v = masked != 0 ? v + masked : -std::numeric_limits<real>::infinity();  // whatever the bias was, NaN or not
      };
      const bool labels = !w.label_q.empty();
      const int32_t* keys = w.k.data() + int64_t{x.g} * p.m;
      const int32_t* label_k = labels ? w.label_k.data() + int64_t{x.g} * p.m : nullptr;
      for (int64_t i = 0; i < x.count; ++i) {
        const int64_t at = int64_t{x.g} * p.n + x.row + i;
        const int32_t query = w.q[static_cast<size_t>(at)], label = labels ? w.label_q[static_cast<size_t>(at)] : 0;
        const int32_t last = w.causal ? query + w.offset : std::numeric_limits<int32_t>::max();
        for (int j = 0; j < p.m; ++j)
          if ((labels && label_k[j] != label) || keys[j] > last || (w.no_self && keys[j] == query))
            hide(x.value[i * p.mp + j]);
      }
    }
    if (const HeadMask& mask = p.c.where.visible)
      for (int64_t i = 0; i < x.count; ++i)
        for (int j = 0; j < p.m; ++j)
          if (!mask.sees(x.h, static_cast<int>(x.row + i), j))
            x.value[i * p.mp + j] = -std::numeric_limits<real>::infinity();
  }
  void scatter_biases(const real* from, int h, int g, int64_t row, int64_t count) {
    p.each(Relative::bias, [&](const Plan::Term& t) {
      if (real* to = part.of(t, h)) k.pair_scatter(from, p.mp, count, p.m, to, 0, 1, 0, t.rho(g, row), p.m, 0);
    });
  }

  void fill_factor() {
    std::fill_n(factor_.value, factor_.count * p.mp, real(1));
    p.each_gate(false, [&](const Plan::Term& t) { times(t, factor_.value); });
  }
  /// The rows that factor_ holds, times gate t.
  void times(const Plan::Term& t, real* to) const {
    const real* w = t.table(factor_.h);
    for (int64_t i = 0; i < factor_.count; ++i) {
      const int32_t* rho = t.rho(factor_.g, factor_.row + i);
      for (int j = 0; j < p.m; ++j)
        if (rho[j] >= 0) to[i * p.mp + j] *= w[rho[j]];
    }
  }

  const Plan& p;
  const Partial& part;
  const Kernels& k = kernels();
  Block added_, factor_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
