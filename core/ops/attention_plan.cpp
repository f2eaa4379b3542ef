#include "core/ops/attention_plan.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr int64_t block_reals =
    16 * 1024;  // a block of scores: 64 kB, so that two of them and the head's rows fit L2 with ease
constexpr int64_t shared_reals = 64 * 1024;  // the most that is kept for all rows
constexpr int wide_rows = 16;  // rows at a time under query and value terms: few rows touch few rows of the table

bool every_pair_row_0(const Pairs& p) {
  return p.rows == 1 && std::all_of(p.at.begin(), p.at.end(), [](int32_t x) { return x == 0; });
}

}  // namespace

Plan::Plan(const Call& call)
    : c(call),
      B(c.batch()),
      H(c.q.heads),
      G(c.who->groups),
      n(c.who->n),
      m(c.who->m),
      d(c.q.d),
      dv(c.v.d),
      dp(whole(d)),
      dvp(whole(dv)),
      mp(whole(m)),
      rotates(c.rotates()),
      drops(c.drops()) {
  const Pattern& who = *c.who;
  pairs_added = added_by_group = !who.label_q.empty() || who.causal || who.no_self;
  queries_in_order = G == 1 && n > 0 && who.q[0] >= 0;
  for (int i = 1; i < n && queries_in_order; ++i) queries_in_order = who.q[static_cast<size_t>(i)] == who.q[0] + i;
  bool narrow_gates = false;
  for (int i = 0; i < c.where.count; ++i) {
    const Relative& r = c.where.relative[static_cast<size_t>(i)];
    const bool inner = r.kind == Relative::query || r.kind == Relative::key || r.kind == Relative::value;
    const bool uniform = inner && every_pair_row_0(*r.rho);
    if (uniform && r.kind == Relative::query) continue;  // q_i . Q[0] for all keys alike: softmax does not see it
    Term t{&r,      i, inner && !(uniform && r.kind == Relative::key), uniform, r.rho->rows, r.table.dim(2), 0, 0,
           nullptr, 0};
    t.padded = inner ? whole(t.width) : t.width, t.Rp = whole(t.R);
    const bool by_group = r.rho->groups > 1;
    switch (r.kind) {
      case Relative::bias:
        pairs_added = true, added_by_group |= by_group;
        break;
      case Relative::gate:
        (t.width == 1 ? narrow_gates : gated) = true, gates_by_group |= by_group;
        break;
      case Relative::query:
        query_terms = true;
        break;
      case Relative::key:
        (t.wide ? key_terms : uniform_keys) = true;
        break;
      case Relative::value:
        value_terms = true;
        break;
    }
    term[static_cast<size_t>(count++)] = t;
  }
  scaled = narrow_gates && !gated;
  const bool wide = query_terms || value_terms || key_terms;
  const int64_t most = std::max<int64_t>(8, block_reals / std::max<int64_t>(mp, 1));
  const int64_t target = std::max<int64_t>(1, wide ? std::min<int64_t>(most, wide_rows) : most);
  blocks = static_cast<int>(std::max<int64_t>(1, (n + target - 1) / target));
  rows = blocks ? (n + blocks - 1) / blocks : 0;
  columns = 2 * lanes;
  added_whole = n * mp <= shared_reals;
  if (wide) find_bands();
}

void Plan::find_bands() {
  const auto entries = [&](const Term& t) {
    return int64_t{t.r->rho->groups} * blocks * (t.r->kind == Relative::key ? column_blocks() : 1);
  };
  memory_.lay_out([&](Arena& a) {
    for (int t = 0; t < count; ++t)
      if (Term& x = term[static_cast<size_t>(t)]; x.wide) x.band = a.take<Band>(entries(x));
  });
  for (int i = 0; i < count; ++i) {
    Term& t = term[static_cast<size_t>(i)];
    if (!t.wide) continue;
    const int step = t.r->kind == Relative::key ? columns : std::max(m, 1);
    Band* to = t.band;
    for (int g = 0; g < t.r->rho->groups; ++g)
      for (int block = 0; block < blocks; ++block)
        for (int j0 = 0; j0 < std::max(m, 1); j0 += step) {
          uint32_t low = 0x7fffffff;  // as unsigned, -1 is above every row
          int32_t high = -1;
          const int j1 = std::min(m, j0 + step);
          for (int row = first_row(block); row < first_row(block + 1); ++row) {
            const int32_t* rho = t.rho(g, row);
            for (int j = j0; j < j1; ++j)
              low = std::min(low, static_cast<uint32_t>(rho[j])), high = std::max(high, rho[j]);
          }
          *to = high < 0 ? Band{0, 0} : Band{static_cast<int32_t>(low), high + 1};
          t.widest = std::max<int64_t>(t.widest, to->high - to->low);
          ++to;
        }
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
