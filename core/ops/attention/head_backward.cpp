// The backward pass of one head: the equations of plain.cpp on blocks of query rows.
#include "tessera/core/ops/attention/head.h"

namespace tessera {
inline namespace TESSERA_NS {

void HeadWorker::backward(int b, int g, int h) {
  load_keys(b, g, h);
  if (p.gated) std::fill_n(dk, p.m * p.dp, real(0));
  if (dk_raw) std::fill_n(dk_raw, p.m * p.dp, real(0));
  if (dcolumn) std::fill_n(dcolumn, p.mp, real(0));
  p.each(Relative::key, [&](const Term& t) {
    if (t.r->side) std::fill_n(table(t).dside, p.m * t.padded, real(0));
  });
  for (int i = 0; i < p.blocks; ++i) {
    const Block at = block(b, g, h, i);
    load_queries(at);
    const Source from{out_.x.data() + place(out_, b, h), out_.stride, query_tokens(at), ahead(out_, at)};
    if (!p.travels) pack_outputs(from, at.count);
    if (!p.bf16 || p.travels || p.value_terms)
      k.gather_rows(from.x, from.stride, from.at, at.count, p.dv, o, p.dvp, from.ahead);
    if (p.travels) {
      const Rotary& r = c.where.rotary;
      std::copy_n(o, at.count * p.dvp, o_raw);
      k.rotate(o, p.dvp, at.count, p.dv, r.cos_q.data() + angles(r.cos_q, h, at.row),
               r.sin_q.data() + angles(r.sin_q, h, at.row), r.halves);
      pack_outputs({o, p.dvp}, at.count);
    }
    // 1. P again, and dP
    scores(at);
    k.weight_rows(s, p.mp, at.count, pairs_.added(h, g, at.row, at.count), column, column_from, shift(at), inverse(at));
    weights_backward(at);
    p.each_wide(Relative::value, [&](const Term& t) { gather_by_row(t, at, {o + t.r->first, p.dvp}, ds); });
    drop(ds, at);
    // 2. dS; then what the dropped P gives to values
    k.dscore_rows(s, ds, p.mp, at.count);
    drop(s, at);
    if (sinks_.v.to || p.travels) round_weights_backward(at), values_product_backward(at);
    if (p.travels) values_backward(at);
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
    if (dcolumn) k.sum_rows(ds, p.mp, dcolumn, 1, at.count, p.mp);
    content_backward(at);
    query_terms_backward(at);
    key_terms_backward(at);
    if (sinks_.q.to)
      k.scatter_rows(dq, p.dp, query_tokens(at), at.count, p.d, c.scale, nullptr, sinks_.q.to + place(c.q, b, h),
                     c.q.stride, sinks_.q.beta, ahead(c.q, at));
  }
  keys_backward(b, g, h);
}

/// What the angles of queries get from o_i = R_i^T sum_j p_ij R_j v_j.
void HeadWorker::values_backward(const Block& at) {
  if (!part_.rotary[0] && !part_.rotary[1]) return;
  const Rotary& r = c.where.rotary;
  k.product(at.count, p.dv, p.m, s, p.mp, v, p.dvp, mixed, p.dvp, false);
  k.rotate_backward(o_raw, mixed, p.dvp, at.count, p.dv, r.cos_q.data() + angles(r.cos_q, at.h, at.row),
                    r.sin_q.data() + angles(r.sin_q, at.h, at.row), r.halves, 1,
                    angle_gradient(0, r.cos_q, at.h, at.row), angle_gradient(1, r.sin_q, at.h, at.row));
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
    scores_backward(at, d);
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
    real *to = part_.of(t, at.h), *down = t.r->side ? table(t).dside : dq + t.r->first;
    const Rows x = of_query(t, raw_q(), p.dp);
    const int64_t ld = t.r->side ? t.padded : p.dp;
    if (t.r->side) std::fill_n(down, at.count * ld, real(0));
    scatter_by_row(t, at, ds, [&](int row, int count, const Band& w, int64_t width) {
      if (to)
        k.product_tn(w.high - w.low, t.width, count, band, width, x.x + row * x.ld, x.ld, to + w.low * t.padded,
                     t.padded, true);
      k.product(count, t.width, w.high - w.low, band, width, table(t).rows + w.low * t.padded, t.padded,
                down + row * ld, ld, true);
    });
    if (t.r->side) send_side(t, at.b, at.h, query_tokens(at), at.count, ahead(t.r->side, at));
  });
}

/// The gradient of a side projection on its way out.
void HeadWorker::send_side(const Term& t, int b, int h, const int32_t* at, int64_t count, int64_t next) const {
  const Heads& u = t.r->side;
  if (const Sink& to = sinks_.side[static_cast<size_t>(t.number)]; to.to)
    k.scatter_rows(table(t).dside, t.padded, at, count, t.width, p.factor(t), nullptr, to.to + place(u, b, h), u.stride,
                   to.beta, next);
}

void HeadWorker::key_terms_backward(const Block& at) {
  p.each_wide(Relative::key, [&](const Term& t) {
    real *to = part_.of(t, at.h), *down = t.r->side ? table(t).dside : (dk_raw ? dk_raw : dk) + t.r->first;
    const Rows x = of_key(t);
    each_columns(t, at, [&](int j, int count, const Band& w) {
      const int64_t rows = w.high - w.low;
      std::fill_n(band, rows * p.columns, real(0));
      k.pair_scatter(ds + j, p.mp, at.count, count, band, 0, p.columns, 1, t.rho(at.g, at.row) + j, p.m, w.low);
      if (to)
        k.product(rows, t.width, count, band, p.columns, x.x + j * x.ld, x.ld, to + w.low * t.padded, t.padded, true);
      k.product_tn(count, t.width, rows, band, p.columns, table(t).rows + w.low * t.padded, t.padded, down + j * x.ld,
                   x.ld, true);
    });
  });
}

/// Ends one image's keys: one-row terms, the rotation back, and the way out.
void HeadWorker::keys_backward(int b, int g, int h) {
  p.each(Relative::key, [&](const Term& t) {
    if (!t.uniform) return;
    const Rows x = of_key(t);
    if (real* to = part_.of(t, h)) k.product(1, t.width, p.m, dcolumn, p.mp, x.x, x.ld, to, t.padded, true);
    real* down = t.r->side ? table(t).dside : (dk_raw ? dk_raw : dk) + t.r->first;
    k.product_tn(p.m, t.width, 1, dcolumn, p.mp, table(t).rows, t.padded, down, x.ld, true);
  });
  if (p.rotates) {
    const Rotary& r = c.where.rotary;
    k.rotate_backward(key_raw, dk, p.dp, p.m, p.d, r.cos_k.data() + angles(r.cos_k, h, 0),
                      r.sin_k.data() + angles(r.sin_k, h, 0), r.halves, c.scale, angle_gradient(2, r.cos_k, h, 0),
                      angle_gradient(3, r.sin_k, h, 0));
    if (dk_raw) k.accumulate(dk_raw, dk, p.m * p.dp);
  }
  const int32_t* at = c.zero_keys() && within ? within : key_tokens(g);  // zeros that stand for padding are no tokens
  p.each(Relative::key, [&](const Term& t) {
    if (t.r->side) send_side(t, b, h, at, p.m, ahead(t.r->side, b));
  });
  if (p.travels) {
    const Rotary& r = c.where.rotary;
    k.rotate_backward(v_raw, dv, p.dvp, p.m, p.dv, r.cos_k.data() + angles(r.cos_k, h, 0),
                      r.sin_k.data() + angles(r.sin_k, h, 0), r.halves, 1, angle_gradient(2, r.cos_k, h, 0),
                      angle_gradient(3, r.sin_k, h, 0));
  }
  if (sinks_.k.to)
    k.scatter_rows(dk, p.dp, at, p.m, p.d, c.scale, nullptr, sinks_.k.to + place(c.k, b, h), c.k.stride, sinks_.k.beta,
                   ahead(c.k, b));
  if (sinks_.v.to)
    k.scatter_rows(dv, p.dvp, at, p.m, p.dv, 1, nullptr, sinks_.v.to + place(c.v, b, h), c.v.stride, sinks_.v.beta,
                   ahead(c.v, b));
}

}  // namespace TESSERA_NS
}  // namespace tessera
