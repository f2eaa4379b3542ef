// What an observer sees is enough: every row of the op table, every kind of attention, and whole networks are computed again from the
// list of their ops alone (interpreter.cpp), after all that the ops had made was overwritten with NaN.
#include <algorithm>

#include "tessera/core/ops.h"
#include "tessera/models/model.h"
#include "tests/twin/attention_made.h"
#include "tests/twin/interpreter.h"
#include "tests/twin/op_table_rows.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

template <class F>
Recorder recorded(F f) {
  Recorder r;
  const Observing here(r);
  f();
  return r;
}

std::vector<std::vector<double>> doubles(const Tensors& all) {
  std::vector<std::vector<double>> v;
  for (const Tensor& t : all) v.push_back(to_doubles(t));
  return v;
}

/// y = 2 x, or 3 x: an op that says what it does, or does not.
Tensor times(const Tensor& x, int by, bool says) {
  Tensor y(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) y[i] = static_cast<real>(by) * x[i];
  const auto pull = [=](const Tensor& dy, Back& back) { back.add(x, scale(dy, by)); };
  return says ? record({"times", {{"by", by}}}, y, {&x}, pull) : record("times", y, {&x}, pull);
}

TWIN_CASE("observer: every row of the op table is computed again, to the bit, from what its ops show") {
  for (const Row& row : op_rows()) {
    INFO(title(row));
    const Tensors x = to_tensors(draw(row));
    Tensors y;
    const Recorder seen = recorded([&] { y = row.run(x); });
    const auto want = doubles(y);
    CHECK_MESSAGE((!seen.ops.empty() || y[0].storage() == x[0].storage()), "no op was recorded");
    CHECK(seen.not_fresh() == "");
    seen.spoil();
    std::string trouble;
    try {
      CHECK_MESSAGE(doubles(computed(seen.ops, {}, y)) == want, "another configuration shows the same attributes");
    } catch (const Error& e) {
      trouble = e.what();
    }
    CHECK(trouble == "");
  }
}

TWIN_CASE("observer: an op that forgets an attribute, or has no rule, is noticed") {
  const Tensor x = full({3}, 1);
  const auto again = [&](bool says) {
    Tensor y;
    const Recorder seen = recorded([&] { y = times(x, 3, says); });
    return computed(seen.ops, {}, y)[0][0];
  };
  CHECK_THROWS_WITH_AS(again(true), "[interpreter] no rule computes times again: add one", Error);
  interpreter()["times"] = [](const Kept& op, const Tensors& in) { return times(in[0], op.i("by"), true); };
  CHECK(again(true) == 3);
  CHECK_THROWS_WITH_AS(again(false), "[interpreter] times shows no attribute by", Error);
  interpreter()["times"] = [](const Kept&, const Tensors& in) { return times(in[0], 3, true); };
  CHECK_THROWS_WITH_AS(again(true), "[interpreter] times shows by, which its rule does not need", Error);
  interpreter().erase("times");
}

TWIN_CASE("observer: an attention of any kind is computed again from what it shows") {
  using namespace attention_test;
  Pattern::Spec causal = *global_pattern(5, 7);
  causal.causal = true, causal.offset = 2;
  Pattern::Spec alone = *global_pattern(7, 7);
  alone.no_self = true;
  Pattern::Spec zero_key = *global_pattern(7, 7);
  zero_key.absent = Pattern::Absent::zero_key, zero_key.k[3] = -1;
  const Pattern skipped = attention_test::windows(2, 0), penalised = attention_test::windows(2, -100);
  Case aside = make({.packed = false, .kinds = {query, key_}}), travels = make({.rotary = true}), hidden = make({});
  for (Case::Term& t : aside.terms) {
    t.leaf = aside.add("table of u", {1, 5, 3}), t.side = aside.add("u", {2, 7, 2 * 3});
    t.outside = t.kind == query;
  }
  travels.values = true;
  std::vector<bool> sees(2 * 7 * 7, true);
  for (size_t i = 0; i < sees.size(); i += 3) sees[i] = false;
  hidden.mask = HeadMask(2, 7, 7, sees);
  for (const Case& c :
       {aside, travels, hidden, make({}), make({.n = 4, .m = 6, .dv = 5, .packed = false}),
        make({.kinds = {bias, bias}}), make({.per_head = true, .kinds = {query, key_, value, gate, bias}, .first = 2}),
        make({.kinds = {gate}, .gate_width = 8}), make({.kinds = {bias}, .rotary = true}),
        make({.rotary = true, .halves = true}), make({.drop = 0.3, .lengths = {7, 3}}), make({.n = 5, .m = 7}, causal),
        make({}, alone), make({}, zero_key), make({.n = 64, .kinds = {bias, query}}, skipped),
        make({.n = 64}, penalised)}) {
    Tensor y;
    const Recorder seen = recorded([&] { y = c.value(&attention); });
    const Tensor want = y.copy();
    CHECK(seen.not_fresh() == "");
    seen.spoil();
    CHECK(attention_test::distance(computed(seen.ops, {}, y)[0], want) < (twin ? 1e-12 : 1e-4));
  }
}

TWIN_CASE("observer: ViT and Swin under three encodings are their lists of ops, for any image") {
  const std::pair<std::string, Options> networks[] = {
      {"vit",
       {{"img_size", 16}, {"embed_dim", 16}, {"depth", 2}, {"num_heads", 2}, {"init_values", 0.5}, {"num_classes", 5}}},
      {"swin",
       {{"img_size", 28},  // 7 x 7 cells: padded windows, merging of an odd map
        {"embed_dim", 16},
        {"depths", std::vector<int>{2, 2}},
        {"num_heads", std::vector<int>{2, 4}},
        {"window_size", 3},
        {"num_classes", 5}}}};
  for (const auto& network : networks)
    for (const std::string encoding : {"learned", "rope_axial", "relative_position_bias"}) {
      const std::string& family = network.first;
      CAPTURE(family);
      CAPTURE(encoding);
      Params params(1);
      const auto net = model(family).make(Scope(params), network.second, position(encoding));
      walk::redraw(params);
      const int side = family == "vit" ? 16 : 28;
      const Tensor one = walk::random_image(2, side, side, 3), other = scale(one, -0.7);
      const Tensor want = net->forward(Run{}, other).logits;  // fixed tables are made here
      Tensor logits;
      const Recorder seen = recorded([&] { logits = net->forward(Run{}, one).logits; });
      CHECK(seen.not_fresh() == "");
      seen.spoil();
      CHECK(attention_test::distance(computed(seen.ops, {{one, other}}, logits)[0], want) <
            (sizeof(real) == 8 ? 1e-12 : 1e-4));
    }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
