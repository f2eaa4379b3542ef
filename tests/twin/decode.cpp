// Greedy and beam search on models whose every answer can be listed.
#include "tessera/models/decode.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Logits of what comes after a target, for any rule. Counts its calls, and hands on what it was given.
struct Rule final : Model {
  int K;
  std::function<double(std::span<const int32_t> so_far, int next, int question)> logit;
  mutable int with_state = 0, without = 0;
  Rule(int kinds, decltype(logit) f) : K(kinds), logit(std::move(f)) {}
  Output forward(const Run&, const Input& in) const override {
    ++(in.state.empty() ? without : with_state);
    const int n = in.target.count(), S = in.target.width();
    Output out;
    out.logits = Tensor({n, S, K});
    for (int b = 0; b < n; ++b)
      for (int s = 0; s < S; ++s)
        for (int k = 0; k < K; ++k)
          out.logits[(b * S + s) * K + k] =
              static_cast<real>(logit(in.target.view().subspan(static_cast<size_t>(b * S), static_cast<size_t>(s) + 1),
                                      k, in.tokens[static_cast<size_t>(b * in.tokens.width())]));
    out.state = {zeros({n, 1})};
    return out;
  }
};

double noise(std::span<const int32_t> so_far, int next, int question) {
  double h = question;
  for (const int32_t t : so_far) h = std::sin(37.1 * h + t + 1) * 11;
  return 2 * std::sin(h * 5.3 + 2.7 * next * next + question);
}

Input questions(std::initializer_list<int32_t> q) {
  Input in;
  in.tokens = Ints(q);
  return in;
}

/// Every answer of at most `most` tokens with its log probability.
void list(const Rule& rule, Index so_far, double log_p, int question, size_t most, std::vector<Decoded>& all) {
  double sum = 0;
  for (int k = 0; k < rule.K; ++k) sum += std::exp(rule.logit(so_far, k, question));
  for (int k = 0; k < rule.K; ++k) {
    const double p = log_p + rule.logit(so_far, k, question) - std::log(sum);
    Index next = so_far;
    next.push_back(k);
    if (k == SpecialTokens::end) {
      all.push_back({Index(so_far.begin() + 1, so_far.end()), p, true});
    } else if (so_far.size() <= most) {
      list(rule, next, p, question, most, all);
    }
  }
}

TWIN_CASE(
    "decode: a beam as wide as all answers finds the likeliest of them, greedy is the likeliest token each time") {
  const Rule rule(5, noise);
  int worse = 0;
  for (int question = 0; question < 20; ++question) {
    CAPTURE(question);
    std::vector<Decoded> all;
    list(rule, {SpecialTokens::begin}, 0, question, 3, all);
    const Decoded& best = *std::ranges::max_element(all, {}, &Decoded::log_probability);
    const Decoded found = decode(rule, questions({question}), {.beam = 400, .most = 3})[0];
    CHECK(found.tokens == best.tokens);
    CHECK(found.log_probability == doctest::Approx(best.log_probability).epsilon(1e-5));
    CHECK(found.ended);
    const Decoded greedy = decode(rule, questions({question}), {.most = 3})[0];
    Index so_far{SpecialTokens::begin};
    for (const int32_t t : greedy.tokens) {
      for (int k = 0; k < 5; ++k) CHECK(noise(so_far, k, question) <= noise(so_far, t, question) + 1e-5);
      so_far.push_back(t);
    }
    if (greedy.ended) {
      CHECK(greedy.log_probability <= found.log_probability + 1e-5);
      worse += greedy.log_probability < found.log_probability - 1e-3;
    } else {
      CHECK(greedy.tokens.size() == 3);
    }
  }
  CHECK(worse > 0);  // or a beam would be in vain
}

TWIN_CASE("decode: answers do not depend on what else is asked, and an encoder runs once a question") {
  const Rule rule(6, noise);
  const auto all = decode(rule, questions({4, 9, 2}), {.beam = 3, .most = 6});
  REQUIRE(all.size() == 3);
  CHECK(rule.without == 3);
  CHECK(rule.with_state > 3);
  CHECK(all[1].tokens == decode(rule, questions({9}), {.beam = 3, .most = 6})[0].tokens);
}

TWIN_CASE("decode: a length penalty prefers longer answers; what is no answer is refused") {
  // to end costs log 2 at once; each further symbol costs little
  const Rule rule(4, [](std::span<const int32_t> so_far, int next, int) {
    const bool may_end = so_far.size() == 1 || so_far.size() == 4;
    if (next == SpecialTokens::end) return may_end ? 0.2 : -50.0;
    return next == 3 ? (so_far.size() == 4 ? -50.0 : 0.0) : -50.0;
  });
  CHECK(decode(rule, questions({1}), {.beam = 2, .most = 9})[0].tokens.empty());
  CHECK(decode(rule, questions({1}), {.beam = 2, .most = 9, .length_penalty = 1})[0].tokens == Index{3, 3, 3});
  CHECK_THROWS_WITH_AS(decode(rule, questions({1}), {.beam = 0}), doctest::Contains("a beam of 0"), Error);
  const Rule lost(4, [](std::span<const int32_t>, int, int) { return std::nan(""); });
  CHECK_THROWS_WITH_AS(decode(lost, questions({1})), doctest::Contains("not finite"), Error);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
