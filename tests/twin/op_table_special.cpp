// NaN and infinity through every row of the op table: what the plain definition makes of them in every input and cotangent, the op must
// make of them, too. A NaN is never a number again on its way.
//   values      the row's reference, computed in double with the same NaN or infinity in its inputs, says what each output is
//   gradients   an entry that depends on an element is NaN when that element is; "depends" is found by moving the element
//   cotangents  an entry that a cotangent reaches by a slope other than 0 is not finite when that cotangent is not
// Where an op legitimately differs, the lists below say how and why. PyTorch is the model where the definition leaves a choice.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tests/twin/op_table_rows.h"

namespace tessera {

/// One character for each number, and a title: how the two twins compare.
struct Kinds {
  std::string of, kinds;
};
using EvaluateKinds = std::vector<Kinds> (*)();
inline EvaluateKinds& float_kinds() {
  static EvaluateKinds e = nullptr;
  return e;
}

inline namespace TESSERA_NS {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::array<double, 3> specials{nan, inf, -inf};

/// Gradients that go to one of several elements, whole or not at all. A NaN is taken, as the largest one or as one inside the range, and
/// gets its cotangent; that is PyTorch's answer, too (but for clamp, where PyTorch sends nothing).
const std::set<std::string> selecting = {"relu", "relu6", "clamp", "max", "max_pool2d"};

/// Ops whose gradients may become NaN, or those of another formula, although moving the element did not change their bits: they choose
/// between formulas by a number that the NaN is part of, or they had saturated.
const std::map<std::string, std::string> choosing = {
    {"point_mlp", "a unit is open or closed"},
    {"linear_attention",
     "a query's only key has the weight 1 to the bit, and what is shorter than eps is divided by eps"},
    {"normalize", "divides by the norm, or by eps where that is larger"},
    {"deform_conv2d", "an offset chooses cells; one that is a NaN may mean any"},
    {"linear_gelu", "far from 0 the slope of GELU is 0 or 1 to the bit"}};

/// Ops in which a NaN or an infinity may reach more outputs than in the definition, as 0 times it.
const std::map<std::string, std::string> spreading = {
    {"conv1d",
     "zero padding is multiplied by the weights like the map, tiles add and subtract cells, and in bf16 cells go in "
     "pairs"},
    {"conv2d", "the same"},
    {"resize_grid", "an interpolation is a dense matrix along each axis, mostly of zeros"},
};

char kind(double v) { return std::isnan(v) ? 'n' : std::isinf(v) ? (v > 0 ? '+' : '-') : '0'; }
std::string kinds(const std::vector<std::vector<double>>& all) {
  std::string s;
  for (const auto& v : all) {
    for (const double x : v) s += kind(x);
    s += '|';
  }
  return s;
}

struct Pulled {
  std::vector<std::vector<double>> values, dx;  ///< dx[k] is empty if input k gets none
};
Pulled pull(const Row& row, const Arrays& x, const Tensors* given = nullptr) {
  Grads none;
  Tape tape;
  Tensors in;
  for (size_t k = 0; k < x.size(); ++k)
    in.push_back(row.in[k].differentiable ? tape.watch(tensor(x[k].shape, x[k].v)) : tensor(x[k].shape, x[k].v));
  const Tensors y = row.run(in);
  Pulled p;
  for (const Tensor& t : y) p.values.push_back(to_doubles(t));
  const Tensors u = given ? *given : cotangents(row, y);
  // one number that sends every output its cotangent
  Tensor all({1});
  all[0] = 0;
  std::vector<const Tensor*> outputs;
  for (const Tensor& t : y) outputs.push_back(&t);
  all = record("projection", all, Inputs(outputs), [y, u](const Tensor&, Back& back) {
    for (size_t k = 0; k < y.size(); ++k) back.add(y[k], u[k].copy());
  });
  if (tracked(all)) tape.backward(all, none);
  for (size_t k = 0; k < x.size(); ++k)
    p.dx.push_back(row.in[k].differentiable ? to_doubles(tape.grad(in[k])) : std::vector<double>());
  return p;
}

double largest(const std::vector<double>& v) {
  double m = 0;
  for (const double x : v) m = std::max(m, std::abs(x));
  return m;
}

/// The first, the middle and the last element: class tokens, whole vectors, and what is left over behind them.
std::vector<int64_t> places(int64_t n) {
  std::vector<int64_t> at;
  for (const int64_t i : {int64_t{0}, n / 2, n - 1})
    if (i >= 0 && i < n && std::find(at.begin(), at.end(), i) == at.end()) at.push_back(i);
  return at;
}

/// f(what, input, element, special) over everything that is tried.
template <class F>
void each_special(const Row& row, const Arrays& x, F f) {
  for (size_t k = 0; k < row.in.size(); ++k)
    for (const int64_t i : places(x[k].size()))
      for (const double special : specials) f(k, i, special);
}

bool tried(const Row& row) {  // nothing new is said by the same code on many rows
  int64_t size = 0;
  for (const In& in : row.in) size += in.shape.size();
  return size > 0 && size <= 3000;
}

std::string entry(const char* what, size_t tensor, size_t at, double is, double should) {
  return fmt::format("{} {} entry {} is {} and should be {}", what, tensor, at, is, should);
}

/// What is wrong with the values; "" if nothing.
std::string wrong_values(const Row& row, const std::vector<std::vector<double>>& is, const Arrays& want) {
  const bool spreads = spreading.contains(row.op);
  for (size_t t = 0; t < want.size(); ++t) {
    double size = 1e-30;
    for (const double v : want[t].v) size = std::isfinite(v) ? std::max(size, std::abs(v)) : size;
    for (size_t i = 0; i < want[t].v.size(); ++i) {
      const double w = want[t].v[i], v = is[t][i];
      const bool same =
          std::isfinite(w) ? std::abs(v - w) <= (sizeof(real) == 4 ? 1e-4 : 1e-9) * row.K * size : kind(v) == kind(w);
      if (!same && !(spreads && !std::isfinite(v) && !std::isnan(w))) return entry("output", t, i, v, w);
    }
  }
  return "";
}

/// How gradients depend on element i of input k: not at all, if their bits stay when it moves to other values of its range.
enum class Depends { no, hardly, yes };
std::vector<std::vector<Depends>> dependence(const Row& row, const Arrays& x, const Pulled& before, size_t k,
                                             int64_t i) {
  std::vector<std::vector<Depends>> how;
  for (const auto& d : before.dx) how.emplace_back(d.size(), Depends::no);
  for (const double share : {0.13, 0.41, 0.87}) {
    Arrays moved = x;
    moved[k][i] = static_cast<double>(static_cast<float>(row.in[k].lo + (row.in[k].hi - row.in[k].lo) * share));
    const Pulled after = pull(row, moved);
    for (size_t t = 0; t < how.size(); ++t)
      for (size_t e = 0; e < how[t].size(); ++e) {
        const double change = std::abs(after.dx[t][e] - before.dx[t][e]);
        if (change > 1e-4 * std::max(largest(before.dx[t]), 1e-30)) how[t][e] = Depends::yes;
        if (change > 0 && how[t][e] == Depends::no) how[t][e] = Depends::hardly;
      }
  }
  return how;
}

/// What is wrong with the gradients when element i of input k is NaN.
std::string wrong_gradients(const Row& row, const Arrays& x, const Pulled& before, const Pulled& is, size_t k,
                            int64_t i) {
  if (selecting.contains(row.op)) {  // it gets the cotangents of all outputs it is now
    double sent = 0, size = 0;
    const Tensors u = cotangents(row, row.run(to_tensors(x)));
    for (size_t t = 0; t < is.values.size(); ++t)
      for (size_t e = 0; e < is.values[t].size(); ++e)
        if (const double one = to_doubles(u[t])[e]; std::isnan(is.values[t][e])) sent += one, size += std::abs(one);
    const double got = is.dx[k][static_cast<size_t>(i)];
    const bool arrived = size > 0 && std::abs(got - sent) <= 1e-5 * size;
    return arrived ? "" : entry("gradient", k, static_cast<size_t>(i), got, sent);
  }
  const auto how = dependence(row, x, before, k, i);
  for (size_t t = 0; t < how.size(); ++t)
    for (size_t e = 0; e < how[t].size(); ++e) {
      const double v = is.dx[t][e], was = before.dx[t][e];
      const bool own = t == k && e == static_cast<size_t>(i);
      if (how[t][e] == Depends::yes && !std::isnan(v)) return entry("gradient", t, e, v, nan);
      if (how[t][e] == Depends::no && !own && !spreading.contains(row.op) && !choosing.contains(row.op) &&
          !(std::abs(v - was) <= 1e-3 * std::max(largest(before.dx[t]), 1e-30)))
        return entry("gradient", t, e, v, was);
    }
  return "";
}

std::vector<Kinds> evaluate() {
  std::vector<Kinds> all;
  for (const Row& row : op_rows()) {
    if (!tried(row)) continue;
    const Arrays x = draw(row);
    each_special(row, x, [&](size_t k, int64_t i, double special) {
      Arrays changed = x;
      changed[k][i] = special;
      const Pulled p = pull(row, changed);
      all.push_back({fmt::format("{}: {} in element {} of input {}", title(row), special, i, k),
                     kinds(p.values) + " " + kinds(p.dx)});
    });
  }
  return all;
}
const bool registered = [] {
  if constexpr (sizeof(real) == 4) float_kinds() = &evaluate;
  return true;
}();

}  // namespace

TWIN_CASE("op table: NaN and infinity in every input give what the definition gives") {
  int count = 0;
  std::set<std::string> ops;
  for (const Row& row : op_rows()) {
    if (!tried(row)) continue;
    ops.insert(row.op);
    const Arrays x = draw(row);
    each_special(row, x, [&](size_t k, int64_t i, double special) {
      Arrays changed = x;
      changed[k][i] = special;
      const std::string wrong = wrong_values(row, pull(row, changed).values, row.reference(changed));
      CHECK_MESSAGE(wrong.empty(),
                    title(row) << ": with " << special << " in element " << i << " of input " << k << ", " << wrong);
      ++count;
    });
  }
  for (const Row& row : op_rows()) CHECK_MESSAGE(ops.contains(row.op), row.op << " has only rows that are too large");
  CHECK(count > 1000);
}

TWIN_CASE("op table: gradients that depend on a NaN are NaN, the others are what they were") {
  for (const Row& row : op_rows()) {
    if (!tried(row)) continue;
    const Arrays x = draw(row);
    const Pulled before = pull(row, x);
    for (size_t k = 0; k < x.size(); ++k)
      for (const int64_t i : places(x[k].size())) {
        if (selecting.contains(row.op) && !row.in[k].differentiable) continue;
        Arrays changed = x;
        changed[k][i] = nan;
        const std::string wrong = wrong_gradients(row, x, before, pull(row, changed), k, i);
        CHECK_MESSAGE(wrong.empty(), title(row) << ": with NaN in element " << i << " of input " << k << ", " << wrong);
      }
  }
}

TWIN_CASE("op table: NaN and infinite cotangents arrive wherever there is a slope") {
  for (const Row& row : op_rows()) {
    if (!tried(row)) continue;
    const Arrays x = draw(row);
    const Tensors y = row.run(to_tensors(x));
    for (size_t o = 0; o < y.size(); ++o)
      for (const int64_t i : places(y[o].size())) {
        Tensors unit;
        for (const Tensor& t : y) unit.push_back(zeros(t.shape()));
        unit[o][i] = 1;
        const Pulled slope = pull(row, x, &unit);
        for (const double special : specials) {
          Tensors u = cotangents(row, y);
          u[o][i] = static_cast<real>(special);
          const Pulled is = pull(row, x, &u);
          std::string wrong;
          for (size_t k = 0; k < is.dx.size(); ++k)
            for (size_t e = 0; e < is.dx[k].size(); ++e) {
              const double v = is.dx[k][e];
              if (slope.dx[k][e] != 0 && (std::isnan(special) ? !std::isnan(v) : std::isfinite(v)))
                wrong = entry("gradient", k, e, v, special);
            }
          CHECK_MESSAGE(wrong.empty(),
                        title(row) << ": with " << special << " for output " << o << " entry " << i << ", " << wrong);
        }
      }
  }
}

TWIN_CASE("op table: float makes of NaN and infinity what its double twin makes") {
  if constexpr (sizeof(real) == 8) {
    REQUIRE(static_cast<bool>(float_kinds()));
    const std::vector<Kinds> single = float_kinds()(), twin = evaluate();
    REQUIRE(single.size() == twin.size());
    for (size_t i = 0; i < twin.size(); ++i) {
      REQUIRE(single[i].of == twin[i].of);
      CHECK_MESSAGE(single[i].kinds == twin[i].kinds,
                    twin[i].of << ": " << single[i].kinds << "\n instead of " << twin[i].kinds);
    }
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
