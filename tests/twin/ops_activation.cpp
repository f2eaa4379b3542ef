// Rows of the elementwise functions.
#include "tessera/core/ops/activation.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Function {
  const char* name;
  Tensor (*op)(const Tensor&);
  double (*plain)(double);
  double lo, hi;
  std::vector<double> kinks;
  double c = 8;  ///< units in the last place of the largest value
};

double plain_sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

const Function functions[] = {
    {"relu", relu, [](double v) { return std::max(v, 0.0); }, -2, 2, {0}},
    {"relu6", relu6, [](double v) { return std::min(std::max(v, 0.0), 6.0); }, -3, 9, {0, 6}},
    {"hardswish", hardswish, [](double v) { return v * std::min(std::max(v + 3, 0.0), 6.0) / 6; }, -5, 5, {-3, 3}},
    // the slopes of sigmoid and tanh come from y: 1 - y and 1 - y^2 cancel where they saturate, as in every framework
    {"sigmoid", sigmoid, plain_sigmoid, -4, 4, {}, 64},
    {"tanh", tanh, [](double v) { return std::tanh(v); }, -2, 2, {}, 64},
    {"silu", silu, [](double v) { return v * plain_sigmoid(v); }, -9, 9, {}},
    {"gelu", gelu, [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2.0))); }, -6, 6, {}},
    {"gelu_tanh",
     gelu_tanh,
     [](double v) { return v / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v))); },
     -6,
     6,
     {}},
    {"quick_gelu", quick_gelu, [](double v) { return v * plain_sigmoid(1.702 * v); }, -6, 6, {}},
    {"softplus", softplus, [](double v) { return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v))); }, -20, 20, {}},
    {"exp", exp, [](double v) { return std::exp(v); }, -5, 5, {}},
    {"log", log, [](double v) { return std::log(v); }, 0.05, 5, {}},
    {"sqrt", sqrt, [](double v) { return std::sqrt(v); }, 0.05, 5, {}},
    {"square", square, [](double v) { return v * v; }, -3, 3, {}},
    {"sin", sin, [](double v) { return std::sin(v); }, -9, 9, {}},
    {"cos", cos, [](double v) { return std::cos(v); }, -9, 9, {}},
};

OP_ROWS(activation) {
  for (const Function& f : functions)
    for (const Shape& s :
         {Shape{}, Shape{1}, Shape{7}, Shape{31}, Shape{4, 8}, Shape{3, 11}, Shape{2, 0}, Shape{1, 2, 5, 13}})
      rows.push_back({.op = f.name,
                      .name = s.str(),
                      // a single value has no larger neighbour to be measured against: not where the slope cancels
                      .in = {s.size() == 1 ? In{s, 0.5, 1.5} : In{s, f.lo, f.hi, f.kinks}},
                      .run = [&f](const Tensors& x) { return f.op(x[0]); },
                      .reference = [&f](const Arrays& x) { return map(x[0], f.plain); },
                      .c = f.c});
  for (const auto& range : {std::pair{-0.5, 1.0}, {0.25, 0.25}, {-9.0, 9.0}}) {
    const double lo = range.first, hi = range.second;
    rows.push_back(
        {.op = "clamp",
         .name = fmt::format("to [{}, {}]", lo, hi),
         .in = {{{3, 11}, -2, 2, {lo, hi}}},
         .run = [=](const Tensors& x) { return clamp(x[0], lo, hi); },
         .reference =
             [=](const Arrays& x) { return map(x[0], [=](double v) { return std::min(std::max(v, lo), hi); }); }});
  }
  errors.push_back({"clamp", "empty", [] { clamp(zeros({2}), 1, 0); }, "[1, 0] is empty"});
}

TWIN_CASE("activations: the ends of the line, and NaN stays NaN") {
  const real inf = std::numeric_limits<real>::infinity(), nan = std::numeric_limits<real>::quiet_NaN();
  const auto at = [](Tensor (*f)(const Tensor&), real v) { return f(full({1}, v))[0]; };
  for (const Function& f : functions) {
    INFO(f.name);
    CHECK(std::isnan(at(f.op, nan)));
  }
  CHECK(std::isnan(clamp(full({3}, nan), -1, 1)[2]));
  CHECK(at(log, 0) == -inf);
  CHECK(std::isnan(at(log, -1)));
  CHECK(at(log, inf) == inf);
  CHECK(at(exp, -1000) == 0);
  CHECK(at(exp, 1000) == inf);
  CHECK(at(sigmoid, -1000) == 0);
  CHECK(at(sigmoid, 1000) == 1);
  CHECK(at(softplus, -1000) == 0);
  CHECK(at(softplus, 1000) == 1000);
  CHECK(at(tanh, -1000) == -1);
  CHECK(at(gelu, 1000) == 1000);
  CHECK(at(gelu, -1000) == 0);
  CHECK(at(sqrt, 0) == 0);
}

TWIN_CASE("activations: sine and cosine hold far from the origin") {
  for (double v : {100.0, 1000.5, 8191.0, 12345.678, 3e7}) {
    const auto x = static_cast<real>(v);
    CHECK(std::abs(static_cast<double>(sin(full({5}, x))[4]) - std::sin(static_cast<double>(x))) <= 1.2e-7);
    CHECK(std::abs(static_cast<double>(cos(full({5}, x))[4]) - std::cos(static_cast<double>(x))) <= 1.2e-7);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
