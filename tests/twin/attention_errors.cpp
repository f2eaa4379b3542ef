// What no attention can be made of, and how long what it is made of lives.
#include "tests/twin/attention_made.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

TWIN_CASE("attention: what makes no sense is refused in one line") {
  const auto says = [](const Case& c, const char* text) {
    try {
      c.value(&attention);
      FAIL_CHECK("accepted");
    } catch (const Error& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find(text) != std::string::npos);
    }
  };
  Case c = make({.kinds = {query}});
  c.terms[0].first = 1;
  says(c, "query term's table");
  c = make({.lengths = {1, 2, 3}});
  says(c, "3 lengths for 2 samples");
  c = make({.drop = 1});
  says(c, "dropout 1");
  c = make({});
  Pattern::Spec beyond = *c.who;
  beyond.k[1] = 7;
  c.who = beyond;
  says(c, "token 7 but there are 7");
  c.who = {};
  says(c, "no pattern");
  c = make({.d = 7, .rotary = true});
  says(c, "rotation");
  c = make({.kinds = {bias}});
  c.terms[0].side = c.add("u", {2, 7, 2});
  says(c, "cannot have a side projection");
  c = make({.kinds = {query}});
  c.terms[0].side = c.add("u", {2, 7, 2});
  says(c, "heads of width 1");
  c.terms[0].side = -1, c.terms[0].outside = true;
  says(c, "cannot stand outside of scale");
  c = make({.packed = false, .kinds = {query}, .rows = 4});
  c.leaf[3] = Tensor({1, 4, 3}), c.terms[0].side = c.add("u", {2, 6, 6});
  says(c, "6 tokens in 2 heads, expected 2 of 7");
  c = make({.packed = false, .kinds = {value}, .rotary = true});
  c.values = true;
  says(c, "value term");
  c = make({.d = 8, .dv = 4, .packed = false, .rotary = true});
  c.values = true;
  says(c, "they are 4 wide");
  c = make({});
  c.mask = HeadMask(2, 7, 6, std::vector<bool>(84, true));
  says(c, "the mask is for 2 heads, 7 queries and 6 keys");
  Terms many;
  for (int i = 0; i < Terms::most; ++i) many.add({});
  CHECK_THROWS_AS(many.add({}), Error);
}

TWIN_CASE("attention: patterns and indices that make no sense are refused when they are made") {
  const auto says = [](auto make_it, const char* text) {
    try {
      make_it();
      FAIL_CHECK("accepted");
    } catch (const Error& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find(text) != std::string::npos);
    }
  };
  const auto pattern = [](Index q, Index k, Index labels = {}) {
    return [=] { Pattern{Pattern::Spec{.groups = 1, .n = 2, .m = 2, .q = q, .k = k, .label_q = labels}}; };
  };
  says(pattern({0, 0}, {0, 1}), "query token 0 twice");
  says(pattern({0, 1, 2}, {0, 1}), "3 queries but its groups need 2");
  says(pattern({0, 1}, {0, -2}), "keys hold token -2");
  says(pattern({0, 1}, {0, 1}, {1, 1}), "labels 2 of 2 queries and 0 of 2 keys");
  says([] { Pattern{Pattern::Spec{.groups = -1}}; }, "-1 groups");
  const auto index = [](int rows, Index at, int groups = 1) {
    return [=] { RelativeIndex{RelativeIndex::Spec{2, 2, rows, at, groups}}; };
  };
  says(index(5, {0, 1, 2, 9}), "holds row 9 of 5");
  says(index(5, {0, 1, 2, -2}), "holds row -2 of 5");
  says(index(5, {0, 1, 2}), "has 3 entries, expected 4");
  says(index(5, {0, 1, 2, 3}, 0), "in 0 groups");
  says([] { HeadMask(2, 2, 2, std::vector<bool>(7)); }, "of 7 bits");
  // a temporary lives as long as the call that it was made for: its gradient, too
  const Case made = make({.n = 5, .kinds = {query}});
  Tape tape;
  const Tensor x = tape.watch(made.leaf[0]);
  const auto once = [&] {
    Terms where;
    where.add({query, made.leaf[1], 0, RelativeIndex(*made.terms[0].rho)});
    return attention({heads(x, 2, 0, 3), heads(x, 2, 1, 3), heads(x, 2, 2, 3), Pattern(*made.who), made.scale}, where,
                     {});
  };
  Grads none;
  const Tensor o = once();
  tape.backward(o, made.cotangent(o.shape()), none);
  CHECK(distance(tape.grad(x), made.all(&attention)[1]) == 0);
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
