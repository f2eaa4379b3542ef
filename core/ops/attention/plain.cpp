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
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/core/ops/attention/attributes.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Sight = Call::Sight;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// One (image, group, head), recomputed by forward and backward alike.
struct Plain {
  const Call& c;
  const int b, g, h;
  const int n = c.who->n, m = c.who->m, d = c.q.d, dv = c.v.d;
  std::vector<real> q, k, v;  // (n, d), (m, d), (m, dv): raw rows, zero for absent tokens
  std::vector<real> qr, kr;   // rotated
  std::vector<real> p, z;     // (n, m): weights, dropout factors

  Plain(const Call& call, int image, int group, int head) : c(call), b(image), g(group), h(head) {
    const int end = c.length(b);
    q = rows(c.q, c.who->q, n, c.q.tokens), k = rows(c.k, c.who->k, m, end), v = rows(c.v, c.who->k, m, end);
    const Rotary& r = c.where.rotary;
    qr = rotated(q, r.cos_q, r.sin_q, n), kr = rotated(k, r.cos_k, r.sin_k, m);
    weights();
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

  real score(int i, int j) const {
    real inside = 0, outside = 0;
    for (int ch = 0; ch < d; ++ch)
      inside += qr[at(int64_t{i} * d + ch)] * kr[at(int64_t{j} * d + ch)] * gates(i, j, ch);
    const auto dot = [&](const std::vector<real>& x, int row_of_x) {
      return [&inside, px = x.data() + int64_t{row_of_x} * d](int, const Relative& r, int64_t o) {
        for (int ch = 0; ch < r.table.dim(2); ++ch) inside += px[r.first + ch] * r.table[o + ch];
      };
    };
    each(Relative::query, i, j, dot(q, i));
    each(Relative::key, i, j, dot(k, j));
    each(Relative::bias, i, j, [&](int, const Relative& r, int64_t o) { outside += r.table[o]; });
    return c.scale * inside + outside;
  }

  void weights() {
    p.assign(at(int64_t{n} * m), 0), z.assign(at(int64_t{n} * m), 1);
    for (int i = 0; i < n; ++i) {
      real* row_p = p.data() + int64_t{i} * m;
      real top = -std::numeric_limits<real>::infinity(), sum = 0;
      bool blind = true;  // asked of each score, since the largest one passes over NaN
      for (int j = 0; j < m; ++j) {
        const Sight s = c.sight(b, g, i, j);
        row_p[j] = s == Sight::none ? -std::numeric_limits<real>::infinity() : score(i, j);
        if (s == Sight::penalised) row_p[j] += static_cast<real>(c.who->mask_value);
        top = std::max(top, row_p[j]);
        blind &= row_p[j] == -std::numeric_limits<real>::infinity();
      }
      for (int j = 0; j < m; ++j) sum += row_p[j] = blind ? 0 : std::exp(row_p[j] - top);
      for (int j = 0; j < m && !blind; ++j) row_p[j] /= sum;
      if (!c.drops() || query_token(i) < 0) continue;
      const uint64_t name = c.row(b, h, query_token(i));
      for (int j = 0; j < m; ++j) {
        const int tk = key_token(j) >= 0 ? key_token(j) : c.k.tokens + j;
        z[at(int64_t{i} * m + j)] = pair_bits(name, tk) < c.threshold() ? 0 : c.kept();
      }
    }
  }

  void forward(real* o) const {  // o: (B, q.tokens, H dv), zeroed
    for (int i = 0; i < n; ++i) {
      if (query_token(i) < 0) continue;
      real* y = o + ((int64_t{b} * c.q.tokens + query_token(i)) * c.q.heads + h) * dv;
      for (int j = 0; j < m; ++j) {
        const real a = p[at(int64_t{i} * m + j)] * z[at(int64_t{i} * m + j)];
        for (int ch = 0; ch < dv; ++ch) y[ch] += a * v[at(int64_t{j} * dv + ch)];
        each(Relative::value, i, j, [&](int, const Relative& r, int64_t x) {
          for (int ch = 0; ch < r.table.dim(2); ++ch) y[r.first + ch] += a * r.table[x + ch];
        });
      }
    }
  }

  /// Adds to the gradients of the three views, the four rotation tables and the terms' tables (null: not wanted).
  struct Gradients {
    real *q = nullptr, *k = nullptr, *v = nullptr;
    std::array<real*, 4> rotary{};
    std::array<real*, Terms::most> table{};
  };
  void backward(const real* out, const Gradients& to) const {
    std::vector<real> dq(q.size(), 0), dk(k.size(), 0), dqr(q.size(), 0), dkr(k.size(), 0), da(at(m));
    for (int i = 0; i < n; ++i) {
      if (query_token(i) < 0) continue;
      const real* y = out + ((int64_t{b} * c.q.tokens + query_token(i)) * c.q.heads + h) * dv;
      real mean = 0;
      for (int j = 0; j < m; ++j) {
        const real a = p[at(int64_t{i} * m + j)] * z[at(int64_t{i} * m + j)];
        real s = 0;
        for (int ch = 0; ch < dv; ++ch) s += y[ch] * v[at(int64_t{j} * dv + ch)];
        each(Relative::value, i, j, [&](int t, const Relative& r, int64_t x) {
          for (int ch = 0; ch < r.table.dim(2); ++ch) s += y[r.first + ch] * r.table[x + ch];
          if (real* w = to.table[at(t)])
            for (int ch = 0; ch < r.table.dim(2); ++ch) w[x + ch] += a * y[r.first + ch];
        });
        if (to.v && key_token(j) >= 0)
          for (int ch = 0; ch < dv; ++ch) to.v[place(c.v, b, key_token(j), h) + ch] += a * y[ch];
        da[at(j)] = s, mean += a * s;
      }
      for (int j = 0; j < m; ++j) {
        const real ds = p[at(int64_t{i} * m + j)] * (da[at(j)] * z[at(int64_t{i} * m + j)] - mean);
        if (ds != 0)
          pair_backward(i, j, ds, dq.data() + int64_t{i} * d, dk.data() + int64_t{j} * d, dqr.data() + int64_t{i} * d,
                        dkr.data() + int64_t{j} * d, to);
      }
    }
    const Rotary& r = c.where.rotary;
    unrotate(q, dqr, dq, r.cos_q, r.sin_q, n, to.rotary[0], to.rotary[1]);
    unrotate(k, dkr, dk, r.cos_k, r.sin_k, m, to.rotary[2], to.rotary[3]);
    scatter(dq, c.q, c.who->q, n, to.q), scatter(dk, c.k, c.who->k, m, to.k);
  }

 private:
  void pair_backward(int i, int j, real ds, real* dq, real* dk, real* dqr, real* dkr, const Gradients& to) const {
    const real du = c.scale * ds;
    const real *qi = q.data() + int64_t{i} * d, *kj = k.data() + int64_t{j} * d;
    const real *qri = qr.data() + int64_t{i} * d, *krj = kr.data() + int64_t{j} * d;
    for (int ch = 0; ch < d; ++ch) {
      const real w = gates(i, j, ch);
      dqr[ch] += du * krj[ch] * w, dkr[ch] += du * qri[ch] * w;
    }
    each(Relative::gate, i, j, [&](int t, const Relative& r, int64_t x) {
      if (real* w = to.table[at(t)])
        for (int ch = 0; ch < d; ++ch)
          w[x + (r.table.dim(2) == 1 ? 0 : ch)] += du * qri[ch] * krj[ch] * gates(i, j, ch, t);
    });
    const auto dot = [&](const real* x, real* dx) {
      return [&to, du, x, dx](int t, const Relative& r, int64_t o) {
        for (int ch = 0; ch < r.table.dim(2); ++ch) dx[r.first + ch] += du * r.table[o + ch];
        if (real* w = to.table[at(t)])
          for (int ch = 0; ch < r.table.dim(2); ++ch) w[o + ch] += du * x[r.first + ch];
      };
    };
    each(Relative::query, i, j, dot(qi, dq));
    each(Relative::key, i, j, dot(kj, dk));
    each(Relative::bias, i, j, [&](int t, const Relative&, int64_t x) {
      if (real* w = to.table[at(t)]) w[x] += ds;
    });
  }

  void unrotate(const std::vector<real>& x, const std::vector<real>& dy, std::vector<real>& dx, const Tensor& cosine,
                const Tensor& sine, int count, real* dcos, real* dsin) const {
    if (!cosine) {
      for (size_t i = 0; i < dx.size(); ++i) dx[i] += dy[i];
      return;
    }
    for (int i = 0; i < count; ++i)
      for (int t = 0; t < d / 2; ++t) {
        const auto [a, e] = pair(t);
        const size_t ia = at(int64_t{i} * d + a), ie = at(int64_t{i} * d + e);
        const int64_t z0 = angle(cosine, i, t);
        dx[ia] += cosine[z0] * dy[ia] + sine[z0] * dy[ie];
        dx[ie] += cosine[z0] * dy[ie] - sine[z0] * dy[ia];
        if (dcos) dcos[z0] += dy[ia] * x[ia] + dy[ie] * x[ie];
        if (dsin) dsin[z0] += dy[ie] * x[ia] - dy[ia] * x[ie];
      }
  }

  void scatter(const std::vector<real>& dx, const Heads& x, const Index& tokens, int count, real* to) const {
    for (int i = 0; to && i < count; ++i)
      if (const int t = tokens[at(int64_t{g} * count + i)]; t >= 0)
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
  for (int t = 0; t < c.where.count; ++t) to.table[at(t)] = sink(c.where.relative[at(t)].table);
  each_head(c, [&](const Plain& one, int, int, int) { one.backward(dy.data(), to); });
}

}  // namespace

Tensor plain_attention(const Heads& q, const Heads& k, const Heads& v, const Pattern& who, const Terms& where,
                       double scale, const DropoutSpec& dropout, std::span<const int32_t> lengths, const Run& run) {
  const Call c = check(q, k, v, who, where, scale, dropout, lengths, run);
  Tensor o = zeros({c.batch(), q.tokens, q.heads * v.d});
  each_head(c, [&](const Plain& one, int, int, int) { one.forward(o.data()); });
  Call::List list;
  return record({"attention", c.macs(), attributes_of(c)}, o, c.inputs(list),
                [c](const Tensor& dy, Back& back) { backward(c, dy, back); });
}

Tensor attention_weights(const Heads& q, const Heads& k, const Pattern& who, const Terms& where, double scale,
                         std::span<const int32_t> lengths) {
  Terms logits;  // values play no part
  logits.rotary = where.rotary;
  for (int t = 0; t < where.count; ++t)
    if (const Relative& r = where.relative[at(t)]; r.kind != Relative::value) logits.add(r);
  const Call c = check(q, k, k, who, logits, scale, {}, lengths, {});
  Tensor w({c.batch(), who.groups, q.heads, who.n, who.m});
  real* to = w.data();
  each_head(c, [&](const Plain& one, int, int, int) { to = std::copy(one.p.begin(), one.p.end(), to); });
  return w;
}

}  // namespace TESSERA_NS
}  // namespace tessera
