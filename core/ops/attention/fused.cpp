// The fused attention: the equations of plain.cpp on blocks of query rows, per head, group and image.
//
//   forward   S = Q K^T + terms, E = e^(S - M), M the maxima of rows, Z the sums of E, O = E V / Z       saved: q, k, v, M, 1/Z
//   backward  P = e^(S - M) / Z again, dP = dO V^T, dS = P (dP - rowsum(P dP)), dV = P^T dO, dQ = dS K, dK = dS^T Q
//
// How the terms stay cheap:
//  * biases, masks and gates of width 1 are gathered into one n x m block per head, which the images (and equal groups) of a shard
//    share; so is their gradient, which is scattered into the tables once per head (pair_blocks.h);
//  * a query term needs q . Q[rho] only for the rows of its table that a strip of queries touches: one product with that band, then
//    a gather. Its gradient scatters into the same small matrix and takes two products. Value terms are the transpose of that;
//    key terms do it by a few keys at a time (head.cpp);
//  * a gate as wide as the head takes the place of Q K^T: every pair's channels times its row (gated_scores in core/kernels);
//  * a side projection takes the place of q or k in a term's product and gather: as many more products as it is wide;
//  * a mask per head is -inf in that n x m block;
//  * a key term of one row is a vector added to all rows of scores; a query term of one row does nothing at all.
// Idle workers take whole heads where tables get gradients, else (head, image) pairs; where heads share a table, its gradient is one sum and
// nobody helps.
#include "tessera/core/ops/attention/attributes.h"
#include "tessera/core/ops/attention/head.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// HeadWorker's units h * B + b, [from, to) of them, cut at multiples of `together`.
template <class F>
void each_units(const Plan& p, int64_t together, F f) {
  parallel::rows(int64_t{p.B} * p.H, parallel::grain_of_products(int64_t{p.G} * p.n * p.m * (p.d + p.dv), together), f);
}

/// Do these views cover every channel of their tensor once? Then its gradient can be written instead of zeroed and added to.
bool cover(std::span<const Heads* const> views) {
  int covered = 0;
  for (const Heads* x : views) {
    covered += x->heads * x->d;
    for (const Heads* y : views)
      if (x != y && x->offset < y->offset + y->heads * y->d && y->offset < x->offset + x->heads * x->d) return false;
  }
  return covered == views[0]->stride;
}

/// Does a head of one view share channels with another head of another view of the same tensor? Then heads cannot be worked on side by
/// side: both would add to the same gradients.
bool heads_meet(const Call& c) {
  std::array<const Heads*, 3 + Terms::most> list{&c.q, &c.k, &c.v};
  size_t count = 3;
  for (int t = 0; t < c.where.count; ++t)
    if (const Heads& side = c.where.relative[static_cast<size_t>(t)].side) list[count++] = &side;
  const std::span<const Heads* const> views(list.data(), count);
  for (const Heads* x : views)
    for (const Heads* y : views)
      if (x < y && same_gradient(x->x, y->x) && (x->offset != y->offset || x->d != y->d) &&
          x->offset < y->offset + y->heads * y->d && y->offset < x->offset + x->heads * x->d)
        return true;
  return false;
}

/// The gradient buffers of q, k, v and side projections, which may be views of one tensor.
Sinks sinks_of(const Plan& p, Back& back) {
  const Call& c = p.c;
  Sinks s;
  struct View {
    const Heads* x;
    Sink* to;
    bool complete;  ///< every token has one place in the pattern
  };
  const bool queries = c.who.every_query_once(c.q.tokens),
             keys = c.who.every_key_once(c.k.tokens) && !(c.lengths && c.zero_keys());
  std::array<View, 3 + Terms::most> list{{{&c.q, &s.q, queries}, {&c.k, &s.k, keys}, {&c.v, &s.v, keys}}};
  size_t views_count = 3;
  for (size_t t = 0; t < static_cast<size_t>(c.where.count); ++t)
    if (const Relative& r = c.where.relative[t]; r.side)
      // a term that the plan leaves out, since softmax does not see it, writes nothing
      list[views_count++] = {&r.side, &s.side[t],
                             p.has(static_cast<int>(t)) && (r.kind == Relative::query ? queries : keys)};
  const std::span<const View> views(list.data(), views_count);
  for (const View& first : views) {
    if (first.to->to || !back.wants(first.x->x)) continue;
    std::array<const Heads*, 3 + Terms::most> same{};
    size_t count = 0;
    bool complete = true;
    for (const View& view : views)
      if (same_gradient(first.x->x, view.x->x)) same[count++] = view.x, complete &= view.complete;
    Sink sink = back.into(first.x->x);
    if (sink.beta == 0 && !(complete && cover({same.data(), count})))
      std::fill_n(sink.to, first.x->x.size(), real(0)), sink.beta = 1;
    for (const View& view : views)
      if (same_gradient(first.x->x, view.x->x)) *view.to = sink;
  }
  return s;
}

/// The gradients of tables and angles as the workers add to them: in rows as long as vectors like, without the scale.
class TableGradients {
 public:
  TableGradients(const Plan& plan, Back& back) : p_(plan) {
    memory_.lay_out([&](Arena& a) {
      count_ = 0;
      for (int t = 0; t < p_.count; ++t) {
        const Plan::Term& x = p_.term[static_cast<size_t>(t)];
        const bool scaled = x.r->kind == Relative::query || x.r->kind == Relative::key;
        all_.table[static_cast<size_t>(x.number)] =
            want(a, back, x.r->table, scaled ? p_.factor(x) : real(1), x.padded);
      }
      const Rotary& r = p_.c.where.rotary;
      const std::array<const Tensor*, 4> angles{&r.cos_q, &r.sin_q, &r.cos_k, &r.sin_k};
      for (size_t i = 0; i < 4; ++i) all_.rotary[i] = want(a, back, *angles[i], 1, p_.d / 2);
    });
    for (const Wanted& w : wanted()) std::fill_n(w.sum, w.x->dim(0) * w.x->dim(1) * w.padded, real(0));
  }

  /// Units that may not be parted, since they add to the same numbers: none, those of a head, or all.
  int64_t together() const {
    for (const Wanted& w : wanted())
      if (w.x->dim(0) == 1) return int64_t{p_.B} * p_.H;
    return count_ ? p_.B : 1;
  }
  const Partial& all() const { return all_; }

  /// To where they belong.
  void finish(Back& back) const {
    for (const Wanted& w : wanted()) {
      const auto [to, beta] = back.into(*w.x);
      if (beta == 0) std::fill_n(to, w.x->size(), real(0));
      const int64_t width = w.x->dim(2);
      kernels().scatter_rows(w.sum, w.padded, nullptr, int64_t{w.x->dim(0)} * w.x->dim(1), width, w.factor, nullptr, to,
                             width, 1, 0);
    }
  }

 private:
  struct Wanted {
    const Tensor* x;
    real factor;
    int64_t padded;
    real* sum;
  };
  std::span<const Wanted> wanted() const { return {wanted_.data(), count_}; }
  real* want(Arena& a, const Back& back, const Tensor& x, real factor, int64_t padded) {
    if (!x || !back.wants(x)) return nullptr;
    Wanted& w = wanted_[count_++];
    w = {&x, factor, padded, a.take<real>(int64_t{x.dim(0)} * x.dim(1) * padded)};
    return w.sum;
  }

  const Plan& p_;
  Partial all_;
  std::array<Wanted, Terms::most + 4> wanted_;
  size_t count_ = 0;
  Arena memory_;
};

void backward(const Call& c, const Tensor& norms, const Tensor& dy, Back& back) {
  const Plan p(c);
  const TableGradients tables(p, back);
  const Sinks sinks = sinks_of(p, back);
  each_units(p, heads_meet(c) ? int64_t{p.B} * p.H : tables.together(),
             [&](int64_t from, int64_t to) { HeadWorker(p, dy, norms, sinks, tables.all()).run(from, to); });
  tables.finish(back);
  for (int t = 0; t < c.where.count; ++t) {  // a query term that softmax does not see has a gradient all the same: zero
    const Tensor& x = c.where.relative[static_cast<size_t>(t)].table;
    if (p.has(t) || !back.wants(x)) continue;
    if (const auto [to, beta] = back.into(x); beta == 0) std::fill_n(to, x.size(), real(0));
  }
}

}  // namespace

Tensor attention(const Query& query, const Terms& where, const Run& run) {
  const Call c(query, where, run);
  const Plan p(c);
  Tensor o({p.B, c.q.tokens, p.H * p.dv}), norms({p.B, p.G, p.H, 2, p.n});
  if (!c.who.every_query_once(c.q.tokens)) std::fill_n(o.data(), o.size(), real(0));
  each_units(p, 1, [&](int64_t from, int64_t to) { HeadWorker(p, o, norms).run(from, to); });
  Call::List list;
  return record({"attention", c.macs(), attributes_of(c)}, o, c.inputs(list),
                [c, norms](const Tensor& dy, Back& back) { backward(c, norms, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
