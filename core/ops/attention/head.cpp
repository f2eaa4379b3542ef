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
  q = a.take<real>(R * p.dp), o = a.take<real>(R * p.dvp), s = a.take<real>(R * p.mp);
  column = a.take<real>(p.mp), group_column = a.take<real>(p.mp);
  const bool terms_of_keys = p.key_terms || p.uniform_keys;
  if (!p.bf16 || terms_of_keys) kt = a.take<real>(p.d * p.mp);
  if (p.rotates) q_raw = a.take<real>(R * p.dp), key_raw = a.take<real>(p.m * p.dp);
  if (p.rotates || p.gated || (backward_ && (!p.bf16 || terms_of_keys))) key = a.take<real>(p.m * p.dp);
  const bool raw_keys = p.rotates && terms_of_keys;
  if (raw_keys) kt_raw = a.take<real>(p.d * p.mp);
  if (p.drops) names = a.take<uint64_t>(R), tokens = a.take<int32_t>(p.m);
  if (c.lengths) within = a.take<int32_t>(p.m);
  if (p.scaled) content = a.take<real>(R * p.mp);
  if (backward_) {
    ds = a.take<real>(R * p.mp), dq = a.take<real>(R * p.dp), dk = a.take<real>(p.m * p.dp),
    dv = a.take<real>(p.m * p.dvp);
    if (!p.bf16) vt = a.take<real>(p.dv * p.mp);
    if (raw_keys) dk_raw = a.take<real>(p.m * p.dp);
    if (p.uniform_keys) dcolumn = a.take<real>(p.mp);
    if (p.travels) {
      o_raw = a.take<real>(R * p.dvp), mixed = a.take<real>(R * p.dvp);
      v_raw = a.take<real>(p.m * p.dvp), v = a.take<real>(p.m * p.dvp);
    }
  } else if (!p.bf16 || p.travels) {
    v = a.take<real>(p.m * p.dvp);
  }
  lay_out_pairs(a);
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
    if (x.r->side) {
      const int64_t count = kind == Relative::query ? R : p.m;
      to.side = a.take<real>(count * x.padded);
      if (kind == Relative::key) to.side_t = a.take<real>(x.width * p.mp);
      if (backward_) to.dside = a.take<real>(count * x.padded);
    }
    if (x.padded != x.width) to.copy = a.take<real>(x.R * x.padded);
    if (kind == Relative::query || (kind == Relative::value && backward_)) to.turned = a.take<real>(x.width * x.Rp);
    widest = std::max(widest, whole(x.widest) * (kind == Relative::key ? p.columns : strip_rows));
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
        next_head_ = b + 1 == b1 && g + 1 == p.G && from + (b1 - b0) < to;
        next_b_ = next_head_ ? 0 : std::min(b + 1, b1 - 1);
        last_ = b + 1 == b1;
        if (p.alike) {
          backward_ ? backward_alike(b, g, h) : forward_alike(b, g, h);
        } else {
          backward_ ? backward(b, g, h) : forward(b, g, h);
        }
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
    const real factor = x.r->kind == Relative::query ? p.factor(x) : real(1);
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
    const bool off = j >= p.m || (at[j] < 0 && !c.zero_keys());
    group_column[j] = off ? none : 0;
    if (off) first = j;
  }
  for (int j = 0; p.drops && j < p.m; ++j) tokens[j] = at[j] >= 0 ? at[j] : c.k.tokens + j;
  std::copy_n(group_column, p.mp, column);
  column_from = first / p.lanes;
  alike_ = nullptr;
}

/// The column of one image, where lengths or one-row key terms make it differ.
void HeadWorker::mask_keys(int b, int g) {
  if (!c.lengths && !p.uniform_keys) return;
  const int32_t* at = key_tokens(g);
  std::copy_n(group_column, p.mp, column);
  column_from = 0;
  p.each(Relative::key, [&](const Term& t) {
    if (t.uniform) k.product(1, p.m, t.width, table(t).rows, t.padded, of_key_t(t), p.mp, column, p.mp, true);
  });
  for (int j = 0; j < p.m && !c.zero_keys(); ++j)
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
    pack_keys({key, p.dp});
    if (kt_raw) k.transpose_rows(key_raw, p.dp, nullptr, p.m, p.d, c.scale, kt_raw, p.mp, 0);
  } else {
    if (key) k.gather_rows(from, c.k.stride, at, p.m, p.d, key, p.dp, 0);
    if (p.bf16 && kt) k.transpose_rows(from, c.k.stride, at, p.m, p.d, c.scale, kt, p.mp, 0);
    pack_keys({from, c.k.stride, at, ahead(c.k, b)});
  }
  if (p.travels) {
    const Rotary& r = c.where.rotary;
    k.gather_rows(values, c.v.stride, at, p.m, p.dv, v, p.dvp, ahead(c.v, b));
    if (backward_) std::copy_n(v, p.m * p.dvp, v_raw);
    k.rotate(v, p.dvp, p.m, p.dv, r.cos_k.data() + angles(r.cos_k, h, 0), r.sin_k.data() + angles(r.sin_k, h, 0),
             r.halves);
    pack_values({v, p.dvp});
  } else {
    pack_values({values, c.v.stride, at, ahead(c.v, b)});
  }
  p.each(Relative::key, [&](const Term& t) {
    if (!t.r->side) return;
    load_side(t, b, h, at, p.m, ahead(t.r->side, b));
    k.transpose_rows(table(t).side, t.padded, nullptr, p.m, t.width, p.factor(t), table(t).side_t, p.mp, 0);
  });
  mask_keys(b, g);
}

// ---- a block of query rows -------------------------------------------------------------------------------------------

void HeadWorker::load_queries(const Block& at) {
  const int32_t* token = query_tokens(at);
  const real* from = c.q.x.data() + place(c.q, at.b, at.h);
  const bool in_order = c.who.queries_in_order() && !p.rotates && !p.gated && !backward_;
  if (p.bf16 && !p.rotates) pack_queries({from, c.q.stride, token, ahead(c.q, at)}, at.count);
  if (in_order) {  // read once: no need of a copy
    q_rows = from + int64_t{token[0]} * c.q.stride, ldq = c.q.stride;
  } else if (!p.bf16 || p.rotates || p.gated || p.query_terms) {
    real* raw = p.rotates ? q_raw : q;
    k.gather_rows(from, c.q.stride, token, at.count, p.d, raw, p.dp, ahead(c.q, at));
    q_rows = q, ldq = p.dp;
  }
  if (p.rotates) {
    const Rotary& r = c.where.rotary;
    std::copy_n(q_raw, at.count * p.dp, q);
    k.rotate(q, p.dp, at.count, p.d, r.cos_q.data() + angles(r.cos_q, at.h, at.row),
             r.sin_q.data() + angles(r.sin_q, at.h, at.row), r.halves);
    pack_queries({q, p.dp}, at.count);
  }
  p.each_wide(Relative::query, [&](const Term& t) {
    if (t.r->side) load_side(t, at.b, at.h, token, at.count, ahead(t.r->side, at));
  });
  for (int i = 0; p.drops && i < at.count; ++i) names[i] = token[i] < 0 ? 0 : c.row(at.b, at.h, token[i]);
}

void HeadWorker::load_side(const Term& t, int b, int h, const int32_t* at, int64_t count, int64_t next) {
  const Heads& u = t.r->side;
  k.gather_rows(u.x.data() + place(u, b, h), u.stride, at, count, t.width, table(t).side, t.padded, next);
}

/// to_ij += x_i . table[rho_ij]: query terms (x = q or a side projection), and the gradient of value terms (x = do).
void HeadWorker::gather_by_row(const Term& t, const Block& at, Rows x, real* to) const {
  each_strip(t, at, [&](int row, int count, const Band& w) {
    const int64_t width = whole(w.high - w.low);
    k.product(count, w.high - w.low, t.width, x.x + row * x.ld, x.ld, table(t).turned + w.low, t.Rp, band, width,
              false);
    k.pair_gather(to + row * p.mp, p.mp, count, p.m, band, width, 1, 0, t.rho(at.g, at.row + row), p.m, w.low);
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
  if (c.scale == 0) {  // nothing but terms counts
    std::fill_n(s, at.count * p.mp, real(0));
  } else if (p.gated) {
    int64_t count;
    const auto list = gates(at, count);
    k.gated_scores(s, p.mp, at.count, p.m, p.dp, c.scale, q, key, list.data(), count);
  } else {
    multiply_keys(at);
  }
  if (p.scaled) {
    std::copy_n(s, at.count * p.mp, content);
    k.mul(s, pairs_.factor(at.h, at.g, at.row, at.count), s, at.count * p.mp);
  }
  p.each_wide(Relative::query,
              [&](const Term& t) { gather_by_row(t, at, of_query(t, p.rotates ? q_raw : q_rows, ldq), s); });
  p.each_wide(Relative::key, [&](const Term& t) {
    each_columns(t, at, [&](int j, int count, const Band& w) {
      k.product(w.high - w.low, count, t.width, table(t).rows + w.low * t.padded, t.padded, of_key_t(t) + j, p.mp, band,
                p.columns, false);
      k.pair_gather(s + j, p.mp, at.count, count, band, 0, p.columns, 1, t.rho(at.g, at.row) + j, p.m, w.low);
    });
  });
}

void HeadWorker::drop(real* x, const Block& at) const {
  if (p.drops) k.pair_drop(x, p.mp, at.count, p.m, names, tokens, c.threshold(), c.kept());
}

void HeadWorker::turn_values_back(real* x, const Block& at) const {
  const Rotary& r = c.where.rotary;
  k.rotate_backward(x, x, p.dvp, at.count, p.dv, r.cos_q.data() + angles(r.cos_q, at.h, at.row),
                    r.sin_q.data() + angles(r.sin_q, at.h, at.row), r.halves, 1, nullptr, nullptr);
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
    round_weights(at);
    multiply_values(at);
    p.each_wide(Relative::value, [&](const Term& t) {
      scatter_by_row(t, at, s, [&](int row, int count, const Band& w, int64_t width) {
        k.product(count, t.width, w.high - w.low, band, width, table(t).rows + w.low * t.padded, t.padded,
                  o + row * p.dvp + t.r->first, p.dvp, true);
      });
    });
    if (p.travels) turn_values_back(o, at);
    k.scatter_rows(o, p.dvp, query_tokens(at), at.count, p.dv, 1, inverse(at), out_.x.data() + place(out_, b, h),
                   out_.stride, 0, ahead(out_, at));
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
