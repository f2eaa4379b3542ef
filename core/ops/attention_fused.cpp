// The fused attention: the equations of attention_plain.cpp on blocks of query rows, per head, group and image.
//
//   forward   S = Q K^T + terms, P = softmax(S) and its log-sum L, O = P V                               saved: q, k,
//   v, L backward  P = e^(S - L) again, dP = dO V^T, dS = P (dP - rowsum(P dP)), dV = P^T dO, dQ = dS K, dK = dS^T Q
//
// How the terms stay cheap:
//  * biases, masks and gates of width 1 are gathered into one n x m block per head, which the images (and equal groups)
//  of a shard
//    share; so is the gradient, which is scattered into the tables once per head;
//  * a query term needs q . Q[rho] for the rows of the table that a block of queries touches: one product with that
//  band of
//    the table, then a gather; key and value terms likewise, with the gather or scatter on their side. Gradients
//    scatter into the same small matrix and take two products;
//  * a key term of one row is a vector added to all rows; a query term of one row does nothing at all.
#include <limits>

#include "core/ops/attention_plan.h"
#include "core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr real none = -std::numeric_limits<real>::infinity();

using Term = Plan::Term;

/// Where the gradients of q, k, v go; to is null where nobody wants one.
struct Sinks {
  Sink q{nullptr, 0}, k{nullptr, 0}, v{nullptr, 0};
};

/// One task's share of the gradients of tables and angles: those of heads [first, last], zero at the start.
struct Partial {
  int first = 0, last = 0;
  std::array<real*, Terms::most> table{};
  std::array<real*, 4> rotary{};
};

/// Does the units [from, to) of (head, image) pairs, head by head, with its own scratch.
class Worker {
 public:
  Worker(const Plan& plan, const Tensor& y, const Tensor& logsum) : p(plan), c(plan.c), out(y), sums(logsum) {
    lay_out(false);
  }
  Worker(const Plan& plan, const Tensor& dy, const Tensor& logsum, const Sinks& to, const Partial& own)
      : p(plan), c(plan.c), out(dy), sums(logsum), sinks(to), part(own), backward_(true) {
    lay_out(true);
  }

  void run(int64_t from, int64_t to) {
    while (from < to) {
      const int h = static_cast<int>(from / p.B), b0 = static_cast<int>(from % p.B);
      const int b1 = static_cast<int>(std::min<int64_t>(p.B, b0 + (to - from)));
      begin_head(h);
      for (int g = 0; g < p.G; ++g) {
        begin_group(h, g);
        for (int b = b0; b < b1; ++b) {
          next_b = b + 1 < b1 ? b + 1 : b;
          backward_ ? backward(b, g, h) : forward(b, g, h);
        }
      }
      end_shared();
      from += b1 - b0;
    }
  }

 private:
  const Plan& p;
  const Call& c;
  const Kernels& k = kernels();
  const Tensor& out;   // o, or do
  const Tensor& sums;  // (B, G, H, n)
  Sinks sinks;
  Partial part;
  bool backward_ = false;
  int next_b = 0;  ///< the image after this one, whose rows are fetched ahead
  Arena arena;

  // rows of a block
  real *q = nullptr, *q_raw = nullptr, *o = nullptr, *s = nullptr, *ds = nullptr, *content = nullptr, *dq = nullptr;
  real *inverse = nullptr, *band = nullptr;
  const real* rows_of_q = nullptr;  ///< q, or in place where that will do
  int64_t ldq = 0;
  uint64_t* names = nullptr;
  // of a head
  real *kt = nullptr, *kt_raw = nullptr, *key = nullptr, *key_raw = nullptr, *v = nullptr, *vt = nullptr;
  real *dk = nullptr, *dk_raw = nullptr, *dv = nullptr;
  real *column = nullptr, *group_column = nullptr, *dcolumn = nullptr;
  int64_t column_from = 0, group_column_from = 0;
  int32_t* tokens = nullptr;
  // blocks of pairs, and what they hold
  struct Shared {
    real *value = nullptr, *gradient = nullptr;
    int h = -1, g = -1;
    int64_t row = 0, count = 0;
    bool open = false;  ///< gradient holds something
  } added, factor;
  // tables
  struct Table {
    const real* rows = nullptr;               // (R, padded)
    real *copy = nullptr, *turned = nullptr;  // padded copy; (width, Rp) times scale
    int h = -1;
  };
  std::array<Table, Terms::most> tables;

  void lay_out(bool back) {
    arena.lay_out([&](Arena& a) {
      const int64_t R = p.rows, dmax = std::max(p.dp, p.dvp);
      q = a.take<real>(R * p.dp), o = a.take<real>(R * p.dvp), s = a.take<real>(R * p.mp), inverse = a.take<real>(R);
      if (p.rotates) q_raw = a.take<real>(R * p.dp);
      if (p.drops) names = a.take<uint64_t>(R), tokens = a.take<int32_t>(p.m);
      kt = a.take<real>(p.d * p.mp), column = a.take<real>(p.mp), group_column = a.take<real>(p.mp);
      if (p.rotates && (p.key_terms || p.uniform_keys)) kt_raw = a.take<real>(p.d * p.mp);
      if (p.rotates || p.gated || back) key = a.take<real>(p.m * p.dp);
      if (p.rotates) key_raw = a.take<real>(p.m * p.dp);
      if (!back) v = a.take<real>(p.m * p.dvp);
      if (p.scaled) content = a.take<real>(R * p.mp);
      if (back) {
        ds = a.take<real>(R * p.mp), dq = a.take<real>(R * p.dp), vt = a.take<real>(p.dv * p.mp);
        v = a.take<real>(p.m * p.dvp);
        dk = a.take<real>(p.m * p.dp), dv = a.take<real>(p.m * p.dvp);
        if (p.rotates && (p.key_terms || p.uniform_keys)) dk_raw = a.take<real>(p.m * p.dp);
        if (p.uniform_keys) dcolumn = a.take<real>(p.mp);
      }
      const auto shared = [&](Shared& x) {
        const int64_t count = p.added_whole ? p.n : p.rows;
        x.value = a.take<real>(count * p.mp);
        if (back) x.gradient = a.take<real>(count * p.mp);
      };
      if (p.pairs_added) shared(added);
      if (p.scaled) shared(factor);
      int64_t widest = 0;
      const int64_t strip_rows = (R + p.strips - 1) / p.strips;
      for (int t = 0; t < p.count; ++t) {
        const Term& x = p.term[static_cast<size_t>(t)];
        Table& table = tables[static_cast<size_t>(t)];
        if (!x.wide && !(x.uniform && x.r->kind == Relative::key)) continue;
        if (x.padded != x.width) table.copy = a.take<real>(x.R * x.padded);
        if (x.r->kind == Relative::query || (x.r->kind == Relative::value && back))
          table.turned = a.take<real>(x.width * x.Rp);
        widest = std::max(widest,
                          x.r->kind == Relative::key ? p.whole(x.widest) * p.columns : strip_rows * p.whole(x.widest));
      }
      if (widest) band = a.take<real>(widest);
      static_cast<void>(dmax);
    });
  }

  real* gradient(const Term& t, int h) const {  // of the table of head h, (R, padded); null if nobody wants it
    real* to = part.table[static_cast<size_t>(t.number)];
    return to ? to + (t.heads() == 1 ? 0 : (h - part.first) * t.R * t.padded) : nullptr;
  }
  const Table& table(const Term& t) const { return tables[static_cast<size_t>(&t - p.term.data())]; }

  // ---- once per head, group, image
  // ------------------------------------------------------------------------------------

  void begin_head(int h) {
    for (int t = 0; t < p.count; ++t) {
      const Term& x = p.term[static_cast<size_t>(t)];
      Table& to = tables[static_cast<size_t>(t)];
      const int own = x.heads() == 1 ? 0 : h;
      if (to.h == own) continue;
      to.h = own;
      to.rows = x.table(h);
      if (to.copy) k.gather_rows(x.table(h), x.width, nullptr, x.R, x.width, to.copy, x.padded, 0), to.rows = to.copy;
      const real factor_ = x.r->kind == Relative::value ? real(1) : c.scale;
      if (to.turned) k.transpose_rows(x.table(h), x.width, nullptr, x.R, x.width, factor_, to.turned, x.Rp, 0);
    }
  }

  void begin_group(int h, int g) {
    static_cast<void>(h);
    const int32_t* at = c.who->k.data() + int64_t{g} * p.m;
    group_column_from = p.mp / p.lanes;
    for (int64_t j = p.mp - 1; j >= 0; --j) {
      const bool off = j >= p.m || (at[j] < 0 && c.who->absent == Pattern::Absent::masked);
      group_column[j] = off ? none : 0;
      if (off) group_column_from = j / p.lanes;
    }
    for (int j = 0; p.drops && j < p.m; ++j) tokens[j] = at[j] >= 0 ? at[j] : c.k.tokens + j;
    std::copy_n(group_column, p.mp, column);
    column_from = group_column_from;
  }

  /// What is added to every row of one image: masks of absent and padded keys, one-row key terms.
  void column_of(int b, int g) {
    if (p.finite()) return;
    const int32_t* at = c.who->k.data() + int64_t{g} * p.m;
    std::copy_n(group_column, p.mp, column);
    column_from = 0;
    p.each(Relative::key, [&](const Term& t) {
      if (t.uniform)
        k.product(1, p.m, t.width, table(t).rows, t.padded, raw_kt() + t.r->first * p.mp, p.mp, column, p.mp, true);
    });
    for (int j = 0; j < p.m; ++j)
      if (at[j] >= c.length(b)) column[j] = none;
  }
  const real* raw_kt() const { return kt_raw ? kt_raw : kt; }

  static int64_t place(const Heads& x, int b, int h) { return int64_t{b} * x.tokens * x.stride + x.offset + h * x.d; }
  /// How far on the rows are that are needed next: the next image's, or of a long sequence the next block's.
  int64_t ahead(const Heads& x, int b) const { return int64_t{next_b - b} * x.tokens * x.stride; }
  template <class At>
  int64_t ahead_of_rows(const Heads& x, const At& at) const {
    return p.blocks == 1 ? ahead(x, at.b) : int64_t{at.count} * x.stride;
  }
  int64_t angles(const Tensor& cosine, int h) const {
    return cosine.dim(0) == 1 ? 0 : int64_t{h} * cosine.dim(1) * (p.d / 2);
  }

  void keys(int b, int g, int h, bool back) {
    const int32_t* at = c.who->k.data() + int64_t{g} * p.m;
    const real* from = c.k.x.data() + place(c.k, b, h);
    if (p.rotates) {
      const Rotary& r = c.where.rotary;
      k.gather_rows(from, c.k.stride, at, p.m, p.d, key_raw, p.dp, ahead(c.k, b));
      std::copy_n(key_raw, p.m * p.dp, key);
      k.rotate(key, p.dp, p.m, p.d, r.cos_k.data() + angles(r.cos_k, h), r.sin_k.data() + angles(r.sin_k, h), r.halves);
      k.transpose_rows(key, p.dp, nullptr, p.m, p.d, c.scale, kt, p.mp, 0);
      if (kt_raw) k.transpose_rows(key_raw, p.dp, nullptr, p.m, p.d, c.scale, kt_raw, p.mp, 0);
    } else {
      if (key) k.gather_rows(from, c.k.stride, at, p.m, p.d, key, p.dp, 0);
      k.transpose_rows(from, c.k.stride, at, p.m, p.d, c.scale, kt, p.mp, ahead(c.k, b));
    }
    const real* values = c.v.x.data() + place(c.v, b, h);
    if (back) {
      k.transpose_rows(values, c.v.stride, at, p.m, p.dv, 1, vt, p.mp, ahead(c.v, b));
    } else {
      k.gather_rows(values, c.v.stride, at, p.m, p.dv, v, p.dvp, ahead(c.v, b));
    }
    column_of(b, g);
  }

  // ---- blocks shared by images
  // -----------------------------------------------------------------------------------------

  /// Makes `x` hold the rows of (h, group) from `row` on; `fill` computes them.
  template <class Fill, class Flush>
  real* hold(Shared& x, int h, int g, int row, int count, Fill fill, Flush flush) {
    const int64_t first = p.added_whole ? 0 : row, many = p.added_whole ? p.n : count;
    if (x.h != h || x.g != g || x.row != first) {
      flush(x);
      x.h = h, x.g = g, x.row = first, x.count = many;
      fill(x);
    }
    return x.value + (row - first) * p.mp;
  }

  real* added_rows(int h, int g, int row, int count) {
    if (!p.pairs_added) return nullptr;
    return hold(
        added, h, p.added_by_group ? g : 0, row, count, [&](Shared& x) { fill_added(x); },
        [&](Shared& x) { flush_added(x); });
  }
  void fill_added(Shared& x) {
    std::fill_n(x.value, x.count * p.mp, real(0));
    const Pattern& w = *c.who;
    if (!w.label_q.empty() || w.causal || w.no_self) {
      const real masked = w.mask_value != 0 ? static_cast<real>(w.mask_value) : none;
      const int32_t *tk = w.k.data() + int64_t{x.g} * p.m,
                    *lk = w.label_k.empty() ? tk : w.label_k.data() + int64_t{x.g} * p.m;
      for (int64_t i = 0; i < x.count; ++i) {
        const int64_t at = int64_t{x.g} * p.n + x.row + i;
        const int32_t tq = w.q[static_cast<size_t>(at)];
        const int32_t last = w.causal ? tq + w.offset : std::numeric_limits<int32_t>::max();
        const bool labels = !w.label_q.empty();
        const int32_t lq = labels ? w.label_q[static_cast<size_t>(at)] : 0;
        for (int j = 0; j < p.m; ++j)
          if ((labels && lk[j] != lq) || tk[j] > last || (w.no_self && tk[j] == tq)) x.value[i * p.mp + j] = masked;
      }
    }
    p.each(Relative::bias, [&](const Term& t) {
      k.pair_gather(x.value, p.mp, x.count, p.m, t.table(x.h), 0, 1, 0, t.rho(x.g, x.row), p.m, 0);
    });
  }
  void flush_added(Shared& x) {
    if (!x.open) return;
    x.open = false;
    scatter_added(x.gradient, x.h, x.g, x.row, x.count);
  }
  void scatter_added(const real* from, int h, int g, int64_t row, int64_t count) {
    p.each(Relative::bias, [&](const Term& t) {
      if (real* to = gradient(t, h)) k.pair_scatter(from, p.mp, count, p.m, to, 0, 1, 0, t.rho(g, row), p.m, 0);
    });
  }
  /// Adds to (or, the first time, starts) the shared gradient of the rows that `x` holds.
  void collect(Shared& x, const real* from, int row, int count) {
    if (!x.open && p.added_whole && count < p.n) std::fill_n(x.gradient, x.count * p.mp, real(0)), x.open = true;
    real* to = x.gradient + (row - x.row) * p.mp;
    if (x.open) {
      k.accumulate(from, to, count * p.mp);
    } else {
      std::copy_n(from, count * p.mp, to);
    }
    x.open = true;
  }

  /// Row of the table of gate t for a pair of the rows that `x` holds; -1: factor 1.
  real* factor_rows(int h, int g, int row, int count) {
    return hold(
        factor, h, p.gates_by_group ? g : 0, row, count, [&](Shared& x) { fill_factor(x); },
        [&](Shared& x) { flush_factor(x); });
  }
  void fill_factor(Shared& x) {
    std::fill_n(x.value, x.count * p.mp, real(1));
    p.each(Relative::gate, [&](const Term& t) { times_gate(t, x, x.value); });
  }
  void times_gate(const Term& t, const Shared& x, real* to) const {
    const real* w = t.table(x.h);
    for (int64_t i = 0; i < x.count; ++i) {
      const int32_t* rho = t.rho(x.g, x.row + i);
      for (int j = 0; j < p.m; ++j)
        if (rho[j] >= 0) to[i * p.mp + j] *= w[rho[j]];
    }
  }
  void flush_factor(Shared& x) {
    if (!x.open) return;
    x.open = false;
    p.each(Relative::gate, [&](const Term& t) {  // the product of the others, so that a weight of 0 has its gradient
      real* to = gradient(t, x.h);
      if (!to) return;
      std::copy_n(x.gradient, x.count * p.mp, x.value);
      p.each(Relative::gate, [&](const Term& other) {
        if (&other != &t) times_gate(other, x, x.value);
      });
      k.pair_scatter(x.value, p.mp, x.count, p.m, to, 0, 1, 0, t.rho(x.g, x.row), p.m, 0);
    });
    x.h = -1;  // its values are gone
  }
  void end_shared() {
    flush_added(added), flush_factor(factor);
    factor.h = -1;
  }

  // ---- a block of scores
  // ------------------------------------------------------------------------------------------------

  struct Block {
    int b, g, h, index, row, count;
  };

  std::array<PairGate, Terms::most> gates(const Block& at, int64_t& number) const {
    std::array<PairGate, Terms::most> list{};
    number = 0;
    p.each(Relative::gate, [&](const Term& t) {
      list[static_cast<size_t>(number++)] = {t.table(at.h), backward_ ? gradient(t, at.h) : nullptr, t.width,
                                             t.rho(at.g, at.row), p.m};
    });
    return list;
  }

  void queries(const Block& at) {
    const int32_t* tokens_q = c.who->q.data() + int64_t{at.g} * p.n + at.row;
    const real* from = c.q.x.data() + place(c.q, at.b, at.h);
    if (p.rotates || p.gated || backward_ || !p.queries_in_order) {
      rows_of_q = q, ldq = p.dp;
    } else {
      rows_of_q = from + int64_t{tokens_q[0]} * c.q.stride, ldq = c.q.stride;
    }
    real* raw = p.rotates ? q_raw : q;
    if (rows_of_q == q) k.gather_rows(from, c.q.stride, tokens_q, at.count, p.d, raw, p.dp, ahead_of_rows(c.q, at));
    if (p.rotates) {
      const Rotary& r = c.where.rotary;
      std::copy_n(q_raw, at.count * p.dp, q);
      const int64_t first = int64_t{at.row} * (p.d / 2);
      k.rotate(q, p.dp, at.count, p.d, r.cos_q.data() + angles(r.cos_q, at.h) + first,
               r.sin_q.data() + angles(r.sin_q, at.h) + first, r.halves);
    }
    if (p.drops)
      for (int i = 0; i < at.count; ++i) names[i] = tokens_q[i] < 0 ? 0 : c.row(at.b, at.h, tokens_q[i]);
  }
  const real* raw_q() const { return p.rotates ? q_raw : q; }

  /// s = the logits of the block without what softmax_rows adds.
  void scores(const Block& at) {
    if (p.gated) {
      int64_t number = 0;
      const auto list = gates(at, number);
      std::fill_n(s, at.count * p.mp, real(0));
      k.gated_scores(s, p.mp, at.count, p.m, p.d, c.scale, q, p.dp, key, p.dp, list.data(), number);
    } else {
      k.product(at.count, p.m, p.d, rows_of_q, ldq, kt, p.mp, s, p.mp, false);
    }
    if (p.scaled) {
      const real* w = factor_rows(at.h, at.g, at.row, at.count);
      std::copy_n(s, at.count * p.mp, content);
      for (int64_t i = 0; i < at.count * p.mp; ++i) s[i] *= w[i];
    }
    p.each_wide(Relative::query,
                [&](const Term& t) { gather_rows_side(t, at, p.rotates ? q_raw : rows_of_q, ldq, s); });
    p.each_wide(Relative::key, [&](const Term& t) {
      each_columns(t, at, [&](int j, int count, const Band& w) {
        k.product(w.high - w.low, count, t.width, table(t).rows + w.low * t.padded, t.padded,
                  raw_kt() + t.r->first * p.mp + j, p.mp, band, p.columns, false);
        k.pair_gather(s + j, p.mp, at.count, count, band, 0, p.columns, 1, t.rho(at.g, at.row) + j, p.m, w.low);
      });
    });
  }
  /// f(first row in the block, rows, band) for the strips of a block of a query or value term.
  template <class F>
  void each_strip(const Term& t, const Block& at, F f) {
    for (int i = 0; i < p.strips; ++i)
      if (const Band w = p.band(t, at.g, at.index, i); w.low != w.high)
        f(p.strip(at.count, i), p.strip(at.count, i + 1) - p.strip(at.count, i), w);
  }
  /// to_ij += x_i . table[rho_ij], for query terms (x = q) and the gradient of value terms (x = do).
  void gather_rows_side(const Term& t, const Block& at, const real* x, int64_t ld, real* to) {
    each_strip(t, at, [&](int row, int count, const Band& w) {
      const int64_t width = p.whole(w.high - w.low);
      k.product(count, w.high - w.low, t.width, x + row * ld + t.r->first, ld, table(t).turned + w.low, t.Rp, band,
                width, false);
      k.pair_gather(to + row * p.mp, p.mp, count, p.m, band, width, 1, 0, t.rho(at.g, at.row + row), p.m, w.low);
    });
  }
  /// band_ir = sum of x_ij over rho_ij = r, strip by strip; then f(row, rows, band of the table, stride of band_ir).
  template <class F>
  void scatter_rows_side(const Term& t, const Block& at, const real* x, F f) {
    each_strip(t, at, [&](int row, int count, const Band& w) {
      const int64_t width = p.whole(w.high - w.low);
      std::fill_n(band, count * width, real(0));
      k.pair_scatter(x + row * p.mp, p.mp, count, p.m, band, width, 1, 0, t.rho(at.g, at.row + row), p.m, w.low);
      f(row, count, w, width);
    });
  }
  template <class F>
  void each_columns(const Term& t, const Block& at, F f) {
    for (int j = 0, i = 0; j < p.m; j += p.columns, ++i)
      if (const Band w = p.band(t, at.g, at.index, i); w.low != w.high) f(j, std::min(p.columns, p.m - j), w);
  }
  void drop(real* x, const Block& at) {
    if (p.drops) k.pair_drop(x, p.mp, at.count, p.m, names, tokens, c.threshold(), c.kept());
  }
  real* logsum(const Block& at) const {
    return sums.data() + ((int64_t{at.b} * p.G + at.g) * p.H + at.h) * p.n + at.row;
  }

  void forward(int b, int g, int h) {
    keys(b, g, h, false);
    const int64_t stride = int64_t{p.H} * p.dv;
    for (int i = 0; i < p.blocks; ++i) {
      const int row = p.first_row(i);
      const Block at{b, g, h, i, row, p.first_row(i + 1) - row};
      queries(at);
      scores(at);
      k.softmax_rows(s, p.mp, at.count, added_rows(h, g, row, at.count), column, column_from, inverse, logsum(at));
      drop(s, at);
      k.product(at.count, p.dv, p.m, s, p.mp, v, p.dvp, o, p.dvp, false);
      p.each_wide(Relative::value, [&](const Term& t) {
        scatter_rows_side(t, at, s, [&](int from, int count, const Band& w, int64_t width) {
          k.product(count, t.width, w.high - w.low, band, width, table(t).rows + w.low * t.padded, t.padded,
                    o + from * p.dvp + t.r->first, p.dvp, true);
        });
      });
      k.scatter_rows(o, p.dvp, c.who->q.data() + int64_t{g} * p.n + row, at.count, p.dv, 1, inverse,
                     out.data() + int64_t{b} * c.q.tokens * stride + h * p.dv, stride, 0,
                     ahead_of_rows({{}, 0, p.H * p.dv, 0, 0, c.q.tokens}, at));
    }
  }

  void backward(int b, int g, int h) {
    keys(b, g, h, true);
    const int64_t stride = int64_t{p.H} * p.dv;
    if (p.gated) std::fill_n(dk, p.m * p.dp, real(0));
    if (dk_raw) std::fill_n(dk_raw, p.m * p.dp, real(0));
    if (dcolumn) std::fill_n(dcolumn, p.mp, real(0));
    for (int i = 0; i < p.blocks; ++i) {
      const int row = p.first_row(i);
      const Block at{b, g, h, i, row, p.first_row(i + 1) - row};
      queries(at);
      const int32_t* tokens_q = c.who->q.data() + int64_t{g} * p.n + row;
      k.gather_rows(out.data() + int64_t{b} * c.q.tokens * stride + h * p.dv, stride, tokens_q, at.count, p.dv, o,
                    p.dvp, ahead_of_rows({{}, 0, p.H * p.dv, 0, 0, c.q.tokens}, at));
      // 1. P again, and dP
      scores(at);
      k.weight_rows(s, p.mp, at.count, added_rows(h, g, row, at.count), column, column_from, logsum(at));
      k.product(at.count, p.m, p.dv, o, p.dvp, vt, p.mp, ds, p.mp, false);
      p.each_wide(Relative::value, [&](const Term& t) { gather_rows_side(t, at, o, p.dvp, ds); });
      drop(ds, at);
      // 2. dS from both, then the dropped P for the values' gradients
      k.dscore_rows(s, ds, p.mp, at.count);
      drop(s, at);
      if (sinks.v.to) k.product_tn(p.m, p.dv, at.count, s, p.mp, o, p.dvp, dv, p.dvp, i > 0);
      p.each_wide(Relative::value, [&](const Term& t) {
        if (real* to = gradient(t, h))
          scatter_rows_side(t, at, s, [&](int from, int count, const Band& w, int64_t width) {
            k.product_tn(w.high - w.low, t.width, count, band, width, o + from * p.dvp + t.r->first, p.dvp,
                         to + w.low * t.padded, t.padded, true);
          });
      });
      // 3. terms, queries and keys
      biases_backward(at);
      content_backward(at, i > 0);
      terms_backward(at);
      if (sinks.q.to)
        k.scatter_rows(dq, p.dp, tokens_q, at.count, p.d, c.scale, nullptr, sinks.q.to + place(c.q, b, h), c.q.stride,
                       sinks.q.beta, ahead_of_rows(c.q, at));
    }
    keys_backward(b, g, h);
  }

  void biases_backward(const Block& at) {
    if (p.pairs_added) {
      if (p.added_whole) {
        collect(added, ds, at.row, at.count);
      } else {
        scatter_added(ds, at.h, at.g, at.row, at.count);
      }
    }
    if (dcolumn) k.sum_rows(ds, dcolumn, 1, at.count, p.mp);
  }

  void content_backward(const Block& at, bool add) {
    const real* d = ds;
    if (p.gated) {
      int64_t number = 0;
      const auto list = gates(at, number);
      std::fill_n(dq, at.count * p.dp, real(0));
      k.gated_scores_backward(ds, p.mp, at.count, p.m, p.d, c.scale, q, p.dp, key, p.dp, list.data(), number, dq, dk);
    } else {
      if (p.scaled) {  // content holds the scores before gating; s is free
        const real* w = factor_rows(at.h, at.g, at.row, at.count);
        for (int64_t i = 0; i < at.count * p.mp; ++i) content[i] *= ds[i];
        collect(factor, content, at.row, at.count);
        for (int64_t i = 0; i < at.count * p.mp; ++i) s[i] = ds[i] * w[i];
        d = s;
      }
      if (sinks.q.to || c.where.rotary.cos_q) k.product(at.count, p.d, p.m, d, p.mp, key, p.dp, dq, p.dp, false);
      if (sinks.k.to || c.where.rotary.cos_k) k.product_tn(p.m, p.d, at.count, d, p.mp, q, p.dp, dk, p.dp, add);
    }
    if (p.rotates) {
      const Rotary& r = c.where.rotary;
      const int64_t first = int64_t{at.row} * (p.d / 2);
      k.rotate_backward(q_raw, dq, p.dp, at.count, p.d, r.cos_q.data() + angles(r.cos_q, at.h) + first,
                        r.sin_q.data() + angles(r.sin_q, at.h) + first, r.halves, c.scale,
                        angle_gradient(0, r.cos_q, at.h, first), angle_gradient(1, r.sin_q, at.h, first));
    }
  }
  real* angle_gradient(size_t which, const Tensor& t, int h, int64_t first) const {
    real* to = part.rotary[which];
    return to ? to + (t.dim(0) == 1 ? 0 : int64_t{h - part.first} * t.dim(1) * (p.d / 2)) + first : nullptr;
  }

  void terms_backward(const Block& at) {
    p.each_wide(Relative::query, [&](const Term& t) {
      real* to = gradient(t, at.h);
      scatter_rows_side(t, at, ds, [&](int from, int count, const Band& w, int64_t width) {
        if (to)
          k.product_tn(w.high - w.low, t.width, count, band, width, raw_q() + from * p.dp + t.r->first, p.dp,
                       to + w.low * t.padded, t.padded, true);
        if (sinks.q.to)
          k.product(count, t.width, w.high - w.low, band, width, table(t).rows + w.low * t.padded, t.padded,
                    dq + from * p.dp + t.r->first, p.dp, true);
      });
    });
    p.each_wide(Relative::key, [&](const Term& t) {
      const real* rows = (p.rotates ? key_raw : key) + t.r->first;
      real *to = gradient(t, at.h), *dkey = (dk_raw ? dk_raw : dk) + t.r->first;
      each_columns(t, at, [&](int j, int count, const Band& w) {
        std::fill_n(band, (w.high - w.low) * int64_t{p.columns}, real(0));
        k.pair_scatter(ds + j, p.mp, at.count, count, band, 0, p.columns, 1, t.rho(at.g, at.row) + j, p.m, w.low);
        if (to)
          k.product(w.high - w.low, t.width, count, band, p.columns, rows + j * p.dp, p.dp, to + w.low * t.padded,
                    t.padded, true);
        if (sinks.k.to)
          k.product_tn(count, t.width, w.high - w.low, band, p.columns, table(t).rows + w.low * t.padded, t.padded,
                       dkey + j * p.dp, p.dp, true);
      });
    });
  }

  void keys_backward(int b, int g, int h) {
    const int32_t* at = c.who->k.data() + int64_t{g} * p.m;
    if (p.uniform_keys) {
      real* dkey = dk_raw ? dk_raw : dk;
      p.each(Relative::key, [&](const Term& t) {
        if (!t.uniform) return;
        const real* rows = (p.rotates ? key_raw : key) + t.r->first;
        if (real* to = gradient(t, h)) k.product(1, t.width, p.m, dcolumn, p.mp, rows, p.dp, to, t.padded, true);
        if (sinks.k.to)
          k.product_tn(p.m, t.width, 1, dcolumn, p.mp, table(t).rows, t.padded, dkey + t.r->first, p.dp, true);
      });
    }
    if (p.rotates) {
      const Rotary& r = c.where.rotary;
      k.rotate_backward(key_raw, dk, p.dp, p.m, p.d, r.cos_k.data() + angles(r.cos_k, h),
                        r.sin_k.data() + angles(r.sin_k, h), r.halves, c.scale, angle_gradient(2, r.cos_k, h, 0),
                        angle_gradient(3, r.sin_k, h, 0));
      if (dk_raw) k.accumulate(dk_raw, dk, p.m * p.dp);
    }
    if (sinks.k.to)
      k.scatter_rows(dk, p.dp, at, p.m, p.d, c.scale, nullptr, sinks.k.to + place(c.k, b, h), c.k.stride, sinks.k.beta,
                     ahead(c.k, b));
    if (sinks.v.to)
      k.scatter_rows(dv, p.dvp, at, p.m, p.dv, 1, nullptr, sinks.v.to + place(c.v, b, h), c.v.stride, sinks.v.beta,
                     ahead(c.v, b));
  }
};

/// f(block, from, to) over (head, image) units in at most 8 fixed blocks, or one inside of a shard. Returns their
/// number.
int blocks_of(const Plan& p) {
  return parallel::in_shard() ? 1 : static_cast<int>(std::min<int64_t>(8, int64_t{p.B} * p.H));
}
template <class F>
void each_block(const Plan& p, int blocks, F f) {
  const int64_t units = int64_t{p.B} * p.H;
  parallel::rows(blocks, 1, [&](int64_t i, int64_t end) {
    for (; i < end; ++i) f(static_cast<int>(i), units * i / blocks, units * (i + 1) / blocks);
  });
}

/// Is every token in exactly one place of the pattern?
bool once_each(const Index& at, int tokens) {
  if (at.size() != static_cast<size_t>(tokens)) return false;
  Tensor seen = zeros({std::max(tokens, 1)});
  for (const int32_t t : at)
    if (t < 0 || seen[t]++ > 0) return false;
  return true;
}

/// The gradient buffers of q, k, v, which may be views of one tensor: written where every element is written once, else
/// zeroed and added to.
Sinks sinks_of(const Call& c, Back& back) {
  Sinks s;
  struct View {
    const Heads* x;
    Sink* to;
    bool complete;
  };
  const bool keys = once_each(c.who->k, c.k.tokens), queries = once_each(c.who->q, c.q.tokens);
  const std::array<View, 3> views{{{&c.q, &s.q, queries}, {&c.k, &s.k, keys}, {&c.v, &s.v, keys}}};
  for (size_t i = 0; i < 3; ++i) {
    const View& first = views[i];
    if (first.to->to || !back.wants(first.x->x)) continue;
    bool complete = true;
    int covered = 0;
    for (size_t j = i; j < 3; ++j)
      if (same_gradient(first.x->x, views[j].x->x))
        complete &= views[j].complete, covered += views[j].x->heads * views[j].x->d;
    Sink sink = back.into(first.x->x);
    if (sink.beta == 0 && !(complete && covered == first.x->stride))
      std::fill_n(sink.to, first.x->x.size(), real(0)), sink.beta = 1;
    for (size_t j = i; j < 3; ++j)
      if (same_gradient(first.x->x, views[j].x->x)) *views[j].to = sink;
  }
  return s;
}

void backward(const Call& c, const Tensor& logsum, const Tensor& dy, Back& back) {
  const Plan p(c);
  const int blocks = blocks_of(p);
  const int64_t units = int64_t{p.B} * p.H;
  // partial gradients of tables and angles, one set per block of work, summed in order
  struct Wanted {
    const Tensor* x;
    real factor;
    int64_t rows, width, padded;
    std::array<real*, 8> at;
  };
  std::array<Wanted, Terms::most + 4> wanted{};
  std::array<Partial, 8> parts;
  Arena arena;
  size_t many = 0;
  const auto heads_in = [&](int i) {
    const int first = static_cast<int>(units * i / blocks / p.B);
    return std::pair(first, static_cast<int>(std::max(units * i / blocks, units * (i + 1) / blocks - 1) / p.B));
  };
  arena.lay_out([&](Arena& a) {
    many = 0;
    const auto want = [&](const Tensor& x, real factor, int64_t rows, int64_t width, int64_t padded, auto slot) {
      if (!x || !back.wants(x)) return;
      Wanted& w = wanted[many++];
      w = {&x, factor, rows, width, padded, {}};
      for (int i = 0; i < blocks; ++i) {
        const auto [first, last] = heads_in(i);
        const int64_t count = (x.dim(0) == 1 ? 1 : last - first + 1) * rows * padded;
        w.at[static_cast<size_t>(i)] = a.template take<real>(count);
        slot(parts[static_cast<size_t>(i)]) = w.at[static_cast<size_t>(i)];
      }
    };
    for (int t = 0; t < p.count; ++t) {
      const Term& x = p.term[static_cast<size_t>(t)];
      const bool inner = x.r->kind == Relative::query || x.r->kind == Relative::key;
      want(x.r->table, inner ? c.scale : real(1), x.R, x.width, x.padded,
           [&](Partial& q) -> real*& { return q.table[static_cast<size_t>(x.number)]; });
    }
    const Rotary& r = c.where.rotary;
    const std::array<const Tensor*, 4> angles{&r.cos_q, &r.sin_q, &r.cos_k, &r.sin_k};
    for (size_t i = 0; i < 4; ++i)
      want(*angles[i], 1, i < 2 ? p.n : p.m, p.d / 2, p.d / 2, [&, i](Partial& q) -> real*& { return q.rotary[i]; });
  });
  const Sinks sinks = sinks_of(c, back);
  each_block(p, blocks, [&](int i, int64_t from, int64_t to) {
    Partial& own = parts[static_cast<size_t>(i)];
    std::tie(own.first, own.last) = heads_in(i);
    for (size_t w = 0; w < many; ++w)
      std::fill_n(wanted[w].at[static_cast<size_t>(i)],
                  (wanted[w].x->dim(0) == 1 ? 1 : own.last - own.first + 1) * wanted[w].rows * wanted[w].padded,
                  real(0));
    Worker(p, dy, logsum, sinks, own).run(from, to);
  });
  for (size_t w = 0; w < many; ++w) {
    const Wanted& x = wanted[w];
    const auto [to, beta] = back.into(*x.x);
    if (beta == 0) std::fill_n(to, x.x->size(), real(0));
    for (int i = 0; i < blocks; ++i) {
      const auto [first, last] = heads_in(i);
      const bool per_head = x.x->dim(0) > 1;
      const int64_t rows = (per_head ? last - first + 1 : 1) * x.rows;
      kernels().scatter_rows(x.at[static_cast<size_t>(i)], x.padded, nullptr, rows, x.width, x.factor, nullptr,
                             to + (per_head ? first * x.rows * x.width : 0), x.width, 1, 0);
    }
  }
  // a query term that softmax does not see has a gradient all the same: zero
  for (int t = 0; t < c.where.count; ++t) {
    const Tensor& x = c.where.relative[static_cast<size_t>(t)].table;
    bool planned = false;
    for (int i = 0; i < p.count; ++i) planned |= p.term[static_cast<size_t>(i)].number == t;
    if (planned || !back.wants(x)) continue;
    if (const auto [to, beta] = back.into(x); beta == 0) std::fill_n(to, x.size(), real(0));
  }
}

}  // namespace

Tensor attention(const Heads& q, const Heads& k, const Heads& v, const Pattern& who, const Terms& where, double scale,
                 const Dropout& dropout, std::span<const int32_t> lengths, const Run& run) {
  const Call c = check(q, k, v, who, where, scale, dropout, lengths, run);
  const Plan p(c);
  const bool complete = once_each(who.q, q.tokens);
  Tensor o({p.B, q.tokens, p.H * p.dv}), logsum({p.B, p.G, p.H, p.n});
  if (!complete) std::fill_n(o.data(), o.size(), real(0));
  each_block(p, blocks_of(p), [&](int, int64_t from, int64_t to) { Worker(p, o, logsum).run(from, to); });
  Call::List list;
  return record({"attention", c.macs()}, o, c.inputs(list),
                [c, logsum](const Tensor& dy, Back& back) { backward(c, logsum, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
