#include "tessera/core/ops/attention/attributes.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr const char* kinds[] = {"bias", "query", "key", "value", "gate"};

struct Keys {
  const char *offset, *stride, *heads, *d, *tokens;
};
void add(CallAttributes& to, const Keys& key, const Heads& x) {
  to.all.insert(
      to.all.end(),
      {{key.offset, x.offset}, {key.stride, x.stride}, {key.heads, x.heads}, {key.d, x.d}, {key.tokens, x.tokens}});
}

void add(CallAttributes& to, const Pattern::Spec& p) {
  to.all.insert(to.all.end(), {{"groups", p.groups},
                               {"n", p.n},
                               {"m", p.m},
                               {"who.q", p.q},
                               {"who.k", p.k},
                               {"label_q", p.label_q},
                               {"label_k", p.label_k},
                               {"causal", p.causal},
                               {"offset", p.offset},
                               {"no_self", p.no_self},
                               {"absent", p.absent == Pattern::Absent::masked ? "masked" : "zero_key"},
                               {"mask_value", p.mask_value}});
}

void add(CallAttributes& to, const Relative& r) {
  to.all.insert(to.all.end(), {{"kind", kinds[r.kind]},
                               {"first", r.first},
                               {"rows", r.rho->rows},
                               {"rho.groups", r.rho->groups},
                               {"rho.at", r.rho->at},
                               {"side", r.side ? r.side.d : 0},
                               {"outside", r.outside}});
  if (r.side) to.all.insert(to.all.end(), {{"side.offset", r.side.offset}, {"side.stride", r.side.stride}});
}

}  // namespace

CallAttributes attributes_of(const Call& c) {
  CallAttributes to;
  if (!context().observer) return to;
  add(to, {"q.offset", "q.stride", "q.heads", "q.d", "q.tokens"}, c.q);
  add(to, {"k.offset", "k.stride", "k.heads", "k.d", "k.tokens"}, c.k);
  add(to, {"v.offset", "v.stride", "v.heads", "v.d", "v.tokens"}, c.v);
  to.all.emplace_back("scale", c.scale), to.all.emplace_back("halves", c.where.rotary.halves);
  to.all.emplace_back("values", c.where.rotary.values);
  add(to, *c.who);
  for (int t = 0; t < c.where.count; ++t) add(to, c.where.relative[static_cast<size_t>(t)]);
  if (const HeadMask& mask = c.where.visible) {
    for (int h = 0; h < mask.heads(); ++h)
      for (int i = 0; i < mask.n(); ++i)
        for (int j = 0; j < mask.m(); ++j) to.visible.push_back(mask.sees(h, i, j));
    to.all.emplace_back("visible", to.visible), to.all.emplace_back("visible.heads", mask.heads());
  }
  if (c.lengths) {
    for (int b = 0; b < c.batch(); ++b) to.lengths.push_back(c.length(b));
    to.all.emplace_back("lengths", to.lengths);
  }
  if (c.drops())
    to.all.insert(to.all.end(), {{"p", c.dropout.p},
                                 {"key", c.dropout.key.value},
                                 {"seed", c.run.seed},
                                 {"step", c.run.step},
                                 {"first_sample", c.run.first}});
  return to;
}

}  // namespace TESSERA_NS
}  // namespace tessera
