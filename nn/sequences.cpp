#include "tessera/nn/sequences.h"

#include <algorithm>
#include <vector>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/keep_valid.h"
#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"

namespace tessera {
inline namespace TESSERA_NS {

Tensor mean_of_valid(const Tensor& x, const Ints& lengths) {
  if (!lengths) return mean(x, {1});
  const Tensor total = sum(keep_valid(x, lengths), {1});
  Tensor share = zeros({x.dim(0), 1});
  for (int b = 0; b < x.dim(0); ++b)
    if (const int n = lengths[static_cast<size_t>(b)]; n > 0) share[b] = real(1) / static_cast<real>(n);
  return mul(total, share);
}

bool longer_than_trained(const Grid& trained, const Grid& now, std::span<const int32_t> lengths) {
  return now.sequence && now.w > trained.w && std::ranges::any_of(lengths, [&](int32_t n) { return n < now.w; });
}

namespace {

/// The first n tokens of sample b.
Tensor own(const Tensor& x, int b, int n) { return slice(slice(x, 0, b, b + 1), 1, 0, n); }
Heads own(const Heads& h, int b, int n) { return {own(h.x, b, n), h.offset, h.stride, h.heads, h.d, n}; }

/// Of one sample of a shard: dropout and whatever else is drawn are as in its place.
Run own(const Run& run, int b) {
  Run one = run;
  one.first += b;
  return one;
}

Pattern first_tokens(const Pattern& who, int n) {
  if (!who.queries_in_order() || !who.every_query_once(who->n) || !who.every_key_once(who->m) || who->m != who->n ||
      !who->label_q.empty())
    fail("attention", "sequences longer than trained are computed one by one, and this pattern is not of a sequence");
  Pattern::Spec s = *who;
  s.n = s.m = n;
  s.q.resize(static_cast<size_t>(n)), s.k.resize(static_cast<size_t>(n));
  return s;
}

}  // namespace

Tensor attend_one_by_one(const PositionEncoding& position, const Site& site, const Layout& now, const Query& query,
                         const Tokens& x, const Run& run) {
  const int T = now.q.w, width = query.q.heads * query.v.d;
  std::vector<Tensor> all;
  for (int b = 0; b < query.q.x.dim(0); ++b) {
    const int n = std::clamp(query.lengths[static_cast<size_t>(b)], 0, T);
    if (n == 0) {
      all.push_back(zeros({1, T, width}));
      continue;
    }
    Layout alone = now;
    alone.q.w = alone.k.w = n;
    const Query one(own(query.q, b, n), own(query.k, b, n), own(query.v, b, n), first_tokens(query.who, n), query.scale,
                    query.dropout);
    const Tensor y = position.attend(site, alone, one, {own(x.q, b, n), own(x.k, b, n)}, own(run, b));
    all.push_back(n < T ? pad(y, 1, 0, T - n) : y);
  }
  return concat(all, 0);
}

Tensor with_positions(const PositionEncoding& position, const Spot& spot, const Grid& now, const Tensor& x,
                      std::span<const int32_t> lengths, const Run& run) {
  if (!longer_than_trained(spot.trained, now, lengths)) return position.tokens(spot, now, x, run);
  std::vector<Tensor> all;
  for (int b = 0; b < x.dim(0); ++b) {
    const int n = std::clamp(lengths[static_cast<size_t>(b)], 0, now.w);
    Grid alone = now;
    alone.w = n;
    std::vector<Tensor> one;
    if (n > 0) one.push_back(position.tokens(spot, alone, own(x, b, n), own(run, b)));
    if (n < now.w) one.push_back(slice(slice(x, 0, b, b + 1), 1, n, now.w));
    all.push_back(concat(one, 1));
  }
  return concat(all, 0);
}

}  // namespace TESSERA_NS
}  // namespace tessera
