#pragma once
// The table of op tests: one or more rows per op declared under core/ops. For every row the harness (op_table.cpp)
// checks
//   - the value against a naive reference in double;
//   - every gradient in double against central differences: random projections, and the whole Jacobian if it is small;
//   - value and gradients of the float library against the double twin: |difference| <= c K eps max|twin|;
//   - that inputs used twice accumulate, that only wanted inputs get gradients, that inputs and cotangents stay as they
//   were;
//   - that what an observer sees is enough to compute it again, by its rule in interpreter.cpp (observer.cpp).
// All of it runs on memory filled with NaN, so that reading what nobody wrote shows. To test an op, add to a file in
// this folder
//
//   OP_ROWS(my_family) {
//     rows.push_back({.op = "scale", .name = "33", .in = {{{33}}}, .run = [](const Tensors& x) { return scale(x[0], 3);
//     },
//                     .reference = [](const Arrays& x) { return map(x[0], [](double v) { return 3 * v; }); }});
//     errors.push_back({.op = "add", .name = "widths", .run = [] { add(zeros({2}), zeros({3})); }, .says = "(2,)"});
//   }
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tessera/core/tape.h"
#include "tests/twin/twin.h"

namespace tessera {

/// A plain array of doubles: what references compute on. Free of `real`.
struct Array {
  Shape shape;
  std::vector<double> v;
  Array() = default;
  explicit Array(const Shape& s) : shape(s), v(static_cast<size_t>(s.size())) {}
  double& operator[](int64_t i) { return v[static_cast<size_t>(i)]; }
  double operator[](int64_t i) const { return v[static_cast<size_t>(i)]; }
  /// The element at the given coordinates, as many as dimensions: a.at(b, n, c).
  template <class... I>
  double& at(I... i) {
    return v[offset({static_cast<int>(i)...})];
  }
  template <class... I>
  double at(I... i) const {
    return v[offset({static_cast<int>(i)...})];
  }
  int64_t size() const { return static_cast<int64_t>(v.size()); }
  int dim(int i) const { return shape[i]; }

 private:
  size_t offset(std::initializer_list<int> at) const {
    size_t o = 0;
    int d = 0;
    for (int i : at) o = o * static_cast<size_t>(shape[d++]) + static_cast<size_t>(i);
    return o;
  }
};

/// One array or several: what a reference takes and gives.
struct Arrays : std::vector<Array> {
  using std::vector<Array>::vector;
  Arrays(Array a) { push_back(std::move(a)); }  // NOLINT: implicit by design
};

template <class F>
Array map(Array a, F f) {
  for (double& v : a.v) v = f(v);
  return a;
}

/// How an input of a row is drawn: uniform in [lo, hi], at least 0.01 away from every kink of the op.
struct In {
  Shape shape;
  double lo = -2, hi = 2;
  std::vector<double> kinks = {};
  bool distinct = false;       ///< evenly spaced values in random order: no ties, for maxima
  bool differentiable = true;  ///< false: the op sends it no gradient (targets, fixed tables); it is passed untracked
};

inline namespace TESSERA_NS {

/// One tensor or several: what an op takes and gives.
struct Tensors : std::vector<Tensor> {
  using std::vector<Tensor>::vector;
  Tensors(Tensor a) { push_back(std::move(a)); }                         // NOLINT: implicit by design
  Tensors(std::vector<Tensor> a) : std::vector<Tensor>(std::move(a)) {}  // NOLINT
  Tensors(std::pair<Tensor, Tensor> a) { push_back(std::move(a.first)), push_back(std::move(a.second)); }  // NOLINT
};

struct Row {
  std::string op;    ///< as declared in core/ops
  std::string name;  ///< what is special about this row
  std::vector<In> in;
  std::function<Tensors(const Tensors&)> run;
  std::function<Arrays(const Arrays&)> reference;
  double K = 1;              ///< terms summed into one result or gradient: the float bound is c K eps max|twin|
  double c = 8;              ///< units in the last place one term may cost
  double tolerance = 1e-12;  ///< of the double value against the reference, relative to its largest entry, times K
};

/// A call that must throw an Error which starts with "[op" and contains `says`.
struct ErrorRow {
  std::string op, name;
  std::function<void()> run;
  std::string says;
};

using RowMaker = void (*)(std::vector<Row>& rows, std::vector<ErrorRow>& errors);
std::vector<RowMaker>& row_makers();

/// The body of the harness's gradient check, usable on its own: the largest error of row's gradients against central
/// differences, relative to the gradient's size. In double only.
double gradient_error(const Row& row);

}  // namespace TESSERA_NS
}  // namespace tessera

#define OP_ROWS(family)                                                                       \
  static void make_rows_##family(std::vector<Row>& rows, std::vector<ErrorRow>& errors);      \
  static const bool have_rows_##family = (row_makers().push_back(&make_rows_##family), true); \
  static void make_rows_##family([[maybe_unused]] std::vector<Row>& rows,                     \
                                 [[maybe_unused]] std::vector<ErrorRow>& errors)
