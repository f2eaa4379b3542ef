// Attention where numbers end: scores of any size, rows that see nothing, NaN and infinity in every input.
#include <algorithm>
#include <limits>

#include "tests/twin/attention_made.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

/// n x n scores given one by one: a bias table with a row for each pair, while queries and keys are 0.
Case scored(int n, int d, const std::function<double(int i, int j)>& score) {
  Case c;
  c.who = global_pattern(n, n);
  c.q = {c.add("q", {1, n, d}, 0), 1, 0, 1};
  c.k = {c.add("k", {1, n, d}, 0), 1, 0, 1};
  c.v = {c.add("v", {1, n, d}), 1, 0, 1};
  RelativeIndex::Spec own{n, n, n * n, {}, 1};
  for (int i = 0; i < n * n; ++i) own.at.push_back(i);
  c.terms.push_back({bias, c.add("bias", {1, n * n, 1}), 0, std::move(own)});
  for (int i = 0; i < n * n; ++i) c.leaf[3][i] = static_cast<real>(static_cast<float>(score(i / n, i % n)));
  return c;
}

double noise(int i, int j) { return rng::Stream(7).normal(static_cast<uint64_t>(1000 * i + j)); }

const std::vector<int> lengths_of_rows{1, 2, 3, 7, 8, 9, 17, 33, 65, 130};

TWIN_CASE("attention: one token of any size is its own answer") {
  for (const double size : {133120.0, 1e-3, 3e4, 1e9, 1e18}) {
    Case c;
    c.who = global_pattern(1, 1);
    const int x = c.add("qkv", {1, 1, 3 * 64});
    c.q = {x, 1, 0, 3}, c.k = {x, 1, 1, 3}, c.v = {x, 1, 2, 3};
    c.scale = 0.125;
    for (int64_t i = 0; i < 3 * 64; ++i) c.leaf[0][i] = static_cast<real>(static_cast<float>(size));
    const std::vector<Tensor> all = c.all(&attention);
    const Tensor u = c.cotangent(all[0].shape());
    for (int64_t i = 0; i < 64; ++i) {
      CHECK(all[0][i] == static_cast<real>(static_cast<float>(size)));
      CHECK(all[1][i] == 0);
      CHECK(all[1][64 + i] == 0);
      CHECK(all[1][128 + i] == u[i]);
    }
  }
}

TWIN_CASE("attention: scores of any size are what softmax makes of them") {
  for (const int n : lengths_of_rows)
    for (const double size : {1.0, 1e4, 1e9, 1e30, 1e37}) {
      CAPTURE(n);
      CAPTURE(size);
      same(scored(n, 8, [&](int i, int j) { return size * noise(i, j); }));
      same(scored(n, 8, [&](int i, int j) { return -7 * size + size * noise(i, j); }));   // the whole row far below 0
      same(scored(n, 8, [&](int i, int j) { return (i + j) % 3 == 0 ? size : -size; }));  // ties
    }
}

TWIN_CASE("attention: a row of equal scores is a mean, whatever the score") {
  for (const int n : lengths_of_rows)
    for (const double size : {0.0, 1e9, -1e9, 1e30, -1e30, -1e31, 3e38, -3e38}) {
      CAPTURE(n);
      CAPTURE(size);
      const Case c = scored(n, 8, [&](int, int) { return size; });
      const Tensor got = c.value(&attention);
      for (int ch = 0; ch < 8; ++ch) {
        double mean = 0;
        for (int j = 0; j < n; ++j) mean += double(c.leaf[2][j * 8 + ch]) / n;
        for (int i = 0; i < n; ++i) CHECK(std::abs(double(got[i * 8 + ch]) - mean) < 1e-6);
      }
    }
}

TWIN_CASE("attention: minus infinity hides pairs, and whole rows get 0") {
  for (const int n : lengths_of_rows)
    for (const double size : {1.0, 1e9, -1e31, 3e37}) {
      CAPTURE(n);
      CAPTURE(size);
      const auto blind = [](int i) { return i % 4 == 3; };
      const Case c = scored(
          n, 8, [&](int i, int j) { return blind(i) || (i + 2 * j) % 5 == 1 ? -inf : size * (1 + 0.1 * noise(i, j)); });
      same(c);
      const std::vector<Tensor> all = c.all(&attention);
      for (int i = 0; i < n; ++i) {
        bool hidden = true;
        for (int j = 0; j < n; ++j) hidden &= std::isinf(double(c.leaf[3][i * n + j]));
        for (int ch = 0; hidden && ch < 8; ++ch) CHECK(all[0][i * 8 + ch] == 0);
        for (int j = 0; hidden && j < n; ++j) CHECK(all[4][i * n + j] == 0);
      }
    }
}

TWIN_CASE("attention: NaN or plus infinity among a row's scores makes its output NaN, and no other's") {
  for (const int n : lengths_of_rows)
    for (const double special : {nan, inf})
      for (const int key : {0, n / 2, n - 1}) {
        const int row = n / 3;
        const Case c = scored(n, 8, [&](int i, int j) { return i == row && j == key ? special : noise(i, j); });
        for (const Function f : {&attention, &plain_attention}) {
          const std::vector<Tensor> all = c.all(f);
          CAPTURE(n);
          CAPTURE(key);
          int wrong = 0;
          for (int i = 0; i < n; ++i) {
            for (int ch = 0; ch < 8; ++ch) wrong += std::isnan(double(all[0][i * 8 + ch])) != (i == row);
            for (int j = 0; j < n; ++j)
              wrong += std::isnan(double(all[4][i * n + j])) != (i == row);  // and its gradient
          }
          CHECK(wrong == 0);
        }
      }
}

/// Fused against plain with one special number in one element of one leaf. In values: the same kinds of numbers. In gradients: no number
/// where plain has none; more NaN may come, since what is masked or has weight 0 is multiplied by 0 and not left out.
void same_kinds(const Case& c, bool exact, std::vector<double> specials = {nan, inf, -inf}) {
  const auto strange = [](real v) { return std::isnan(double(v)) ? 2 : std::isinf(double(v)) ? 1 : 0; };
  for (size_t l = 0; l < c.leaf.size(); ++l)
    for (const double special : specials)
      for (const int64_t i : {int64_t{0}, c.leaf[l].size() / 2, c.leaf[l].size() - 1}) {
        Case changed = c;
        changed.leaf[l] = c.leaf[l].copy();
        changed.leaf[l][i] = static_cast<real>(special);
        const std::vector<Tensor> want = changed.all(&plain_attention), got = changed.all(&attention);
        int lost = 0, gained = 0;
        for (size_t t = 0; t < want.size(); ++t)
          for (int64_t e = 0; e < want[t].size(); ++e) {
            lost += strange(got[t][e]) < strange(want[t][e]);
            gained += t == 0 && strange(got[t][e]) > strange(want[t][e]);
          }
        INFO(special << " in " << c.name[l] << " at " << i);
        CHECK(lost == 0);
        if (exact) CHECK(gained == 0);
      }
}

TWIN_CASE("attention: NaN and infinity in every input give what the definition gives") {
  for (const int n : {5, 8, 17}) {
    CAPTURE(n);
    same_kinds(make({.n = n, .packed = false}), true);
    same_kinds(make({.n = n, .packed = false, .kinds = {bias}}), true);
    same_kinds(make({.n = n, .packed = false, .lengths = {n - 2, n}}), true);
    Pattern::Spec causal = *global_pattern(n, n);
    causal.causal = true;
    same_kinds(make({.n = n, .packed = false, .kinds = {bias}}, causal), true);
    same_kinds(make({.n = n, .packed = false, .rotary = true}), true);
    // tables are multiplied whole, also by rows that a query does not use
    for (const auto kind : {query, key_, value}) same_kinds(make({.n = n, .packed = false, .kinds = {kind}}), false);
    // an infinite gate multiplies the sum of all channels' products here, each of them there: signs may differ
    same_kinds(make({.n = n, .packed = false, .kinds = {gate}}), false, {nan});
    same_kinds(make({.n = n, .packed = false, .kinds = {gate}, .gate_width = 8}), false);
  }
}

TWIN_CASE("attention: under terms that meet the later channels only, a query's NaN stays its own") {
  const auto nan_in = [](const Tensor& t, int64_t i) { return std::isnan(double(t[i])); };
  for (const auto kind : {query, key_, value})
    for (const int n : {5, 17})
      for (const int first : {3, 8}) {
        CAPTURE(n);
        CAPTURE(first);
        Case c = make({.n = n, .d = 16, .packed = false, .kinds = {kind}, .first = first});
        c.leaf[0] = c.leaf[0].copy();
        const int64_t at = c.leaf[0].size() / 2;
        c.leaf[0][at] = static_cast<real>(nan);
        const std::vector<Tensor> want = c.all(&plain_attention), got = c.all(&attention);
        int wrong = 0;
        for (const size_t t : {size_t{0}, size_t{1}})  // the output, and the gradient of the queries
          for (int64_t i = 0; i < want[t].size(); ++i) wrong += nan_in(got[t], i) != nan_in(want[t], i);
        CHECK(wrong == 0);
        CHECK(nan_in(got[0], at));
      }
}

TWIN_CASE("attention: what lies beyond a sample's length is not read, NaN or not") {
  for (const double special : {nan, inf, 3e38}) {
    const Case c = make({.n = 9, .packed = false, .kinds = {bias, query}, .lengths = {6, 9}});
    Case dirty = c;
    for (const size_t l : {size_t{1}, size_t{2}}) {
      dirty.leaf[l] = c.leaf[l].copy();
      for (int64_t i = 6 * 16; i < 9 * 16; ++i) dirty.leaf[l][i] = static_cast<real>(special);
    }
    for (const Function f : {&attention, &plain_attention}) {
      const std::vector<Tensor> want = c.all(f), got = dirty.all(f);
      for (size_t t = 0; t < want.size(); ++t)
        for (int64_t i = 0; i < want[t].size(); ++i) CHECK(got[t][i] == want[t][i]);
    }
  }
}

TWIN_CASE("attention: a masked key's NaN score stays behind the mask") {
  Pattern::Spec causal = *global_pattern(9, 9);
  causal.causal = true;
  const Case c = make({.n = 9, .packed = false}, causal);
  for (const double special : {nan, inf, -inf}) {
    Case dirty = c;
    dirty.leaf[1] = c.leaf[1].copy();
    for (int64_t i = 8 * 16; i < 9 * 16; ++i) dirty.leaf[1][i] = static_cast<real>(special);  // key 8 of sample 0
    const Tensor want = c.value(&attention), got = dirty.value(&attention);
    for (int64_t i = 0; i < 8 * 16; ++i) CHECK(got[i] == want[i]);
  }
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
