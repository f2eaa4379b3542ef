#include <algorithm>
#include <numeric>

#include "tessera/core/memory.h"
#include "tessera/core/parallel.h"
#include "tessera/core/rng.h"
#include "tessera/nn/params.h"
#include "tests/twin/op_table_rows.h"

namespace tessera {

/// What one twin computed for one row, in double, for the other twin to compare with.
struct RowResult {
  std::string row;
  double c, K;
  std::vector<std::vector<double>> values, gradients;
};
using EvaluateRows = std::vector<RowResult> (*)();
/// Set by the float twin, read by the double one. One object for both, hence outside of the inline namespace.
inline EvaluateRows& float_twin() {
  static EvaluateRows e = nullptr;
  return e;
}

namespace {

double largest(const std::vector<double>& v) {
  double m = 0;
  for (double x : v) m = std::max(m, std::abs(x));
  return m;
}
double norm(const std::vector<double>& v) { return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0)); }

/// The largest |a - b|; NaN anywhere, or another size, is infinitely far.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double m = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= INFINITY)) return INFINITY;
    m = std::max(m, d);
  }
  return m;
}

}  // namespace

inline namespace TESSERA_NS {
namespace {

struct Poisoned {
  Poisoned() { Pool::poison(true); }
  ~Poisoned() { Pool::poison(false); }
};

double project(const Tensors& y, const Tensors& u) {
  double s = 0;
  for (size_t k = 0; k < y.size(); ++k)
    for (int64_t i = 0; i < y[k].size(); ++i) s += static_cast<double>(y[k][i]) * static_cast<double>(u[k][i]);
  return s;
}

/// L = sum of <u, y>, recorded: sends u to every output (an op of the tests only).
Tensor projection(const Tensors& y, const Tensors& u) {
  Tensor L({1});
  L[0] = static_cast<real>(project(y, u));
  std::vector<const Tensor*> in;
  for (const Tensor& t : y) in.push_back(&t);
  return record("projection", L, Inputs(in), [y, u](const Tensor&, Back& back) {
    for (size_t k = 0; k < y.size(); ++k) back.add(y[k], u[k]);
  });
}

struct Gradients {
  std::vector<std::vector<double>> values, dx;  ///< dx[k] is empty if input k got none
};

/// How inputs enter: as parameters of a lane, or as activations of the tape.
enum class As { leaf, activation };

/// Runs the row `times` times on the same inputs on one tape and pulls cotangents back. Inputs whose bit of `wanted` is
/// 0 are untracked.
Gradients pull(const Row& row, const Arrays& x, As as, int times, unsigned wanted, const Tensors* given = nullptr) {
  Params params(1);
  Grads grads;
  Tape tape;
  Tensors in;
  for (size_t k = 0; k < x.size(); ++k) {
    const bool want = row.in[k].differentiable && (wanted >> k & 1);
    if (as == As::leaf) {
      Tensor t = params.make("x" + std::to_string(k), x[k].shape, constant(0), Decay::yes, !want);
      std::copy(x[k].v.begin(), x[k].v.end(), t.data());
      in.push_back(t);
    } else {
      in.push_back(want ? tape.watch(to_tensor(x[k])) : to_tensor(x[k]));
    }
  }
  params.commit();  // so that products keep panels, as they do in training
  Gradients g;
  Tensors all, u;
  for (int t = 0; t < times; ++t) {
    const Tensors y = row.run(in);
    const Tensors uy = given ? *given : cotangents(row, y);
    if (t == 0)
      for (const Tensor& o : y) g.values.push_back(to_doubles(o));
    all.insert(all.end(), y.begin(), y.end()), u.insert(u.end(), uy.begin(), uy.end());
  }
  std::vector<std::vector<double>> before;
  for (const Tensor& t : u) before.push_back(to_doubles(t));
  const Tensor L = projection(all, u);
  if (tracked(L)) tape.backward(L, grads);
  for (size_t k = 0; k < u.size(); ++k) CHECK_MESSAGE(to_doubles(u[k]) == before[k], "a pullback wrote into dy");
  for (size_t k = 0; k < in.size(); ++k) {
    CHECK_MESSAGE(to_doubles(in[k]) == x[k].v, "the op wrote into input " << k);
    const bool want = row.in[k].differentiable && (wanted >> k & 1);
    if (as == As::leaf) {
      g.dx.push_back(grads.has(in[k]) ? to_doubles(grads.of(in[k])) : std::vector<double>());
    } else {
      g.dx.push_back(want ? to_doubles(tape.grad(in[k])) : std::vector<double>());
    }
  }
  return g;
}

unsigned everything(const Row& row) {
  unsigned bits = 0;
  for (size_t k = 0; k < row.in.size(); ++k) bits |= row.in[k].differentiable ? 1u << k : 0;
  return bits;
}

constexpr double step =
    1e-5;  // of the differences: truncation about step^2 = 1e-10, rounding about 1e-16 / step = 1e-11

/// dL/dx_k along random directions of +-1, against differences; relative to the expected size of such a projection,
/// |dL/dx_k|.
double projected_error(const Row& row, const Arrays& x, const Gradients& g) {
  double worst = 0;
  for (size_t k = 0; k < x.size(); ++k) {
    if (!row.in[k].differentiable || x[k].size() == 0) continue;
    for (uint64_t trial = 0; trial < 3; ++trial) {
      const rng::Stream random(rng::hash("direction " + title(row)) + 3 * k + trial);
      Arrays plus = x, minus = x;
      double analytic = 0;
      for (int64_t i = 0; i < x[k].size(); ++i) {
        const double s = random.bits(static_cast<uint64_t>(i)) >> 63 ? step : -step;
        plus[k][i] += s, minus[k][i] -= s;
        analytic += (g.dx[k].empty() ? 0 : g.dx[k][static_cast<size_t>(i)]) * s / step;
      }
      const Tensors yp = row.run(to_tensors(plus)), ym = row.run(to_tensors(minus));
      const Tensors u = cotangents(row, yp);
      double numeric = 0;  // differences first: the projection of either side alone loses digits
      for (size_t o = 0; o < yp.size(); ++o)
        for (int64_t i = 0; i < yp[o].size(); ++i)
          numeric += static_cast<double>(u[o][i]) * (static_cast<double>(yp[o][i]) - static_cast<double>(ym[o][i]));
      numeric /= 2 * step;
      const double size = std::max({norm(g.dx[k]), std::abs(numeric), 1e-30});
      const double error = std::abs(numeric - analytic) / size;
      worst = error <= worst ? worst : error;  // NaN is kept
      if (std::isnan(error)) return INFINITY;
    }
  }
  return worst;
}

/// Every dy_j/dx_i of a small op, by unit cotangents against differences; relative to the largest.
double jacobian_error(const Row& row, const Arrays& x) {
  const Tensors y = row.run(to_tensors(x));
  int64_t outputs = 0, inputs = 0;
  for (const Tensor& t : y) outputs += t.size();
  for (const Array& a : x) inputs += a.size();
  if (outputs * inputs > 2500) return 0;
  double size = 1e-30, worst = 0;
  std::vector<std::vector<double>> analytic;  // [output][input]
  for (size_t o = 0; o < y.size(); ++o)
    for (int64_t j = 0; j < y[o].size(); ++j) {
      Tensors unit;
      for (const Tensor& t : y) unit.push_back(zeros(t.shape()));
      unit[o][j] = 1;
      const Gradients g = pull(row, x, As::leaf, 1, everything(row), &unit);
      std::vector<double> line;
      for (size_t k = 0; k < x.size(); ++k) {
        if (g.dx[k].empty()) {
          line.resize(line.size() + static_cast<size_t>(x[k].size()));
        } else {
          line.insert(line.end(), g.dx[k].begin(), g.dx[k].end());
        }
      }
      size = std::max(size, largest(line));
      analytic.push_back(std::move(line));
    }
  size_t column = 0;
  for (size_t k = 0; k < x.size(); ++k)
    for (int64_t i = 0; i < x[k].size(); ++i, ++column) {
      if (!row.in[k].differentiable) continue;
      Arrays plus = x, minus = x;
      plus[k][i] += step, minus[k][i] -= step;
      const Tensors yp = row.run(to_tensors(plus)), ym = row.run(to_tensors(minus));
      size_t j = 0;
      for (size_t o = 0; o < yp.size(); ++o)
        for (int64_t e = 0; e < yp[o].size(); ++e, ++j) {
          const double numeric = (static_cast<double>(yp[o][e]) - static_cast<double>(ym[o][e])) / (2 * step);
          const double error = std::abs(numeric - analytic[j][column]);
          if (std::isnan(error)) return INFINITY;
          worst = std::max(worst, error);
        }
    }
  return worst / size;
}

std::vector<RowResult> evaluate() {
  std::vector<RowResult> all;
  for (const Row& row : op_rows()) {
    Gradients g = pull(row, draw(row), As::leaf, 1, everything(row));
    all.push_back({title(row), row.c, row.K, std::move(g.values), std::move(g.dx)});
  }
  return all;
}
const bool registered = [] {
  if constexpr (sizeof(real) == 4) float_twin() = &evaluate;
  return true;
}();

constexpr double epsilon = sizeof(real) == 4 ? 0x1p-23 : 0x1p-52;

}  // namespace

double gradient_error(const Row& row) {
  const Arrays x = draw(row);
  return std::max(projected_error(row, x, pull(row, x, As::leaf, 1, everything(row))), jacobian_error(row, x));
}

TWIN_CASE("op table: values equal the plain reference") {
  Poisoned poisoned;
  REQUIRE(!op_rows().empty());
  for (const Row& row : op_rows()) {
    INFO(title(row));
    const Arrays x = draw(row), want = row.reference(x);
    const Tensors y = row.run(to_tensors(x));
    REQUIRE(y.size() == want.size());
    for (size_t k = 0; k < y.size(); ++k) {
      CHECK_MESSAGE(y[k].shape() == want[k].shape,
                    "shape " << y[k].shape().str() << " instead of " << want[k].shape.str());
      const double bound = sizeof(real) == 4 ? row.c * epsilon : row.tolerance;
      CHECK(distance(to_doubles(y[k]), want[k].v) <= bound * row.K * std::max(largest(want[k].v), 1e-30));
    }
  }
}

TWIN_CASE("op table: gradients equal central differences") {
  if constexpr (sizeof(real) == 8) {
    Poisoned poisoned;
    for (const Row& row : op_rows()) {
      INFO(title(row));
      CHECK(gradient_error(row) <= 1e-6);
    }
  }
}

TWIN_CASE("op table: float agrees with its double twin, value and gradients") {
  if constexpr (sizeof(real) == 8) {
    Poisoned poisoned;
    REQUIRE(static_cast<bool>(float_twin()));
    const std::vector<RowResult> single = float_twin()(), twin = evaluate();
    REQUIRE(single.size() == twin.size());
    for (size_t r = 0; r < twin.size(); ++r) {
      INFO(twin[r].row);
      REQUIRE(single[r].row == twin[r].row);
      const double bound = twin[r].c * twin[r].K * 0x1p-23;
      for (size_t k = 0; k < twin[r].values.size(); ++k)
        CHECK(distance(single[r].values[k], twin[r].values[k]) <= bound * std::max(largest(twin[r].values[k]), 1e-30));
      for (size_t k = 0; k < twin[r].gradients.size(); ++k) {
        INFO("gradient of input " << k);
        CHECK(distance(single[r].gradients[k], twin[r].gradients[k]) <=
              bound * std::max(largest(twin[r].gradients[k]), 1e-30));
      }
    }
  }
}

TWIN_CASE("op table: an input used twice accumulates, as a leaf and as an activation") {
  Poisoned poisoned;
  for (const Row& row : op_rows()) {
    INFO(title(row));
    const Arrays x = draw(row);
    const Gradients once = pull(row, x, As::leaf, 1, everything(row));
    for (As as : {As::leaf, As::activation}) {
      const Gradients twice = pull(row, x, as, 2, everything(row));
      for (size_t k = 0; k < x.size(); ++k) {
        INFO("input " << k);
        if (x[k].size() > 0) CHECK(once.dx[k].empty() != row.in[k].differentiable);
        std::vector<double> doubled = once.dx[k];
        for (double& v : doubled) v *= 2;
        CHECK(distance(twice.dx[k], doubled) <= 4 * row.K * epsilon * std::max(largest(doubled), 1e-30));
      }
    }
  }
}

TWIN_CASE("op table: gradients go to wanted inputs only, and are the same then") {
  Poisoned poisoned;
  for (const Row& row : op_rows()) {
    INFO(title(row));
    const Arrays x = draw(row);
    const Gradients all = pull(row, x, As::leaf, 1, everything(row));
    for (size_t k = 0; k < x.size(); ++k) {
      if (!row.in[k].differentiable) continue;
      const Gradients one = pull(row, x, As::leaf, 1, 1u << k);
      for (size_t other = 0; other < x.size(); ++other) {
        INFO("wanted " << k << ", looking at " << other);
        if (other != k) CHECK(one.dx[other].empty());
      }
      CHECK(distance(one.dx[k], all.dx[k]) <= 4 * row.K * epsilon * std::max(largest(all.dx[k]), 1e-30));
    }
    const Gradients none = pull(row, x, As::leaf, 1, 0);
    CHECK(none.values == all.values);  // no tape work changes a value
  }
}

TWIN_CASE("op table: values and gradients have the same bits however the work is cut") {
  for (const Row& row : op_rows()) {
    INFO(title(row));
    const Arrays x = draw(row);
    const Gradients whole = pull(row, x, As::activation, 2, everything(row));
    const parallel::CutAll cut;
    const Gradients parts = pull(row, x, As::activation, 2, everything(row));
    CHECK(parts.values == whole.values);
    CHECK(parts.dx == whole.dx);
  }
}

TWIN_CASE("op table: a planted slope error of 0.1 % is caught") {
  if constexpr (sizeof(real) == 8) {
    const auto square_with = [](double slope) {
      Row row{.op = "square", .name = "planted", .in = {{{31}}}, .run = {}, .reference = {}};
      row.run = [slope](const Tensors& in) -> Tensors {
        const Tensor& x = in[0];
        Tensor y(x.shape());
        for (int64_t i = 0; i < x.size(); ++i) y[i] = x[i] * x[i];
        return record("square", y, {&x}, [x, slope](const Tensor& dy, Back& back) {
          Tensor dx(x.shape());
          for (int64_t i = 0; i < x.size(); ++i) dx[i] = static_cast<real>(slope) * x[i] * dy[i];
          back.add(x, dx);
        });
      };
      return row;
    };
    CHECK(gradient_error(square_with(2.0)) <= 1e-8);    // the right slope: far below the bound
    CHECK(gradient_error(square_with(2.002)) >= 1e-4);  // 0.1 % too steep: far above it
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
