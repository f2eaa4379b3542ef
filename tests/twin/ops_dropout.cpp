// Rows of dropout and stochastic depth.
#include "tessera/core/ops/dropout.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

const Run training{Mode::train, 5, 17, 40}, evaluation{Mode::eval, 5, 17, 40};

Array plain_dropout(Array x, double p, Key key, const Run& run) {
  const int64_t n = x.size() / x.dim(0);
  for (int64_t e = 0; e < x.size(); ++e) {
    const double u = static_cast<double>(stream(run, key, e / n).bits32(static_cast<uint64_t>(e % n))) * 0x1p-32;
    x[e] *= u < p ? 0 : 1 / (1 - p);
  }
  return x;
}
Array plain_drop_path(Array x, double p, Key key, const Run& run) {
  const int64_t n = x.size() / x.dim(0);
  for (int64_t e = 0; e < x.size(); ++e) x[e] = x[e] * (stream(run, key, e / n).uniform(0) < p ? 0 : 1 / (1 - p));
  return x;
}
Array plain_add(Array a, const Array& b) {
  for (int64_t e = 0; e < a.size(); ++e) a[e] += b[e];
  return a;
}

OP_ROWS(dropout) {
  const Key key = tessera::key("blocks.3.mlp");
  for (const Shape& s : {Shape{1}, Shape{9}, Shape{3, 31}, Shape{2, 3, 33}, Shape{5, 2, 32}, Shape{0, 4}})
    for (double p : {0.1, 0.5}) {
      const std::string name = fmt::format("{} p {}", s.str(), p);
      rows.push_back(
          {.op = "dropout",
           .name = name,
           .in = {{s}},
           .run = [=](const Tensors& x) { return dropout(x[0], p, key, training); },
           .reference = [=](const Arrays& x) { return s.size() ? plain_dropout(x[0], p, key, training) : x[0]; }});
      rows.push_back(
          {.op = "drop_path",
           .name = name,
           .in = {{s}},
           .run = [=](const Tensors& x) { return drop_path(x[0], p, key, training); },
           .reference = [=](const Arrays& x) { return s.size() ? plain_drop_path(x[0], p, key, training) : x[0]; }});
      rows.push_back({.op = "add_drop_path",
                      .name = name,
                      .in = {{s}, {s}},
                      .run = [=](const Tensors& x) { return add_drop_path(x[0], x[1], p, key, training); },
                      .reference =
                          [=](const Arrays& x) {
                            return s.size() ? plain_add(plain_drop_path(x[1], p, key, training), x[0]) : x[0];
                          }});
    }
  const auto same = [](const Arrays& x) { return x[0]; };
  rows.push_back({.op = "dropout",
                  .name = "evaluation",
                  .in = {{{3, 5}}},
                  .run = [=](const Tensors& x) { return dropout(x[0], 0.5, key, evaluation); },
                  .reference = same});
  rows.push_back({.op = "dropout",
                  .name = "p = 0",
                  .in = {{{3, 5}}},
                  .run = [=](const Tensors& x) { return dropout(x[0], 0, key, training); },
                  .reference = same});
  rows.push_back({.op = "drop_path",
                  .name = "evaluation",
                  .in = {{{3, 5}}},
                  .run = [=](const Tensors& x) { return drop_path(x[0], 0.5, key, evaluation); },
                  .reference = same});
  rows.push_back({.op = "add_drop_path",
                  .name = "evaluation",
                  .in = {{{3, 5}}, {{3, 5}}},
                  .run = [=](const Tensors& x) { return add_drop_path(x[0], x[1], 0.5, key, evaluation); },
                  .reference = [](const Arrays& x) { return plain_add(x[0], x[1]); }});
  errors.push_back({"dropout", "p", [=] { dropout(zeros({2}), 1, key, evaluation); }, "p is 1 but must be"});
  errors.push_back({"drop_path", "p", [=] { drop_path(zeros({2}), -0.1, key, training); }, "p is -0.1"});
  errors.push_back({"dropout", "scalar", [=] { dropout(zeros({}), 0.1, key, training); }, "no samples"});
  errors.push_back({"add_drop_path", "shapes",
                    [=] {
                      add_drop_path(zeros({2, 3}), zeros({2, 4}), 0.1, key, training);
                    },
                    "residual is (2, 3) but the branch is (2, 4)"});
}

TWIN_CASE("dropout: a mask depends on sample, step, key and element, and on nothing else") {
  const Key key = tessera::key("a");
  const Tensor x = full({6, 1000}, 1);
  const auto equal = [](const Tensor& a, const Tensor& b) {
    return std::equal(a.values().begin(), a.values().end(), b.values().begin(), b.values().end());
  };
  const Tensor whole = dropout(x, 0.3, key, {Mode::train, 1, 2, 10});
  // samples 10..15 in one shard, or 12..15 in another
  CHECK(equal(whole.rows(2, 6), dropout(x.rows(2, 6), 0.3, key, {Mode::train, 1, 2, 12})));
  CHECK(!equal(whole, dropout(x, 0.3, tessera::key("b"), {Mode::train, 1, 2, 10})));
  CHECK(!equal(whole, dropout(x, 0.3, key, {Mode::train, 1, 3, 10})));
  CHECK(!equal(whole, dropout(x, 0.3, key, {Mode::train, 2, 2, 10})));
  CHECK(!equal(whole.rows(0, 1), whole.rows(1, 2)));
  // kept: 4200 expected of 6000, standard deviation 35.5; 5 of them
  const auto kept = std::count_if(whole.values().begin(), whole.values().end(), [](real v) { return v != 0; });
  CHECK(std::abs(static_cast<double>(kept) - 4200) < 178);
  const Tensor paths = drop_path(full({2000, 1}, 1), 0.3, key, {Mode::train, 1, 2, 0});
  const auto alive = std::count_if(paths.values().begin(), paths.values().end(), [](real v) { return v != 0; });
  CHECK(std::abs(static_cast<double>(alive) - 1400) < 103);  // standard deviation 20.5
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
