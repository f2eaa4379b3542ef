// One head: scores, weights and output of a block of query rows after the other, and their gradients.
#include "tessera/core/ops/attention/head.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {
constexpr real none = -std::numeric_limits<real>::infinity();
}

HeadWorker::HeadWorker(const Plan& plan, const Tensor& y, const Tensor& norms, const Sinks& to, const Partial& own,
                       bool backward)
    : p(plan),
      c(plan.c),
      out_{y, 0, p.H * p.dv, p.H, p.dv, c.q.tokens},
      norms_(norms),
      sinks_(to),
      part_(own),
      backward_(backward),
      pairs_(plan, part_) {
  arena_.lay_out([&](Arena& a) { lay_out(a); });
}

void HeadWorker::lay_out(Arena& a) {
  const int64_t R = p.rows;
  const bool raw_keys = p.rotates && (p.key_terms || p.uniform_keys);
  q = a.take<real>(R * p.dp), o = a.take<real>(R * p.dvp), s = a.take<real>(R * p.mp);
  kt = a.take<real>(p.d * p.mp), column = a.take<real>(p.mp), group_column = a.take<real>(p.mp);
  if (p.rotates) q_raw = a.take<real>(R * p.dp), key_raw = a.take<real>(p.m * p.dp);
  if (p.rotates || p.gated || backward_) key = a.take<real>(p.m * p.dp);
  if (raw_keys) kt_raw = a.take<real>(p.d * p.mp);
  if (p.drops) names = a.take<uint64_t>(R), tokens = a.take<int32_t>(p.m);
  if (c.lengths) within = a.take<int32_t>(p.m);
  if (p.scaled) content = a.take<real>(R * p.mp);
  if (backward_) {
    ds = a.take<real>(R * p.mp), dq = a.take<real>(R * p.dp), vt = a.take<real>(p.dv * p.mp);
    dk = a.take<real>(p.m * p.dp), dv = a.take<real>(p.m * p.dvp);
    if (raw_keys) dk_raw = a.take<real>(p.m * p.dp);
    if (p.uniform_keys) dcolumn = a.take<real>(p.mp);
  } else {
    v = a.take<real>(p.m * p.dvp);
  }
  pairs_.lay_out(a, backward_);
  int64_t widest = 0;
  const int64_t strip_rows = (R + p.strips - 1) / p.strips;
  for (int t = 0; t < p.count; ++t) {
    const Term& x = p.term[static_cast<size_t>(t)];
    Table& to = tables_[static_cast<size_t>(t)];
    const Relative::Kind kind = x.r->kind;
    if (kind == Relative::gate && x.width > 1) {
      to.copy = a.take<real>((1 + x.R) * p.dp);
      if (backward_) to.gradient = a.take<real>((1 + x.R) * p.dp);
    }
    if (!x.wide && !(x.uniform && kind == Relative::key)) continue;
    if (x.padded != x.width) to.copy = a.take<real>(x.R * x.padded);
    if (kind == Relative::query || (kind == Relative::value && backward_)) to.turned = a.take<real>(x.width * x.Rp);
    widest = std::max(widest, p.whole(x.widest) * (kind == Relative::key ? p.columns : strip_rows));
  }
  if (widest) band = a.take<real>(widest);
}

void HeadWorker::run(int64_t from, int64_t to) {
  while (from < to) {
    const int h = static_cast<int>(from / p.B), b0 = static_cast<int>(from % p.B);
    const int b1 = static_cast<int>(std::min<int64_t>(p.B, b0 + (to - from)));
    begin_head(h);
    for (int g = 0; g < p.G; ++g) {
      begin_group(g);
      for (int b = b0; b < b1; ++b) {
        next_b_ = std::min(b + 1, b1 - 1);
        backward_ ? backward(b, g, h) : forward(b, g, h);
      }
    }
    end_head(h);
    from += b1 - b0;
  }
}

// ---- once per head, group, image -------------------------------------------------------------------------------------

void HeadWorker::begin_head(int h) {
  for (int t = 0; t < p.count; ++t) {
    const Term& x = p.term[static_cast<size_t>(t)];
    Table& to = tables_[static_cast<size_t>(t)];
    const int own = x.heads() == 1 ? 0 : h;
    if (to.gradient) std::fill_n(to.gradient, (1 + x.R) * p.dp, real(0));
    if (to.h == own) continue;
    to.h = own, to.rows = x.table(h);
    if (x.r->kind == Relative::gate && to.copy) {
      std::fill_n(to.copy, p.dp, real(1));
      k.gather_rows(x.table(h), x.width, nullptr, x.R, x.width, to.copy + p.dp, p.dp, 0);
      continue;
    }
    if (to.copy) k.gather_rows(x.table(h), x.width, nullptr, x.R, x.width, to.copy, x.padded, 0), to.rows = to.copy;
    const real factor = x.r->kind == Relative::query ? c.scale : real(1);
    if (to.turned) k.transpose_rows(x.table(h), x.width, nullptr, x.R, x.width, factor, to.turned, x.Rp, 0);
  }
}

void HeadWorker::end_head(int h) {
  pairs_.end_head();
  p.each_gate(true, [&](const Term& t) {
    if (real* to = part_.of(t, h))
      k.scatter_rows(table(t).gradient + p.dp, p.dp, nullptr, t.R, t.width, c.scale, nullptr, to, t.width, 1, 0);
  });
}

void HeadWorker::begin_group(int g) {
  const int32_t* at = key_tokens(g);
  int64_t first = p.mp;
  for (int64_t j = p.mp - 1; j >= 0; --j) {
    const bool off = j >= p.m || (at[j] < 0 && c.who->absent == Pattern::Absent::masked);
    group_column[j] = off ? none : 0;
    if (off) first = j;
  }
  for (int j = 0; p.drops && j < p.m; ++j) tokens[j] = at[j] >= 0 ? at[j] : c.k.tokens + j;
  std::copy_n(group_column, p.mp, column);
  column_from = first / p.lanes;
}

/// The column of one image, where lengths or one-row key terms make it differ.
void HeadWorker::mask_keys(int b, int g) {
  if (!c.lengths && !p.uniform_keys) return;
  const int32_t* at = key_tokens(g);
  std::copy_n(group_column, p.mp, column);
  column_from = 0;
  p.each(Relative::key, [&](const Term& t) {
    if (t.uniform)
      k.product(1, p.m, t.width, table(t).rows, t.padded, raw_kt() + t.r->first * p.mp, p.mp, column, p.mp, true);
  });
  for (int j = 0; j < p.m; ++j)
    if (at[j] >= c.length(b)) column[j] = none;
}

void HeadWorker::load_keys(int b, int g, int h) {
  const int32_t* at = key_tokens(g);
  for (int j = 0; within && j < p.m; ++j) within[j] = at[j] < c.length(b) ? at[j] : -1;
  if (within) at = within;
  const real *from = c.k.x.data() + place(c.k, b, h), *values = c.v.x.data() + place(c.v, b, h);
  if (p.rotates) {
    const Rotary& r = c.where.rotary;
    k.gather_rows(from, c.k.stride, at, p.m, p.d, key_raw, p.dp, ahead(c.k, b));
    std::copy_n(key_raw, p.m * p.dp, key);
    k.rotate(key, p.dp, p.m, p.d, r.cos_k.data() + angles(r.cos_k, h, 0), r.sin_k.data() + angles(r.sin_k, h, 0),
             r.halves);
    k.transpose_rows(key, p.dp, nullptr, p.m, p.d, c.scale, kt, p.mp, 0);
    if (kt_raw) k.transpose_rows(key_raw, p.dp, nullptr, p.m, p.d, c.scale, kt_raw, p.mp, 0);
  } else {
    if (key) k.gather_rows(from, c.k.stride, at, p.m, p.d, key, p.dp, 0);
    k.transpose_rows(from, c.k.stride, at, p.m, p.d, c.scale, kt, p.mp, ahead(c.k, b));
  }
  if (backward_) {
    k.transpose_rows(values, c.v.stride, at, p.m, p.dv, 1, vt, p.mp, ahead(c.v, b));
  } else {
    k.gather_rows(values, c.v.stride, at, p.m, p.dv, v, p.dvp, ahead(c.v, b));
  }
  mask_keys(b, g);
}

// ---- a block of query rows -------------------------------------------------------------------------------------------

void HeadWorker::load_queries(const Block& at) {
  const int32_t* token = query_tokens(at);
  const real* from = c.q.x.data() + place(c.q, at.b, at.h);
  if (p.queries_in_order && !p.rotates && !p.gated && !backward_) {  // read once: no need of a copy
    q_rows = from + int64_t{token[0]} * c.q.stride, ldq = c.q.stride;
  } else {
    real* raw = p.rotates ? q_raw : q;
    k.gather_rows(from, c.q.stride, token, at.count, p.d, raw, p.dp, ahead(c.q, at));
    q_rows = q, ldq = p.dp;
  }
  if (p.rotates) {
    const Rotary& r = c.where.rotary;
    std::copy_n(q_raw, at.count * p.dp, q);
    k.rotate(q, p.dp, at.count, p.d, r.cos_q.data() + angles(r.cos_q, at.h, at.row),
             r.sin_q.data() + angles(r.sin_q, at.h, at.row), r.halves);
  }
  for (int i = 0; p.drops && i < at.count; ++i) names[i] = token[i] < 0 ? 0 : c.row(at.b, at.h, token[i]);
}

/// f(first row in the block, rows, band) for each strip of a query or value term.
template <class F>
void HeadWorker::each_strip(const Term& t, const Block& at, F f) const {
  for (int i = 0; i < p.strips; ++i)
    if (const Band w = p.band(t, at.g, at.index, i); w.low != w.high)
      f(p.strip(at.count, i), p.strip(at.count, i + 1) - p.strip(at.count, i), w);
}

/// f(first key, keys, band) for each block of columns of a key term.
template <class F>
void HeadWorker::each_columns(const Term& t, const Block& at, F f) const {
  for (int i = 0, j = 0; j < p.m; j += p.columns, ++i)
    if (const Band w = p.band(t, at.g, at.index, i); w.low != w.high) f(j, std::min(p.columns, p.m - j), w);
}

/// to_ij += x_i . table[rho_ij]: query terms (x = q), and the gradient of value terms (x = do).
void HeadWorker::gather_by_row(const Term& t, const Block& at, const real* x, int64_t ld, real* to) const {
  each_strip(t, at, [&](int row, int count, const Band& w) {
    const int64_t width = p.whole(w.high - w.low);
    k.product(count, w.high - w.low, t.width, x + row * ld + t.r->first, ld, table(t).turned + w.low, t.Rp, band, width,
              false);
    k.pair_gather(to + row * p.mp, p.mp, count, p.m, band, width, 1, 0, t.rho(at.g, at.row + row), p.m, w.low);
  });
}

/// The transpose of that: band_ir = sum of x_ij over rho_ij = r, then f(first row, rows, band of the table, row stride of band).
template <class F>
void HeadWorker::scatter_by_row(const Term& t, const Block& at, const real* x, F f) const {
  each_strip(t, at, [&](int row, int count, const Band& w) {
    const int64_t width = p.whole(w.high - w.low);
    std::fill_n(band, count * width, real(0));
    k.pair_scatter(x + row * p.mp, p.mp, count, p.m, band, width, 1, 0, t.rho(at.g, at.row + row), p.m, w.low);
    f(row, count, w, width);
  });
}

std::array<PairGate, Terms::most> HeadWorker::gates(const Block& at, int64_t& count) const {
  std::array<PairGate, Terms::most> list;
  count = 0;
  p.each_gate(true, [&](const Term& t) {
    list[static_cast<size_t>(count++)] = {table(t).copy, table(t).gradient, t.rho(at.g, at.row), p.m};
  });
  return list;
}

/// s = the logits of the block without what is added to them from `pairs_` and `column`.
void HeadWorker::scores(const Block& at) {
  if (c.scale == 0) {  // nothing but biases counts (GPSA's positions)
    std::fill_n(s, at.count * p.mp, real(0));
  } else if (p.gated) {
    int64_t count;
    const auto list = gates(at, count);
    k.gated_scores(s, p.mp, at.count, p.m, p.dp, c.scale, q, key, list.data(), count);
  } else {
    k.product(at.count, p.m, p.d, q_rows, ldq, kt, p.mp, s, p.mp, false);
  }
  if (p.scaled) {
    std::copy_n(s, at.count * p.mp, content);
    k.mul(s, pairs_.factor(at.h, at.g, at.row, at.count), s, at.count * p.mp);
  }
  p.each_wide(Relative::query, [&](const Term& t) { gather_by_row(t, at, p.rotates ? q_raw : q_rows, ldq, s); });
  p.each_wide(Relative::key, [&](const Term& t) {
    each_columns(t, at, [&](int j, int count, const Band& w) {
      k.product(w.high - w.low, count, t.width, table(t).rows + w.low * t.padded, t.padded,
                raw_kt() + t.r->first * p.mp + j, p.mp, band, p.columns, false);
      k.pair_gather(s + j, p.mp, at.count, count, band, 0, p.columns, 1, t.rho(at.g, at.row) + j, p.m, w.low);
    });
  });
}

void HeadWorker::drop(real* x, const Block& at) const {
  if (p.drops) k.pair_drop(x, p.mp, at.count, p.m, names, tokens, c.threshold(), c.kept());
}

void HeadWorker::forward(int b, int g, int h) {
  load_keys(b, g, h);
  for (int i = 0; i < p.blocks; ++i) {
    const Block at = block(b, g, h, i);
    load_queries(at);
    scores(at);
    k.softmax_rows(s, p.mp, at.count, pairs_.added(h, g, at.row, at.count), column, column_from, shift(at),
                   inverse(at));
    drop(s, at);
    k.product(at.count, p.dv, p.m, s, p.mp, v, p.dvp, o, p.dvp, false);
    p.each_wide(Relative::value, [&](const Term& t) {
      scatter_by_row(t, at, s, [&](int row, int count, const Band& w, int64_t width) {
        k.product(count, t.width, w.high - w.low, band, width, table(t).rows + w.low * t.padded, t.padded,
                  o + row * p.dvp + t.r->first, p.dvp, true);
      });
    });
    k.scatter_rows(o, p.dvp, query_tokens(at), at.count, p.dv, 1, inverse(at), out_.x.data() + place(out_, b, h),
                   out_.stride, 0, ahead(out_, at));
  }
}

void HeadWorker::backward(int b, int g, int h) {
  load_keys(b, g, h);
  if (p.gated) std::fill_n(dk, p.m * p.dp, real(0));
  if (dk_raw) std::fill_n(dk_raw, p.m * p.dp, real(0));
  if (dcolumn) std::fill_n(dcolumn, p.mp, real(0));
  for (int i = 0; i < p.blocks; ++i) {
    const Block at = block(b, g, h, i);
    load_queries(at);
    k.gather_rows(out_.x.data() + place(out_, b, h), out_.stride, query_tokens(at), at.count, p.dv, o, p.dvp,
                  ahead(out_, at));
    // 1. P again, and dP
    scores(at);
    k.weight_rows(s, p.mp, at.count, pairs_.added(h, g, at.row, at.count), column, column_from, shift(at), inverse(at));
    k.product(at.count, p.m, p.dv, o, p.dvp, vt, p.mp, ds, p.mp, false);
    p.each_wide(Relative::value, [&](const Term& t) { gather_by_row(t, at, o, p.dvp, ds); });
    drop(ds, at);
    // 2. dS; then what the dropped P gives to values
    k.dscore_rows(s, ds, p.mp, at.count);
    drop(s, at);
    if (sinks_.v.to) k.product_tn(p.m, p.dv, at.count, s, p.mp, o, p.dvp, dv, p.dvp, i > 0);
    p.each_wide(Relative::value, [&](const Term& t) {
      real* to = part_.of(t, h);
      if (!to) return;
      scatter_by_row(t, at, s, [&](int row, int count, const Band& w, int64_t width) {
        k.product_tn(w.high - w.low, t.width, count, band, width, o + row * p.dvp + t.r->first, p.dvp,
                     to + w.low * t.padded, t.padded, true);
      });
    });
    // 3. what dS gives to biases, queries and keys
    pairs_.added_backward(h, g, at.row, at.count, ds);
    if (dcolumn) k.sum_rows(ds, dcolumn, 1, at.count, p.mp);
    content_backward(at);
    query_terms_backward(at);
    key_terms_backward(at);
    if (sinks_.q.to)
      k.scatter_rows(dq, p.dp, query_tokens(at), at.count, p.d, c.scale, nullptr, sinks_.q.to + place(c.q, b, h),
                     c.q.stride, sinks_.q.beta, ahead(c.q, at));
  }
  keys_backward(b, g, h);
}

/// dq (of this block) and dk from the product of rotated queries and keys, without scale; dq turned back.
void HeadWorker::content_backward(const Block& at) {
  const real* d = ds;
  if (p.scaled) {
    const int64_t size = at.count * p.mp;
    k.mul(ds, content, content, size);
    pairs_.factor_backward(at.h, at.g, at.row, at.count, content);
    k.mul(ds, pairs_.factor(at.h, at.g, at.row, at.count), s, size);  // the weights are not needed any more
    d = s;
  }
  if (c.scale == 0) {
    std::fill_n(dq, at.count * p.dp, real(0));
    if (at.index == 0) std::fill_n(dk, p.m * p.dp, real(0));
  } else if (p.gated) {
    int64_t count;
    const auto list = gates(at, count);
    k.gated_scores_backward(d, p.mp, at.count, p.m, p.dp, q, key, list.data(), count, dq, dk);
  } else {
    k.product(at.count, p.d, p.m, d, p.mp, key, p.dp, dq, p.dp, false);
    k.product_tn(p.m, p.d, at.count, d, p.mp, q, p.dp, dk, p.dp, at.index > 0);
  }
  if (p.rotates) {
    const Rotary& r = c.where.rotary;
    k.rotate_backward(q_raw, dq, p.dp, at.count, p.d, r.cos_q.data() + angles(r.cos_q, at.h, at.row),
                      r.sin_q.data() + angles(r.sin_q, at.h, at.row), r.halves, c.scale,
                      angle_gradient(0, r.cos_q, at.h, at.row), angle_gradient(1, r.sin_q, at.h, at.row));
  }
}

void HeadWorker::query_terms_backward(const Block& at) {
  p.each_wide(Relative::query, [&](const Term& t) {
    real* to = part_.of(t, at.h);
    scatter_by_row(t, at, ds, [&](int row, int count, const Band& w, int64_t width) {
      if (to)
        k.product_tn(w.high - w.low, t.width, count, band, width, raw_q() + row * p.dp + t.r->first, p.dp,
                     to + w.low * t.padded, t.padded, true);
      k.product(count, t.width, w.high - w.low, band, width, table(t).rows + w.low * t.padded, t.padded,
                dq + row * p.dp + t.r->first, p.dp, true);
    });
  });
}

void HeadWorker::key_terms_backward(const Block& at) {
  p.each_wide(Relative::key, [&](const Term& t) {
    real *to = part_.of(t, at.h), *dkey = (dk_raw ? dk_raw : dk) + t.r->first;
    each_columns(t, at, [&](int j, int count, const Band& w) {
      const int64_t rows = w.high - w.low;
      std::fill_n(band, rows * p.columns, real(0));
      k.pair_scatter(ds + j, p.mp, at.count, count, band, 0, p.columns, 1, t.rho(at.g, at.row) + j, p.m, w.low);
      if (to)
        k.product(rows, t.width, count, band, p.columns, raw_key() + j * p.dp + t.r->first, p.dp, to + w.low * t.padded,
                  t.padded, true);
      k.product_tn(count, t.width, rows, band, p.columns, table(t).rows + w.low * t.padded, t.padded, dkey + j * p.dp,
                   p.dp, true);
    });
  });
}

/// Ends one image's keys: one-row terms, the rotation back, and the way out.
void HeadWorker::keys_backward(int b, int g, int h) {
  p.each(Relative::key, [&](const Term& t) {
    if (!t.uniform) return;
    if (real* to = part_.of(t, h))
      k.product(1, t.width, p.m, dcolumn, p.mp, raw_key() + t.r->first, p.dp, to, t.padded, true);
    k.product_tn(p.m, t.width, 1, dcolumn, p.mp, table(t).rows, t.padded, (dk_raw ? dk_raw : dk) + t.r->first, p.dp,
                 true);
  });
  if (p.rotates) {
    const Rotary& r = c.where.rotary;
    k.rotate_backward(key_raw, dk, p.dp, p.m, p.d, r.cos_k.data() + angles(r.cos_k, h, 0),
                      r.sin_k.data() + angles(r.sin_k, h, 0), r.halves, c.scale, angle_gradient(2, r.cos_k, h, 0),
                      angle_gradient(3, r.sin_k, h, 0));
    if (dk_raw) k.accumulate(dk_raw, dk, p.m * p.dp);
  }
  const int32_t* at = key_tokens(g);
  if (sinks_.k.to)
    k.scatter_rows(dk, p.dp, at, p.m, p.d, c.scale, nullptr, sinks_.k.to + place(c.k, b, h), c.k.stride, sinks_.k.beta,
                   ahead(c.k, b));
  if (sinks_.v.to)
    k.scatter_rows(dv, p.dvp, at, p.m, p.dv, 1, nullptr, sinks_.v.to + place(c.v, b, h), c.v.stride, sinks_.v.beta,
                   ahead(c.v, b));
}

}  // namespace TESSERA_NS
}  // namespace tessera
