// The checks of what is made once and used by many calls.
#include <algorithm>

#include "tessera/core/memo.h"
#include "tessera/core/ops/attention/attention.h"

namespace tessera {
namespace {

void check_indices(const char* what, const Index& at, size_t size) {
  if (at.size() != size) fail("attention", "the pattern has {} {} but its groups need {}", at.size(), what, size);
  for (const int32_t t : at)
    if (t < -1) fail("attention", "the pattern's {} hold token {}", what, t);
}

int one_more_than_largest(const Index& at) { return at.empty() ? 0 : *std::max_element(at.begin(), at.end()) + 1; }

/// The first token that stands twice, or -1; `count` counts the places that hold one.
int32_t twice(const Index& at, int tokens, int& count) {
  std::vector<bool> seen(static_cast<size_t>(tokens));
  count = 0;
  for (const int32_t t : at) {
    if (t < 0) continue;
    if (seen[static_cast<size_t>(t)]) return t;
    seen[static_cast<size_t>(t)] = true, ++count;
  }
  return -1;
}

}  // namespace

Pattern::Pattern(Spec spec) {
  if (spec.groups < 0 || spec.n < 0 || spec.m < 0)
    fail("attention", "a pattern of {} groups of {} queries and {} keys", spec.groups, spec.n, spec.m);
  const size_t queries = static_cast<size_t>(spec.groups) * static_cast<size_t>(spec.n);
  const size_t keys = static_cast<size_t>(spec.groups) * static_cast<size_t>(spec.m);
  check_indices("queries", spec.q, queries), check_indices("keys", spec.k, keys);
  if ((!spec.label_q.empty() || !spec.label_k.empty()) &&
      (spec.label_q.size() != queries || spec.label_k.size() != keys))
    fail("attention", "the pattern labels {} of {} queries and {} of {} keys", spec.label_q.size(), queries,
         spec.label_k.size(), keys);
  const auto facts = std::make_shared<Facts>();
  static_cast<Spec&>(*facts) = std::move(spec);
  facts->queries = one_more_than_largest(facts->q), facts->keys = one_more_than_largest(facts->k);
  if (const int32_t t = twice(facts->q, facts->queries, facts->query_places); t >= 0)
    fail("attention", "the pattern holds query token {} twice, so its output is ambiguous", t);
  if (facts->query_places != static_cast<int>(facts->q.size())) facts->query_places = -1;  // some place holds none
  int places = 0;
  facts->keys_once =
      twice(facts->k, facts->keys, places) < 0 && places == static_cast<int>(facts->k.size()) && places == facts->keys;
  facts->in_order = facts->groups == 1 && facts->n > 0 && facts->q[0] >= 0;
  for (int i = 1; i < facts->n && facts->in_order; ++i)
    facts->in_order = facts->q[static_cast<size_t>(i)] == facts->q[0] + i;
  facts_ = facts;
}

RelativeIndex::RelativeIndex(Spec spec) {
  if (spec.n < 0 || spec.m < 0 || spec.groups < 1)
    fail("attention", "an index of {} x {} pairs in {} groups", spec.n, spec.m, spec.groups);
  const size_t rows = static_cast<size_t>(spec.groups) * static_cast<size_t>(spec.n);
  const auto m = static_cast<size_t>(spec.m);
  if (spec.at.size() != rows * m)
    fail("attention", "an index of {} x {} pairs in {} groups has {} entries, expected {}", spec.n, spec.m, spec.groups,
         spec.at.size(), rows * m);
  const auto facts = std::make_shared<Facts>();
  static_cast<Spec&>(*facts) = std::move(spec);
  facts->bands.resize(rows);
  facts->single = facts->rows == 1;
  for (size_t i = 0; i < rows; ++i) {
    uint32_t low = 0x7fffffff;  // as unsigned, -1 is above every row
    int32_t least = 0, most = -1;
    for (size_t j = 0; j < m; ++j) {
      const int32_t x = facts->at[i * m + j];
      low = std::min(low, static_cast<uint32_t>(x)), least = std::min(least, x), most = std::max(most, x);
    }
    if (least < -1 || most >= facts->rows)
      fail("attention", "an index holds row {} of {}", least < -1 ? least : most, facts->rows);
    if (most >= 0) facts->bands[i] = {static_cast<int32_t>(low), most + 1};
    facts->single = facts->single && least == 0 && most <= 0;
  }
  facts_ = facts;
}

HeadMask::HeadMask(int heads, int n, int m, const std::vector<bool>& sees) {
  const size_t size = static_cast<size_t>(std::max(heads, 0)) * static_cast<size_t>(std::max(n, 0)) *
                      static_cast<size_t>(std::max(m, 0));
  if (heads < 1 || n < 0 || m < 0 || sees.size() != size)
    fail("attention", "a mask of {} heads, {} queries and {} keys of {} bits", heads, n, m, sees.size());
  const auto facts = std::make_shared<Facts>();
  facts->heads = heads, facts->n = n, facts->m = m, facts->words = (int64_t{m} + 63) / 64;
  facts->bits.resize(static_cast<size_t>(heads) * static_cast<size_t>(n) * static_cast<size_t>(facts->words));
  for (size_t i = 0, row = 0; i < size; i += static_cast<size_t>(m), row += static_cast<size_t>(facts->words))
    for (size_t j = 0; j < static_cast<size_t>(m); ++j)
      if (sees[i + j]) facts->bits[row + j / 64] |= uint64_t{1} << (j % 64);
  facts_ = facts;
}

size_t bytes_of(const Pattern& p) {
  return p ? (p->q.size() + p->k.size() + p->label_q.size() + p->label_k.size()) * sizeof(int32_t) : 0;
}
size_t bytes_of(const RelativeIndex& rho) {
  return rho ? rho->at.size() * sizeof(int32_t) +
                   static_cast<size_t>(rho->groups) * static_cast<size_t>(rho->n) * sizeof(Band)
             : 0;
}
size_t bytes_of(const HeadMask& mask) {
  return mask ? static_cast<size_t>(mask.heads()) * static_cast<size_t>(mask.n()) *
                    ((static_cast<size_t>(mask.m()) + 63) / 64) * 8
              : 0;
}

Pattern global_pattern(int n, int m) {
  static Memo<std::pair<int, int>, Pattern> memo;
  return memo({n, m}, [&] {
    Pattern::Spec p;
    p.groups = 1, p.n = n, p.m = m;
    for (int i = 0; i < n; ++i) p.q.push_back(i);
    for (int j = 0; j < m; ++j) p.k.push_back(j);
    return p;
  });
}

Pattern causal_pattern(int n, int memory) {
  static Memo<std::pair<int, int>, Pattern> memo;
  return memo({n, memory}, [&] {
    Pattern::Spec p = *global_pattern(n, memory + n);
    p.causal = true, p.offset = memory;
    return p;
  });
}

}  // namespace tessera
