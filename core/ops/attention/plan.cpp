#include "tessera/core/ops/attention/plan.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// A block of scores: 64 kB, so that two of them and the head's rows fit L2 with ease. Under key terms, which take all rows of a block
// with a few keys at a time and so gain from many rows, 256 kB.
constexpr int64_t block_reals = 16 * 1024, tall_block_reals = 64 * 1024;
constexpr int64_t shared_reals = 64 * 1024;  // the most that is kept for all rows
constexpr int64_t strip_rows = 16;           // few rows touch few rows of a table

/// What rows of d channels need beyond whole vectors: a term that meets the later ones writes whole vectors from its first channel on. Without this
/// room they would reach into the next row, where 0 times a NaN of this row stays.
int64_t room(const Call& c, int d, bool values) {
  for (int i = 0; i < c.where.count; ++i) {
    const Relative& r = c.where.relative[static_cast<size_t>(i)];
    const bool meets = values ? r.kind == Relative::value : r.kind == Relative::query || r.kind == Relative::key;
    if (meets && !r.side && r.first + whole(r.table.dim(2)) > whole(d)) return kernels().lanes;
  }
  return 0;
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
      dp(whole(d) + room(call, d, false)),
      dvp(whole(dv) + room(call, dv, true)),
      mp(whole(m)),
      bf16(c.bf16),
      dh(whole((d + 1) / 2)),
      dvh(whole((dv + 1) / 2)),
      mh(whole((m + 1) / 2)),
      rotates(c.rotates()),
      drops(c.drops()) {
  const Pattern::Spec& who = *c.who;
  pairs_added = added_by_group = !who.label_q.empty() || who.causal || who.no_self;
  pairs_added |= static_cast<bool>(c.where.visible);
  travels = c.where.rotary.values && rotates;
  for (int i = 0; i < c.where.count; ++i) {
    const Relative& r = c.where.relative[static_cast<size_t>(i)];
    const bool inner = r.kind == Relative::query || r.kind == Relative::key || r.kind == Relative::value;
    const bool uniform = inner && r.rho.single();
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
        (t.width == 1 ? scaled : gated) = true, gates_by_group |= by_group && t.width == 1;
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
  const int64_t target = std::max<int64_t>(8, (key_terms ? tall_block_reals : block_reals) / std::max<int64_t>(mp, 1));
  blocks = static_cast<int>(std::max<int64_t>(1, (n + target - 1) / target));
  rows = (n + blocks - 1) / blocks;
  strips = static_cast<int>(std::max<int64_t>(1, (rows + strip_rows - 1) / strip_rows));
  columns = 2 * lanes;
  pairs_whole = n * mp <= shared_reals;
  alike = c.scale == 0 && !drops && !c.lengths && !rotates && !scaled && !gated && blocks == 1 && pairs_whole &&
          !(query_terms || key_terms || value_terms || uniform_keys);
  if (query_terms || key_terms || value_terms) find_bands();
}

/// Of some rows, all keys: the index knows each row's.
Band Plan::band_of(const Term& t, int g, int row, int many) const {
  Band all{0x7fffffff, 0};
  for (int i = 0; i < many; ++i)
    if (const Band b = t.r->rho.band(g, row + i); b.high > 0)
      all.low = std::min(all.low, b.low), all.high = std::max(all.high, b.high);
  return all.high > 0 ? all : Band{};
}

/// Of some rows and `columns` keys.
Band Plan::band_of(const Term& t, int g, int row, int many, int from) const {
  uint32_t low = 0x7fffffff;  // as unsigned, -1 is above every row
  int32_t high = -1;
  for (int i = 0; i < many; ++i) {
    const int32_t* rho = t.rho(g, row + i);
    for (int j = from; j < std::min(m, from + columns); ++j)
      low = std::min(low, static_cast<uint32_t>(rho[j])), high = std::max(high, rho[j]);
  }
  return high < 0 ? Band{} : Band{static_cast<int32_t>(low), high + 1};
}

void Plan::find_bands() {
  memory_.lay_out([&](Arena& a) {
    for (int t = 0; t < count; ++t)
      if (Term& x = term[static_cast<size_t>(t)]; x.wide)
        x.band = a.take<Band>(int64_t{x.r->rho->groups} * blocks * parts(x));
  });
  for (int i = 0; i < count; ++i) {
    Term& t = term[static_cast<size_t>(i)];
    if (!t.wide) continue;
    const bool by_columns = t.r->kind == Relative::key;
    Band* to = t.band;
    for (int g = 0; g < t.r->rho->groups; ++g)
      for (int block = 0; block < blocks; ++block)
        for (int part = 0; part < parts(t); ++part) {
          const int row = first_row(block), many = first_row(block + 1) - row;
          const int first = strip(many, part);
          *to = by_columns ? band_of(t, g, row, many, part * columns)
                           : band_of(t, g, row + first, strip(many, part + 1) - first);
          t.widest = std::max<int64_t>(t.widest, to->high - to->low);
          ++to;
        }
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
