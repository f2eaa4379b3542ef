// Rows of the arithmetic with broadcasting.
#include "tessera/core/ops/arithmetic.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// f over numpy's broadcasting, coordinate by coordinate.
template <class F>
Array broadcast(const Array& a, const Array& b, F f) {
  const int rank = std::max(a.shape.rank, b.shape.rank);
  const auto extent = [&](const Array& t, int i) {
    return i < rank - t.shape.rank ? 1 : t.shape[i - (rank - t.shape.rank)];
  };
  Shape s;
  s.rank = rank;
  for (int i = 0; i < rank; ++i) s[i] = extent(a, i) == 1 ? extent(b, i) : extent(a, i);
  Array y(s);
  for (int64_t e = 0; e < y.size(); ++e) {
    int64_t rest = e, ia = 0, ib = 0, pa = 1, pb = 1;
    for (int i = rank - 1; i >= 0; --i) {
      const int64_t at = rest % s[i];
      rest /= s[i];
      if (extent(a, i) > 1) ia += at * pa;
      if (extent(b, i) > 1) ib += at * pb;
      pa *= extent(a, i), pb *= extent(b, i);
    }
    y[e] = f(a[ia], b[ib]);
  }
  return y;
}

OP_ROWS(arithmetic) {
  struct Binary {
    const char* name;
    Tensor (*op)(const Tensor&, const Tensor&);
    double (*plain)(double, double);
  };
  static const Binary ops[] = {{"add", add, [](double a, double b) { return a + b; }},
                               {"sub", sub, [](double a, double b) { return a - b; }},
                               {"mul", mul, [](double a, double b) { return a * b; }},
                               {"div", div, [](double a, double b) { return a / b; }}};
  const std::pair<Shape, Shape> shapes[] = {{{}, {}},
                                            {{1}, {7}},
                                            {{31}, {31}},
                                            {{33}, {1}},
                                            {{}, {5}},
                                            {{7, 32}, {32}},
                                            {{33}, {7, 33}},
                                            {{4, 7, 5}, {5}},
                                            {{4, 7, 5}, {7, 1}},
                                            {{4, 1, 5}, {4, 7, 5}},
                                            {{2, 1, 3}, {5, 1}},
                                            {{2, 3, 4, 5}, {3, 1, 5}},
                                            {{2, 1, 4, 1}, {1, 3, 1, 5}},
                                            {{0, 3}, {3}},
                                            {{2, 3}, {2, 3}},
                                            {{3, 31, 2}, {3, 1, 1}}};
  for (const Binary& f : ops)
    for (const auto& [a, b] : shapes) {
      const double lo = f.op == div ? 0.5 : -2;
      rows.push_back({.op = f.name,
                      .name = a.str() + " with " + b.str(),
                      .in = {{a}, {b, lo, 2}},
                      .run = [&f](const Tensors& x) { return f.op(x[0], x[1]); },
                      .reference = [&f](const Arrays& x) { return broadcast(x[0], x[1], f.plain); },
                      .K = 40});
    }
  for (const Binary& f : ops) {
    rows.push_back({.op = f.name,
                    .name = "a tensor with itself",
                    .in = {{{2, 7}, 0.5, 2}},
                    .run = [&f](const Tensors& x) { return f.op(x[0], x[0]); },
                    .reference = [&f](const Arrays& x) { return broadcast(x[0], x[0], f.plain); }});
    errors.push_back({f.name, "inner", [&f] { f.op(zeros({2, 3}), zeros({2})); }, "(2, 3) and (2,) do not broadcast"});
    errors.push_back({f.name, "outer", [&f] { f.op(zeros({2, 1, 3}), zeros({3, 5, 3})); }, "do not broadcast"});
  }
  for (const Shape& s : {Shape{}, Shape{1}, Shape{7}, Shape{31}, Shape{32}, Shape{3, 11}, Shape{0, 2}}) {
    rows.push_back({.op = "scale",
                    .name = s.str(),
                    .in = {{s}},
                    .run = [](const Tensors& x) { return scale(x[0], -1.5); },
                    .reference = [](const Arrays& x) { return map(x[0], [](double v) { return -1.5 * v; }); }});
    rows.push_back({.op = "add_scalar",
                    .name = s.str(),
                    .in = {{s}},
                    .run = [](const Tensors& x) { return add_scalar(x[0], 0.75); },
                    .reference = [](const Arrays& x) { return map(x[0], [](double v) { return v + 0.75; }); }});
    rows.push_back({.op = "neg",
                    .name = s.str(),
                    .in = {{s}},
                    .run = [](const Tensors& x) { return neg(x[0]); },
                    .reference = [](const Arrays& x) { return map(x[0], [](double v) { return -v; }); }});
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
