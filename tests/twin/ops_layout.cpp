// Rows of the ops that move values: permute, slice, concat, pad, roll, broadcast_to, embedding, gather.
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Coordinates of element e, and back.
std::vector<int> coordinates(const Shape& s, int64_t e) {
  std::vector<int> at(static_cast<size_t>(s.rank));
  for (int i = s.rank - 1; i >= 0; --i) at[static_cast<size_t>(i)] = static_cast<int>(e % s[i]), e /= s[i];
  return at;
}
int64_t position(const Shape& s, const std::vector<int>& at) {
  int64_t e = 0;
  for (int i = 0; i < s.rank; ++i) e = e * s[i] + at[static_cast<size_t>(i)];
  return e;
}

/// y[at] = x[from(at)]; from() returns coordinates, or nothing for 0.
template <class F>
Array moved(const Array& x, const Shape& s, F from) {
  Array y(s);
  for (int64_t e = 0; e < y.size(); ++e) {
    const std::vector<int> at = from(coordinates(s, e));
    y[e] = at.size() == static_cast<size_t>(x.shape.rank) ? x[position(x.shape, at)] : 0;
  }
  return y;
}

OP_ROWS(permute) {
  struct Case {
    Shape shape;
    std::vector<int> order;
  };
  for (const Case& c : std::vector<Case>{{{5}, {0}},
                                         {{7, 31}, {1, 0}},
                                         {{33, 32}, {1, 0}},
                                         {{2, 7, 3, 4}, {0, 2, 1, 3}},
                                         {{2, 3, 7, 4}, {0, 2, 3, 1}},
                                         {{2, 3, 5, 4}, {3, 2, 1, 0}},
                                         {{3, 1, 17, 18}, {0, 1, 3, 2}},
                                         {{2, 3, 2, 3, 2}, {4, 2, 0, 3, 1}},
                                         {{2, 3, 1, 2, 2, 2}, {5, 1, 2, 0, 4, 3}},
                                         {{2, 0, 3}, {2, 1, 0}},
                                         {{2, 3, 4}, {-1, 0, -2}}})
    rows.push_back({.op = "permute",
                    .name = fmt::format("{} order {}", c.shape.str(), c.order[0]),
                    .in = {{c.shape}},
                    .run = [c](const Tensors& x) { return permute(x[0], c.order); },
                    .reference =
                        [c](const Arrays& x) {
                          const int rank = c.shape.rank;
                          Shape s = c.shape;
                          const auto dim = [&](int i) { return (c.order[static_cast<size_t>(i)] + rank) % rank; };
                          for (int i = 0; i < rank; ++i) s[i] = c.shape[dim(i)];
                          return moved(x[0], s, [&](const std::vector<int>& at) {
                            std::vector<int> from(at.size());
                            for (int i = 0; i < rank; ++i)
                              from[static_cast<size_t>(dim(i))] = at[static_cast<size_t>(i)];
                            return from;
                          });
                        }});
  errors.push_back({"permute", "twice", [] { permute(zeros({2, 3}), {0, 0}); }, "(0, 0) is no order"});
  errors.push_back({"permute", "short", [] { permute(zeros({2, 3}), {0}); }, "is no order"});
  errors.push_back({"permute", "outside", [] { permute(zeros({2, 3}), {0, 2}); }, "is no order"});
}

OP_ROWS(slice) {
  struct Case {
    Shape shape;
    int dim, start, end;
  };
  for (const Case& c : std::vector<Case>{{{7}, 0, 2, 5},
                                         {{7, 5}, 0, 0, 1},
                                         {{3, 31, 4}, 1, 30, 31},
                                         {{2, 32}, -1, -7, -1},
                                         {{2, 3, 4, 5}, 2, 1, 3},
                                         {{4, 3}, 0, 0, 4},
                                         {{4, 3}, 1, 2, 2}})
    rows.push_back({.op = "slice",
                    .name = fmt::format("{} dim {} [{}, {})", c.shape.str(), c.dim, c.start, c.end),
                    .in = {{c.shape}},
                    .run = [c](const Tensors& x) { return slice(x[0], c.dim, c.start, c.end); },
                    .reference =
                        [c](const Arrays& x) {
                          const int d = c.dim < 0 ? c.dim + c.shape.rank : c.dim, n = c.shape[d];
                          const int a = (c.start + n) % n, e = c.end < 0 ? c.end + n : c.end;
                          Shape s = c.shape;
                          s[d] = e - a;
                          return moved(x[0], s, [&](std::vector<int> at) {
                            at[static_cast<size_t>(d)] += a;
                            return at;
                          });
                        }});
  const auto part = [](const Array& x, int dim, int start, int end) {
    Shape s = x.shape;
    s[dim] = end - start;
    return moved(x, s, [&](std::vector<int> at) {
      at[static_cast<size_t>(dim)] += start;
      return at;
    });
  };
  rows.push_back({.op = "split",
                  .name = "thirds of the last dimension",
                  .in = {{{2, 5, 12}}},
                  .run = [](const Tensors& x) -> Tensors { return split(x[0], 3, -1); },
                  .reference =
                      [=](const Arrays& x) {
                        return Arrays{part(x[0], 2, 0, 4), part(x[0], 2, 4, 8), part(x[0], 2, 8, 12)};
                      }});
  rows.push_back({.op = "select_row",
                  .name = "class token",
                  .in = {{{3, 7, 5}}},
                  .run = [](const Tensors& x) { return select_row(x[0], 1, 0); },
                  .reference =
                      [=](const Arrays& x) {
                        Array y = part(x[0], 1, 0, 1);
                        y.shape = {3, 5};
                        return y;
                      }});
  rows.push_back({.op = "select_row",
                  .name = "last of the first dimension",
                  .in = {{{3, 7}}},
                  .run = [](const Tensors& x) { return select_row(x[0], 0, -1); },
                  .reference =
                      [=](const Arrays& x) {
                        Array y = part(x[0], 0, 2, 3);
                        y.shape = {7};
                        return y;
                      }});
  errors.push_back({"slice", "end",
                    [] {
                      slice(zeros({2, 3}), 1, 1, 4);
                    },
                    "[1, 4) is no part of dimension 1 of (2, 3)"});
  errors.push_back({"slice", "reversed", [] { slice(zeros({2, 3}), 1, 2, 1); }, "[2, 1)"});
  errors.push_back({"slice", "dimension", [] { slice(zeros({2, 3}), 2, 0, 1); }, "there is no dimension 2 in (2, 3)"});
  errors.push_back({"split", "uneven", [] { split(zeros({2, 5}), 2, 1); }, "no 2 equal parts"});
  errors.push_back({"select_row", "outside", [] { select_row(zeros({2, 5}), 1, 5); }, "no row 5"});
}

Array plain_concat(const Arrays& x, int dim) {
  Shape s = x[0].shape;
  s[dim] = 0;
  for (const Array& a : x) s[dim] += a.dim(dim);
  Array y(s);
  int start = 0;
  for (const Array& a : x) {
    for (int64_t e = 0; e < a.size(); ++e) {
      std::vector<int> at = coordinates(a.shape, e);
      at[static_cast<size_t>(dim)] += start;
      y[position(s, at)] = a[e];
    }
    start += a.dim(dim);
  }
  return y;
}

OP_ROWS(concat) {
  struct Case {
    std::vector<Shape> shapes;
    int dim;
  };
  for (const Case& c : std::vector<Case>{{{{3}, {4}}, 0},
                                         {{{2, 7, 3}, {2, 1, 3}, {2, 31, 3}}, 1},
                                         {{{2, 3}, {2, 0}, {2, 33}}, 1},
                                         {{{5, 2}}, 0},
                                         {{{1, 2, 2}, {3, 2, 2}}, 0}}) {
    std::vector<In> in;
    for (const Shape& s : c.shapes) in.push_back({s});
    rows.push_back({.op = "concat",
                    .name = fmt::format("{} of {}", in.size(), c.shapes[0].str()),
                    .in = in,
                    .run = [c](const Tensors& x) { return concat(x, c.dim); },
                    .reference = [c](const Arrays& x) { return plain_concat(x, c.dim); }});
  }
  rows.push_back({.op = "concat",
                  .name = "nineteen parts, negative dimension",
                  .in = std::vector<In>(19, In{{2, 3}}),
                  .run = [](const Tensors& x) { return concat(x, -1); },
                  .reference = [](const Arrays& x) { return plain_concat(x, 1); }});
  rows.push_back({.op = "concat",
                  .name = "a tensor with itself",
                  .in = {{{2, 3}}},
                  .run =
                      [](const Tensors& x) {
                        return concat({x[0], x[0]}, 0);
                      },
                  .reference =
                      [](const Arrays& x) {
                        return plain_concat(Arrays{x[0], x[0]}, 0);
                      }});
  for (int dim : {0, 1, 2, -1})
    rows.push_back({.op = "stack",
                    .name = fmt::format("dim {}", dim),
                    .in = {{{3, 5}}, {{3, 5}}, {{3, 5}}},
                    .run = [dim](const Tensors& x) { return stack(x, dim); },
                    .reference =
                        [dim](const Arrays& x) {
                          const int d = dim < 0 ? 2 : dim;
                          Arrays raised(x);
                          for (Array& a : raised)
                            a.shape = d == 0 ? Shape{1, 3, 5} : d == 1 ? Shape{3, 1, 5} : Shape{3, 5, 1};
                          return plain_concat(raised, d);
                        }});
  for (int P : {1, 3})
    rows.push_back({.op = "prepend",
                    .name = fmt::format("{} tokens", P),
                    .in = {{{1, P, 7}}, {{4, 5, 7}}},
                    .run = [](const Tensors& x) { return prepend(x[0], x[1]); },
                    .reference =
                        [P](const Arrays& x) {
                          Array front({4, P, 7});
                          for (int64_t e = 0; e < front.size(); ++e) front[e] = x[0][e % (P * 7)];
                          return plain_concat(Arrays{front, x[1]}, 1);
                        },
                    .K = 4});
  errors.push_back({"concat", "nothing", [] { concat(std::span<const Tensor>(), 0); }, "nothing to join"});
  errors.push_back({"concat", "extents",
                    [] {
                      concat({zeros({2, 3}), zeros({3, 3})}, 1);
                    },
                    "(3, 3) does not fit (2, 3)"});
  errors.push_back({"concat", "ranks", [] { concat({zeros({2, 3}), zeros({2, 3, 1})}, 1); }, "does not fit"});
  errors.push_back({"stack", "shapes", [] { stack({zeros({2, 3}), zeros({3, 2})}, 0); }, "has not the shape (2, 3)"});
  errors.push_back({"prepend", "width",
                    [] {
                      prepend(zeros({1, 1, 4}), zeros({2, 3, 5}));
                    },
                    "(1, 1, 4) do not go in front of (2, 3, 5)"});
}

OP_ROWS(pad) {
  struct Case {
    Shape shape;
    int dim, before, after;
    Padding mode;
  };
  const auto plain = [](const Case& c, const Array& x) {
    const int d = c.dim < 0 ? c.dim + c.shape.rank : c.dim, n = c.shape[d];
    Shape s = c.shape;
    s[d] = n + c.before + c.after;
    return moved(x, s, [&](std::vector<int> at) -> std::vector<int> {
      int& i = at[static_cast<size_t>(d)];
      i -= c.before;
      if (i >= 0 && i < n) return at;
      if (c.mode == Padding::zero) return {};
      i = c.mode == Padding::circular ? (i + n) % n : i < 0 ? -i : 2 * (n - 1) - i;
      return at;
    });
  };
  for (Padding mode : {Padding::zero, Padding::reflect, Padding::circular})
    for (const Case& c : std::vector<Case>{{{7}, 0, 2, 3, mode},
                                           {{2, 4, 5, 3}, 1, 1, 1, mode},
                                           {{2, 4, 5, 3}, 2, 3, 0, mode},
                                           {{3, 5}, -1, 0, 4, mode},
                                           {{31, 2}, 0, 30, 30, mode},
                                           {{2, 3}, 1, 0, 0, mode}})
      rows.push_back({.op = "pad",
                      .name = fmt::format("{} dim {} {}+{} mode {}", c.shape.str(), c.dim, c.before, c.after,
                                          static_cast<int>(mode)),
                      .in = {{c.shape}},
                      .run = [c](const Tensors& x) { return pad(x[0], c.dim, c.before, c.after, c.mode); },
                      .reference = [=](const Arrays& x) { return plain(c, x[0]); },
                      .K = 3});
  for (int shift : {0, 1, -3, 31, 8})
    for (int dim : {0, 1, -1})
      rows.push_back({.op = "roll",
                      .name = fmt::format("by {} along {}", shift, dim),
                      .in = {{{3, 7, 4}}},
                      .run = [=](const Tensors& x) { return roll(x[0], shift, dim); },
                      .reference =
                          [=](const Arrays& x) {
                            const int d = dim < 0 ? 2 : dim, n = x[0].dim(d);
                            return moved(x[0], x[0].shape, [&](std::vector<int> at) {
                              int& i = at[static_cast<size_t>(d)];
                              i = ((i - shift) % n + n) % n;
                              return at;
                            });
                          }});
  errors.push_back({"pad", "negative", [] { pad(zeros({4}), 0, -1, 0); }, "negative padding is a slice()"});
  errors.push_back({"pad", "reflect", [] { pad(zeros({4}), 0, 4, 0, Padding::reflect); }, "at most one less"});
  errors.push_back({"pad", "circular", [] { pad(zeros({4}), 0, 0, 5, Padding::circular); }, "at most as many"});
  errors.push_back({"roll", "dimension", [] { roll(zeros({4}), 1, 1); }, "no dimension 1"});
}

OP_ROWS(broadcast_to) {
  for (const auto& [from, to] : std::vector<std::pair<Shape, Shape>>{{{}, {3}},
                                                                     {{1}, {7}},
                                                                     {{31}, {4, 31}},
                                                                     {{3, 1}, {3, 32}},
                                                                     {{2, 1, 3}, {4, 2, 5, 3}},
                                                                     {{1, 5, 1}, {2, 5, 33}},
                                                                     {{2, 3}, {2, 3}},
                                                                     {{1, 3}, {0, 3}}})
    rows.push_back({.op = "broadcast_to",
                    .name = from.str() + " to " + to.str(),
                    .in = {{from}},
                    .run = [to = to](const Tensors& x) { return broadcast_to(x[0], to); },
                    .reference =
                        [from = from, to = to](const Arrays& x) {
                          return moved(x[0], to, [&](const std::vector<int>& at) {
                            std::vector<int> i(at.end() - from.rank, at.end());
                            for (int k = 0; k < from.rank; ++k)
                              if (from[k] == 1) i[static_cast<size_t>(k)] = 0;
                            return i;
                          });
                        },
                    .K = 66});
  errors.push_back({"broadcast_to", "extent",
                    [] {
                      broadcast_to(zeros({3}), {2, 4});
                    },
                    "(3,) does not repeat to (2, 4)"});
  errors.push_back({"broadcast_to", "rank", [] { broadcast_to(zeros({1, 1, 3}), {3}); }, "does not repeat"});
}

OP_ROWS(embedding) {
  static const Index some = {3, 0, 3, -1, 6, 3, 1};
  rows.push_back({.op = "embedding",
                  .name = "rows of 5",
                  .in = {{{7, 5}}},
                  .run = [](const Tensors& x) { return embedding(x[0], some); },
                  .reference =
                      [](const Arrays& x) {
                        return moved(x[0], {7, 5}, [](std::vector<int> at) -> std::vector<int> {
                          at[0] = some[static_cast<size_t>(at[0])];
                          return at[0] < 0 ? std::vector<int>() : at;
                        });
                      },
                  .K = 3});
  rows.push_back({.op = "embedding",
                  .name = "numbers",
                  .in = {{{7}}},
                  .run = [](const Tensors& x) { return embedding(x[0], some); },
                  .reference =
                      [](const Arrays& x) {
                        Array y({7});
                        for (size_t i = 0; i < 7; ++i) y.v[i] = some[i] < 0 ? 0 : x[0][some[i]];
                        return y;
                      },
                  .K = 3});
  rows.push_back({.op = "embedding",
                  .name = "rows of matrices, no index",
                  .in = {{{3, 2, 2}}},
                  .run = [](const Tensors& x) { return embedding(x[0], {}); },
                  .reference =
                      [](const Arrays&) {
                        return Array({0, 2, 2});
                      }});
  static const Index pairs = {0, 1, 2, 4, -1, 1, 3, 3};  // two rows of four
  for (int period : {1, 2})
    rows.push_back(
        {.op = "gather",
         .name = fmt::format("{} rows of indices", period),
         .in = {{{2, 3, 4, 5}}},
         .run =
             [=](const Tensors& x) { return gather(x[0], std::span(pairs).first(static_cast<size_t>(4 * period)), 4); },
         .reference =
             [=](const Arrays& x) {
               Array y({2, 3, 4, 4});
               for (int64_t r = 0; r < 24; ++r)
                 for (int64_t j = 0; j < 4; ++j) {
                   const int i = pairs[static_cast<size_t>(r % period * 4 + j)];
                   y[r * 4 + j] = i < 0 ? 0 : x[0][r * 5 + i];
                 }
               return y;
             },
         .K = 2});
  errors.push_back({"embedding", "outside",
                    [] {
                      embedding(zeros({7, 5}), Index{0, 7});
                    },
                    "index 7 is outside of [0, 7)"});
  errors.push_back({"embedding", "below", [] { embedding(zeros({7, 5}), Index{-2}); }, "index -2 is outside"});
  errors.push_back({"gather", "outside", [] { gather(zeros({2, 5}), Index{5}, 1); }, "index 5 is outside of [0, 5)"});
  errors.push_back({"gather", "rows",
                    [] {
                      gather(zeros({3, 5}), Index{1, 1, 1, 1}, 2);
                    },
                    "repeat over the rows of (3, 5)"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
