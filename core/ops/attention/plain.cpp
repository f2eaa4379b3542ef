// The attention of attention.h, pair by pair: the definition the fused op is tested against. For one image b, group g,
// head h:
//
//   q', k' = rotated q, k          c_ij = sum_c q'_ic k'_jc w_ijc          w_ijc = prod_gates w[rho_ij, c]
//   s_ij = scale (c_ij + sum q_i . Q[rho_ij] + sum k_j . K[rho_ij]) + sum b[rho_ij]
//   p_ij = e^{s_ij} / sum_j e^{s_ij} over visible pairs          a_ij = p_ij z_ij, z dropout's 0 or 1 / (1 - p)
//   o_i  = sum_j a_ij (v_j + sum V[rho_ij])
//
//   da_ij = do_i . (v_j + sum V[rho_ij])         dv_j += a_ij do_i           dV[rho_ij] += a_ij do_i
//   ds_ij = p_ij (da_ij z_ij - sum_j a_ij da_ij)                             db[rho_ij] += ds_ij
//   dq'_ic += scale ds_ij k'_jc w_ijc            dk'_jc += scale ds_ij q'_ic w_ijc
//   dw_t[rho_ij, c] += scale ds_ij q'_ic k'_jc prod_{gates but t} w
//   dq_i += scale ds_ij Q[rho_ij]                dQ[rho_ij] += scale ds_ij q_i           likewise key terms with k_j
//   and through the rotation: dq = R^T dq', dcos = dq'_a q_a + dq'_b q_b, dsin = dq'_b q_a - dq'_a q_b
//   side terms: u_i . Q[rho_ij] in the place of q_i . Q[rho_ij], without scale if outside; du as dq
//   in bf16, <x> being x rounded to it: c_ij = sum_c <q'_ic> <scale k'_jc> without gates as wide as the head, then without scale in s_ij;
//   o_i = sum_j <e^{s_ij - max} z_ij> <v_j> / sum_j e^{s_ij - max};  da_ij = <do_i> . <v_j>;  dv_j += <a_ij> <do_i>;
//   dq'_ic += scale <ds_ij w_ij> <k'_jc>;  dk'_jc likewise with <q'_ic>; what terms add and get is not rounded
//   rotated values: v' = R_j v, z_i = sum_j a_ij v'_j, o_i = R_i^T z_i; dz = R_i do, dv = R_j^T dv', and through R_i^T as above with
//   do in the place of q and z in that of dq'
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/core/ops/attention/attributes.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Sight = Call::Sight;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// The nearest bfloat16, ties to even; a NaN stays one.
real to_bf16(real x) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  if (x != x) return x;
  return static_cast<real>(std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000));
}

/// One (image, group, head), recomputed by forward and backward alike.
struct Plain {
  const Call& c;
  const int b, g, h;
  const int n = c.who->n, m = c.who->m, d = c.q.d, dv = c.v.d;
  std::vector<real> q, k, v;                        // (n, d), (m, d), (m, dv): raw rows, zero for absent tokens
  std::vector<real> qr, kr, vr;                     // rotated; values only where they travel
  std::array<std::vector<real>, Terms::most> side;  // rows of side projections, by term: (n or m, width)
  std::vector<real> p, z;                           // (n, m): weights, dropout factors
  std::vector<real> total;                          // (n): sums of e^{s_ij - max}
  bool wide = false;                                // is there a gate as wide as the head?
  std::vector<real> q2, k2, sk2, v2;                // as the products read them: qr, kr, scale kr, vr, rounded in bf16

  Plain(const Call& call, int image, int group, int head) : c(call), b(image), g(group), h(head) {
    const int end = c.length(b);
    q = rows(c.q, c.who->q, n, c.q.tokens), k = rows(c.k, c.who->k, m, end), v = rows(c.v, c.who->k, m, end);
    const Rotary& r = c.where.rotary;
    qr = rotated(q, r.cos_q, r.sin_q, n), kr = rotated(k, r.cos_k, r.sin_k, m);
    vr = r.values ? rotated(v, r.cos_k, r.sin_k, m) : v;
    for (int t = 0; t < c.where.count; ++t)
      if (const Relative& x = c.where.relative[at(t)]; x.side)
        side[at(t)] =
            x.kind == Relative::query ? rows(x.side, c.who->q, n, x.side.tokens) : rows(x.side, c.who->k, m, end);
    for (int t = 0; t < c.where.count; ++t)
      wide |= c.where.relative[at(t)].kind == Relative::gate && c.where.relative[at(t)].table.dim(2) > 1;
    q2 = operand(qr, 1), k2 = operand(kr, 1), sk2 = operand(kr, c.scale), v2 = operand(vr, 1);
    weights();
  }

  real operand(real x) const { return c.bf16 ? to_bf16(x) : x; }
  std::vector<real> operand(std::vector<real> x, real factor) const {
    for (real& element : x) element = operand(factor * element);
    return x;
  }
  int query_token(int i) const { return c.who->q[at(int64_t{g} * n + i)]; }
  int key_token(int j) const { return c.who->k[at(int64_t{g} * m + j)]; }
  static int64_t place(const Heads& x, int image, int token, int head) {
    return (int64_t{image} * x.tokens + token) * x.stride + x.offset + head * x.d;
  }

  /// Rows of x; zeros for absent tokens and for those from `end` on.
  std::vector<real> rows(const Heads& x, const Index& tokens, int count, int end) const {
    std::vector<real> y(at(int64_t{count} * x.d), 0);
    for (int i = 0; i < count; ++i)
      if (const int t = tokens[at(int64_t{g} * count + i)]; t >= 0 && t < end)
        std::copy_n(x.x.data() + place(x, b, t, h), x.d, y.data() + int64_t{i} * x.d);
    return y;
  }

  /// Channels a, b of pair t.
  std::pair<int, int> pair(int t) const {
    return c.where.rotary.halves ? std::pair(t, t + d / 2) : std::pair(2 * t, 2 * t + 1);
  }
  int64_t angle(const Tensor& cosine, int i, int t) const {
    return (int64_t{cosine.dim(0) == 1 ? 0 : h} * cosine.dim(1) + i) * (d / 2) + t;
  }
  std::vector<real> rotated(const std::vector<real>& x, const Tensor& cosine, const Tensor& sine, int count) const {
    std::vector<real> y = x;
    for (int i = 0; cosine && i < count; ++i)
      for (int t = 0; t < d / 2; ++t) {
        const auto [a, e] = pair(t);
        const real co = cosine[angle(cosine, i, t)], si = sine[angle(cosine, i, t)];
        const real xa = x[at(int64_t{i} * d + a)], xe = x[at(int64_t{i} * d + e)];
        y[at(int64_t{i} * d + a)] = co * xa - si * xe;
        y[at(int64_t{i} * d + e)] = si * xa + co * xe;
      }
    return y;
  }

  /// Offset of the row rho_ij of r's table; -1 if the pair adds nothing.
  int64_t row(const Relative& r, int i, int j) const {
    const int64_t group = r.rho->groups > 1 ? g : 0;
    const int x = r.rho->at[at((group * n + i) * m + j)];
    return x < 0 ? -1 : (int64_t{r.table.dim(0) == 1 ? 0 : h} * r.rho->rows + x) * r.table.dim(2);
  }
  /// f(term number, term, offset of its row) for each term of a kind that acts on the pair.
  template <class F>
  void each(Relative::Kind kind, int i, int j, F f) const {
    for (int t = 0; t < c.where.count; ++t) {
      const Relative& r = c.where.relative[at(t)];
      if (r.kind != kind) continue;
      if (const int64_t x = row(r, i, j); x >= 0) f(t, r, x);
    }
  }
  /// prod_gates w[rho_ij, ch] without gate `but`.
  real gates(int i, int j, int ch, int but = -1) const {
    real w = 1;
    each(Relative::gate, i, j, [&](int t, const Relative& r, int64_t x) {
      if (t != but) w *= r.table[x + (r.table.dim(2) == 1 ? 0 : ch)];
    });
    return w;
  }

  /// What term t multiplies its table with: row `row` of its side projection, or of q or k.
  const real* own_row(int t, const Relative& r, const std::vector<real>& x, int row) const {
    return r.side ? side[at(t)].data() + int64_t{row} * r.side.d : x.data() + int64_t{row} * d;
  }
  /// scale q'_i . k'_j as the products compute it.
  real content(int i, int j) const {
    real s = 0;
    for (int ch = 0; ch < d; ++ch) s += q2[at(int64_t{i} * d + ch)] * sk2[at(int64_t{j} * d + ch)];
    return s;
  }
  real score(int i, int j) const {
    real inside = 0, outside = 0;
    if (c.bf16 && !wide) {
      outside = content(i, j) * gates(i, j, 0);
    } else {
      for (int ch = 0; ch < d; ++ch)
        inside += qr[at(int64_t{i} * d + ch)] * kr[at(int64_t{j} * d + ch)] * gates(i, j, ch);
    }
    const auto dot = [&](const std::vector<real>& x, int row_of_x) {
      return [&, row_of_x](int t, const Relative& r, int64_t o) {
        const real* px = own_row(t, r, x, row_of_x);
        real& to = r.outside ? outside : inside;
        for (int ch = 0; ch < r.table.dim(2); ++ch) to += px[r.first + ch] * r.table[o + ch];
      };
    };
    each(Relative::query, i, j, dot(q, i));
    each(Relative::key, i, j, dot(k, j));
    each(Relative::bias, i, j, [&](int, const Relative& r, int64_t o) { outside += r.table[o]; });
    return c.scale * inside + outside;
  }

  void weights() {
    p.assign(at(int64_t{n} * m), 0), z.assign(at(int64_t{n} * m), 1), total.assign(at(n), 1);
    for (int i = 0; i < n; ++i) {
      real* row_p = p.data() + int64_t{i} * m;
      real top = -std::numeric_limits<real>::infinity(), sum = 0;
      bool blind = true;  // asked of each score, since the largest one passes over NaN
      for (int j = 0; j < m; ++j) {
        const Sight s = c.sight(b, g, h, i, j);
        row_p[j] = s == Sight::none ? -std::numeric_limits<real>::infinity() : score(i, j);
        if (s == Sight::penalised) row_p[j] += static_cast<real>(c.who->mask_value);
        top = std::max(top, row_p[j]);
        blind &= row_p[j] == -std::numeric_limits<real>::infinity();
      }
      for (int j = 0; j < m; ++j) sum += row_p[j] = blind ? 0 : std::exp(row_p[j] - top);
      for (int j = 0; j < m && !blind; ++j) row_p[j] /= sum;
      if (!blind) total[at(i)] = sum;
      if (!c.drops() || query_token(i) < 0) continue;
      const uint64_t name = c.row(b, h, query_token(i));
      for (int j = 0; j < m; ++j) {
        const int tk = key_token(j) >= 0 ? key_token(j) : c.k.tokens + j;
        z[at(int64_t{i} * m + j)] = pair_bits(name, tk) < c.threshold() ? 0 : c.kept();
      }
    }
  }

  /// y (dv), zeroed, += sum_j a_ij (v_j + sum V[rho_ij]), before it is turned back. The angles' gradients see nothing rounded.
  void mixed_values(int i, real* y, bool rounded) const {
    rounded &= c.bf16;
    const std::vector<real>& values = rounded ? v2 : vr;
    for (int j = 0; j < m; ++j) {
      const real a = p[at(int64_t{i} * m + j)] * z[at(int64_t{i} * m + j)];
      const real factor = rounded ? to_bf16(a * total[at(i)]) / total[at(i)] : a;
      for (int ch = 0; ch < dv; ++ch) y[ch] += factor * values[at(int64_t{j} * dv + ch)];
      each(Relative::value, i, j, [&](int, const Relative& r, int64_t x) {
        for (int ch = 0; ch < r.table.dim(2); ++ch) y[r.first + ch] += a * r.table[x + ch];
      });
    }
  }
  void forward(real* o) const {  // o: (B, q.tokens, H dv), zeroed
    const Rotary& r = c.where.rotary;
    for (int i = 0; i < n; ++i) {
      if (query_token(i) < 0) continue;
      real* y = o + ((int64_t{b} * c.q.tokens + query_token(i)) * c.q.heads + h) * dv;
      mixed_values(i, y, true);
      if (!r.values) continue;
      const std::vector<real> turned(y, y + dv);
      std::fill_n(y, dv, real(0));
      turn_back(turned.data(), y, r.cos_q, r.sin_q, i);
    }
  }

  /// Adds to the gradients of the three views, the four rotation tables and the terms' tables (null: not wanted).
  struct Gradients {
    real *q = nullptr, *k = nullptr, *v = nullptr;
    std::array<real*, 4> rotary{};
    std::array<real*, Terms::most> table{}, side{};
  };
  void backward(const real* out, const Gradients& to) const {
    const Rotary& r = c.where.rotary;
    std::vector<real> dq(q.size(), 0), dk(k.size(), 0), dqr(q.size(), 0), dkr(k.size(), 0), da(at(m));
    std::vector<real> dvr(v.size(), 0), dvalue(v.size(), 0), dy(at(int64_t{n} * dv), 0), mixed(dy.size(), 0),
        unused(dy.size(), 0);
    std::array<std::vector<real>, Terms::most> dside;
    for (size_t t = 0; t < dside.size(); ++t) dside[t].assign(side[t].size(), 0);
    for (int i = 0; i < n; ++i)
      if (query_token(i) >= 0)
        std::copy_n(out + ((int64_t{b} * c.q.tokens + query_token(i)) * c.q.heads + h) * dv, dv,
                    dy.data() + int64_t{i} * dv);
    const std::vector<real> dz = r.values ? rotated(dy, r.cos_q, r.sin_q, n) : dy;
    for (int i = 0; i < n; ++i) {
      if (query_token(i) < 0) continue;
      const real* y = dz.data() + int64_t{i} * dv;
      if (r.values) mixed_values(i, mixed.data() + int64_t{i} * dv, false);
      real mean = 0;
      for (int j = 0; j < m; ++j) {
        const real a = p[at(int64_t{i} * m + j)] * z[at(int64_t{i} * m + j)];
        real s = 0;
        for (int ch = 0; ch < dv; ++ch) s += operand(y[ch]) * v2[at(int64_t{j} * dv + ch)];
        each(Relative::value, i, j, [&](int t, const Relative& value, int64_t x) {
          for (int ch = 0; ch < value.table.dim(2); ++ch) s += y[value.first + ch] * value.table[x + ch];
          if (real* w = to.table[at(t)])
            for (int ch = 0; ch < value.table.dim(2); ++ch) w[x + ch] += a * y[value.first + ch];
        });
        for (int ch = 0; ch < dv; ++ch) dvr[at(int64_t{j} * dv + ch)] += operand(a) * operand(y[ch]);
        da[at(j)] = s, mean += a * s;
      }
      for (int j = 0; j < m; ++j) {
        const real ds = p[at(int64_t{i} * m + j)] * (da[at(j)] * z[at(int64_t{i} * m + j)] - mean);
        if (ds != 0)
          pair_backward(i, j, ds, dq.data() + int64_t{i} * d, dk.data() + int64_t{j} * d, dqr.data() + int64_t{i} * d,
                        dkr.data() + int64_t{j} * d, dside, to);
      }
    }
    if (r.values) {
      unrotate(v, dvr, dvalue, r.cos_k, r.sin_k, m, to.rotary[2], to.rotary[3]);
      unrotate(dy, mixed, unused, r.cos_q, r.sin_q, n, to.rotary[0], to.rotary[1]);
    } else {
      dvalue = dvr;
    }
    const int end = c.zero_keys() ? c.length(b) : c.k.tokens;  // zeros that stand for padding are no tokens
    scatter(dvalue, c.v, c.who->k, m, end, to.v);
    for (int t = 0; t < c.where.count; ++t)
      if (const Relative& x = c.where.relative[at(t)]; x.side)
        scatter(dside[at(t)], x.side, x.kind == Relative::query ? c.who->q : c.who->k,
                x.kind == Relative::query ? n : m, x.kind == Relative::query ? c.q.tokens : end, to.side[at(t)]);
    unrotate(q, dqr, dq, r.cos_q, r.sin_q, n, to.rotary[0], to.rotary[1]);
    unrotate(k, dkr, dk, r.cos_k, r.sin_k, m, to.rotary[2], to.rotary[3]);
    scatter(dq, c.q, c.who->q, n, c.q.tokens, to.q), scatter(dk, c.k, c.who->k, m, end, to.k);
  }

 private:
  void pair_backward(int i, int j, real ds, real* dq, real* dk, real* dqr, real* dkr,
                     std::array<std::vector<real>, Terms::most>& dside, const Gradients& to) const {
    const real du = c.scale * ds;
    const real *qri = qr.data() + int64_t{i} * d, *krj = kr.data() + int64_t{j} * d;
    const bool rounded = c.bf16 && !wide;
    const real weighted = rounded ? c.scale * to_bf16(ds * gates(i, j, 0)) : 0;
    for (int ch = 0; ch < d; ++ch) {
      if (rounded) {
        dqr[ch] += weighted * k2[at(int64_t{j} * d + ch)], dkr[ch] += weighted * q2[at(int64_t{i} * d + ch)];
        continue;
      }
      const real w = gates(i, j, ch);
      dqr[ch] += du * krj[ch] * w, dkr[ch] += du * qri[ch] * w;
    }
    each(Relative::gate, i, j, [&](int t, const Relative& r, int64_t x) {
      if (real* w = to.table[at(t)]; w && rounded) {
        w[x] += ds * content(i, j) * gates(i, j, 0, t);
      } else if (w) {
        for (int ch = 0; ch < d; ++ch)
          w[x + (r.table.dim(2) == 1 ? 0 : ch)] += du * qri[ch] * krj[ch] * gates(i, j, ch, t);
      }
    });
    const auto dot = [&](const std::vector<real>& own, real* down, int row) {
      return [&, down, row](int t, const Relative& r, int64_t o) {
        const real *x = own_row(t, r, own, row), factor = r.outside ? ds : du;
        real* dx = r.side ? dside[at(t)].data() + int64_t{row} * r.side.d : down;
        for (int ch = 0; ch < r.table.dim(2); ++ch) dx[r.first + ch] += factor * r.table[o + ch];
        if (real* w = to.table[at(t)])
          for (int ch = 0; ch < r.table.dim(2); ++ch) w[o + ch] += factor * x[r.first + ch];
      };
    };
    each(Relative::query, i, j, dot(q, dq, i));
    each(Relative::key, i, j, dot(k, dk, j));
    each(Relative::bias, i, j, [&](int t, const Relative&, int64_t x) {
      if (real* w = to.table[at(t)]) w[x] += ds;
    });
  }

  /// dx (d) += R_i^T y of row i.
  void turn_back(const real* y, real* dx, const Tensor& cosine, const Tensor& sine, int i) const {
    for (int t = 0; t < d / 2; ++t) {
      const auto [a, e] = pair(t);
      const int64_t z0 = angle(cosine, i, t);
      dx[a] += cosine[z0] * y[a] + sine[z0] * y[e];
      dx[e] += cosine[z0] * y[e] - sine[z0] * y[a];
    }
  }
  void unrotate(const std::vector<real>& x, const std::vector<real>& dy, std::vector<real>& dx, const Tensor& cosine,
                const Tensor& sine, int count, real* dcos, real* dsin) const {
    if (!cosine) {
      for (size_t i = 0; i < dx.size(); ++i) dx[i] += dy[i];
      return;
    }
    for (int i = 0; i < count; ++i) {
      turn_back(dy.data() + int64_t{i} * d, dx.data() + int64_t{i} * d, cosine, sine, i);
      for (int t = 0; t < d / 2; ++t) {
        const auto [a, e] = pair(t);
        const size_t ia = at(int64_t{i} * d + a), ie = at(int64_t{i} * d + e);
        const int64_t z0 = angle(cosine, i, t);
        if (dcos) dcos[z0] += dy[ia] * x[ia] + dy[ie] * x[ie];
        if (dsin) dsin[z0] += dy[ie] * x[ia] - dy[ia] * x[ie];
      }
    }
  }

  void scatter(const std::vector<real>& dx, const Heads& x, const Index& tokens, int count, int end, real* to) const {
    for (int i = 0; to && i < count; ++i)
      if (const int t = tokens[at(int64_t{g} * count + i)]; t >= 0 && t < end)
        for (int ch = 0; ch < x.d; ++ch) to[place(x, b, t, h) + ch] += dx[at(int64_t{i} * x.d + ch)];
  }
};

template <class F>
void each_head(const Call& c, F f) {
  for (int b = 0; b < c.batch(); ++b)
    for (int g = 0; g < c.who->groups; ++g)
      for (int h = 0; h < c.q.heads; ++h) f(Plain(c, b, g, h), b, g, h);
}

void backward(const Call& c, const Tensor& dy, Back& back) {
  Plain::Gradients to;
  const auto sink = [&](const Tensor& x) -> real* {  // a buffer to add to
    if (!x || !back.wants(x)) return nullptr;
    const auto [p, beta] = back.into(x);
    if (beta == 0) std::fill_n(p, x.size(), real(0));
    return p;
  };
  to.q = sink(c.q.x), to.k = sink(c.k.x), to.v = sink(c.v.x);
  const Rotary& r = c.where.rotary;
  to.rotary = {sink(r.cos_q), sink(r.sin_q), sink(r.cos_k), sink(r.sin_k)};
  for (int t = 0; t < c.where.count; ++t) {
    to.table[at(t)] = sink(c.where.relative[at(t)].table);
    to.side[at(t)] = sink(c.where.relative[at(t)].side.x);
  }
  each_head(c, [&](const Plain& one, int, int, int) { one.backward(dy.data(), to); });
}

}  // namespace

Tensor plain_attention(const Query& query, const Terms& where, const Run& run) {
  const Call c(query, where, run);
  Tensor o = zeros({c.batch(), c.q.tokens, c.q.heads * c.v.d});
  each_head(c, [&](const Plain& one, int, int, int) { one.forward(o.data()); });
  Call::List list;
  return record({"attention", c.macs(), attributes_of(c)}, o, c.inputs(list),
                [c](const Tensor& dy, Back& back) { backward(c, dy, back); });
}

Tensor attention_weights(const Query& query, const Terms& where) {
  Terms logits;  // values play no part
  logits.rotary = where.rotary, logits.rotary.values = false, logits.visible = where.visible;
  for (int t = 0; t < where.count; ++t)
    if (const Relative& r = where.relative[at(t)]; r.kind != Relative::value) logits.add(r);
  const Call c(query.with(query.q, query.k, query.k), logits, {});
  Tensor w({c.batch(), c.who->groups, c.q.heads, c.who->n, c.who->m});
  real* to = w.data();
  each_head(c, [&](const Plain& one, int, int, int) { to = std::copy(one.p.begin(), one.p.end(), to); });
  return w;
}

}  // namespace TESSERA_NS
}  // namespace tessera
