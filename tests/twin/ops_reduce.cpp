// Rows of the reductions.
#include "tessera/core/ops/reduce.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// f(outputs at o, values) over the groups of x that differ in the dimensions of `over` only.
template <class F>
Array reduced(const Array& x, unsigned over, bool keep, F f) {
  Shape s, kept = x.shape;
  for (int i = 0; i < x.shape.rank; ++i) {
    if (over >> i & 1) kept[i] = 1;
    if (keep || !(over >> i & 1)) s.d[static_cast<size_t>(s.rank++)] = kept[i];
  }
  Array y(s);
  std::vector<std::vector<double>> groups(y.v.size());
  for (int64_t e = 0; e < x.size(); ++e) {
    int64_t rest = e, to = 0, unit = 1;
    for (int i = x.shape.rank - 1; i >= 0; --i) {
      const int64_t at = rest % x.dim(i);
      rest /= x.dim(i);
      if (kept[i] != 1) to += at * unit;
      unit *= kept[i];
    }
    groups[static_cast<size_t>(to)].push_back(x[e]);
  }
  for (size_t o = 0; o < groups.size(); ++o) y.v[o] = f(groups[o]);
  return y;
}

double total(const std::vector<double>& v) {
  double s = 0;
  for (double t : v) s += t;
  return s;
}

OP_ROWS(reduce) {
  struct Case {
    Shape shape;
    std::initializer_list<int> dims;
    unsigned over;
  };
  static const Case cases[] = {{{}, {}, 0},
                               {{1}, {}, 1},
                               {{7, 31}, {}, 3},
                               {{7, 31}, {0}, 1},
                               {{7, 31}, {1}, 2},
                               {{33, 32}, {-1}, 2},
                               {{2, 7, 5}, {1}, 2},
                               {{2, 7, 5}, {0, 2}, 5},
                               {{4, 3, 2, 5}, {1, 2}, 6},
                               {{4, 3, 2, 5}, {0, 3}, 9},
                               {{3, 1, 4}, {1}, 2},
                               {{65}, {0}, 1}};
  for (const Case& c : cases)
    for (bool keep : {false, true}) {
      const std::string name = fmt::format("{} over {}{}", c.shape.str(), c.over, keep ? " kept" : "");
      // positive values: a sum that cancels has no relative error to speak of
      rows.push_back({.op = "sum",
                      .name = name,
                      .in = {{c.shape, 0.5, 2}},
                      .run = [&c, keep](const Tensors& x) { return sum(x[0], c.dims, keep); },
                      .reference = [&c, keep](const Arrays& x) { return reduced(x[0], c.over, keep, total); }});
      rows.push_back({.op = "mean",
                      .name = name,
                      .in = {{c.shape, 0.5, 2}},
                      .run = [&c, keep](const Tensors& x) { return mean(x[0], c.dims, keep); },
                      .reference =
                          [&c, keep](const Arrays& x) {
                            return reduced(x[0], c.over, keep,
                                           [](const auto& v) { return total(v) / static_cast<double>(v.size()); });
                          }});
    }
  rows.push_back({.op = "sum",
                  .name = "of nothing",
                  .in = {{{3, 0}}},
                  .run = [](const Tensors& x) { return sum(x[0], {1}); },
                  .reference = [](const Arrays&) { return Array({3}); }});
  for (const auto& [s, dim] :
       std::vector<std::pair<Shape, int>>{{{1}, 0}, {{7}, 0}, {{31, 7}, 0}, {{31, 7}, -1}, {{2, 5, 33}, 1}})
    for (bool keep : {false, true})
      rows.push_back({.op = "max",
                      .name = fmt::format("{} along {}{}", s.str(), dim, keep ? " kept" : ""),
                      .in = {{s, -2, 2, {}, true}},
                      .run = [dim = dim, keep](const Tensors& x) { return max(x[0], dim, keep); },
                      .reference =
                          [dim = dim, keep](const Arrays& x) {
                            return reduced(x[0], 1u << (dim + x[0].shape.rank) % x[0].shape.rank, keep,
                                           [](const auto& v) {
                                             for (const double e : v)
                                               if (std::isnan(e)) return e;
                                             return *std::max_element(v.begin(), v.end());
                                           });
                          }});
  errors.push_back({"sum", "dimension", [] { sum(zeros({2}), {1}); }, "no dimension 1 in (2,)"});
  errors.push_back({"mean", "nothing", [] { mean(zeros({2, 0})); }, "nothing to average"});
  errors.push_back({"max", "empty", [] { max(zeros({2, 0}), 1); }, "dimension 1 of (2, 0) is empty"});
  errors.push_back({"argmax", "empty", [] { argmax(zeros({0}), 0); }, "is empty"});
}

TWIN_CASE("argmax and max: the first of equal ones, NaN wins") {
  const double nan = std::nan("");
  const std::vector<double> v = {1, 5, 5, 2, nan, 9, -1, -1, -2};
  const Tensor x = tensor({3, 3}, v);
  CHECK(argmax(x, 1) == Index{1, 1, 0});
  CHECK(argmax(x, 0) == Index{1, 1, 1});
  CHECK(std::isnan(max(x, 1)[1]));
  Grads none;
  Tape tape;
  const Tensor w = tape.watch(tensor({2, 2}, std::vector<double>{3, 3, 1, 2}));
  const Tensor y = max(w, 1);
  tape.backward(y, none);
  const Tensor g = tape.grad(w);
  const std::vector<double> got(g.data(), g.data() + 4), want = {1, 0, 0, 1};
  CHECK(got == want);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
