// How exact attention is when it saturates: fused in fp32 against the same in double, beside what a softmax written out in fp32 ops loses.
// The logits of a random head, N(0, 1), are multiplied by 1 to 1024, and by 1e9. Never more than four times the error of the explicit one.
//   TESSERA_ISA=avx2 tessera_tests -s -tc='attention: saturated*'     prints the table
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/matmul.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/softmax.h"
#include "tessera/core/precision.h"
#include "tests/twin/attention_made.h"

namespace tessera {

/// What the float twin computed: [case][scale][tensor], each in double, of the explicit ops and of fused attention; then, on numbers that bf16
/// has, of the explicit ops in fp32 and of fused attention in bf16.
struct SaturatedResults {
  using All = std::vector<std::vector<double>>;
  std::vector<All> explicit_, fused, explicit_coarse, bf16;
};
using Saturate = SaturatedResults (*)();
inline Saturate& float_saturated() {
  static Saturate s = nullptr;
  return s;
}

inline namespace TESSERA_NS {
namespace attention_test {
namespace {

constexpr std::array<double, 12> scales{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1e9};

struct Model {
  const char* name;
  int B, H, n, d;
  bool biases;
};
constexpr std::array<Model, 4> models{{{"ViT, 65 tokens", 1, 4, 65, 32, false},
                                       {"ViT, 129 tokens", 1, 1, 129, 64, false},
                                       {"window of 16, bias", 4, 3, 16, 32, true},
                                       {"window of 49, bias", 1, 3, 49, 32, true}}};

/// Queries, keys, values, and a bias of its own for each pair. The same numbers in both twins.
Case saturated(const Model& m, double scale, uint64_t seed) {
  Case c;
  c.seed = seed;
  c.who = global_pattern(m.n, m.n);
  c.q = {c.add("q", {m.B, m.n, m.H * m.d}), m.H, 0, 1};
  c.k = {c.add("k", {m.B, m.n, m.H * m.d}), m.H, 0, 1};
  c.v = {c.add("v", {m.B, m.n, m.H * m.d}), m.H, 0, 1};
  const auto times = [&](Tensor& t) {
    for (int64_t i = 0; i < t.size(); ++i)
      t[i] = static_cast<real>(static_cast<float>(scale * static_cast<double>(t[i])));
  };
  times(c.leaf[0]);
  if (m.biases) {
    RelativeIndex::Spec own{m.n, m.n, m.n * m.n, {}, 1};
    for (int i = 0; i < m.n * m.n; ++i) own.at.push_back(i);
    c.terms.push_back({bias, c.add("table", {m.H, m.n * m.n, 1}), 0, std::move(own)});
    times(c.leaf[3]);
  }
  c.scale = 1 / std::sqrt(double(m.d));
  return c;
}

/// The same from small ops: what a framework does without a fused attention.
std::vector<Tensor> written_out(const Model& m, const Case& c) {
  Tape tape;
  std::vector<Tensor> x;
  for (const Tensor& t : c.leaf) x.push_back(tape.watch(t));
  const auto heads_first = [&](const Tensor& t) { return permute(t.reshape({m.B, m.n, m.H, m.d}), {0, 2, 1, 3}); };
  Tensor s = scale(matmul(heads_first(x[0]), heads_first(x[1]), false, true), c.scale);
  if (m.biases) s = add(s, x[3].reshape({1, m.H, m.n, m.n}));
  const Tensor o = permute(matmul(softmax(s), heads_first(x[2])), {0, 2, 1, 3}).reshape({m.B, m.n, m.H * m.d});
  std::vector<Tensor> all{o.detach()};
  Grads none;
  tape.backward(o, c.cotangent(o.shape()), none);
  for (const Tensor& t : x) all.push_back(tape.grad(t));
  return all;
}

/// The same call with queries, keys, values and cotangent that bf16 holds exactly, and a power of 2 as scale: so what it loses is lost by
/// rounding weights and their gradients, and not in its scores.
Case in_bf16(Case c) {
  for (size_t t = 0; t < 3; ++t) {
    c.leaf[t] = c.leaf[t].copy();
    for (real& x : c.leaf[t].values()) x = coarse(x);
  }
  c.scale = std::exp2(std::round(std::log2(c.scale)));
  c.coarse_cotangent = true;
  return c;
}

SaturatedResults::All doubles(const std::vector<Tensor>& all) {
  SaturatedResults::All d;
  for (const Tensor& t : all) d.emplace_back(t.data(), t.data() + t.size());
  return d;
}

constexpr std::array<uint64_t, 3> seeds{1, 2, 3};

template <class F>
void each_case(F f) {
  for (const Model& m : models)
    for (const double scale : scales)
      for (const uint64_t seed : seeds) f(m, scale, saturated(m, scale, seed));
}

SaturatedResults evaluate() {
  SaturatedResults r;
  each_case([&](const Model& m, double, const Case& c) {
    r.explicit_coarse.push_back(doubles(written_out(m, in_bf16(c))));
    r.explicit_.push_back(doubles(written_out(m, c)));
    r.fused.push_back(doubles(c.all(&attention)));
    const Computing rounded(Precision::bf16);
    r.bf16.push_back(doubles(in_bf16(c).all(&attention)));
  });
  return r;
}
const bool registered = [] {
  if constexpr (!twin) float_saturated() = &evaluate;
  return true;
}();

/// Largest difference over the largest true entry; NaN is infinitely far. Where all true entries are 0, the difference itself.
double error(const std::vector<double>& is, const std::vector<double>& truth) {
  double most = 0, size = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double e = std::abs(is[i] - truth[i]);
    if (!(e <= INFINITY)) return INFINITY;
    most = std::max(most, e), size = std::max(size, std::abs(truth[i]));
  }
  return size > 0 ? most / size : most;
}

/// The worst errors of o, of dq and dk, of dv, and of the bias table.
using Worst = std::array<double, 4>;
void keep(Worst& worst, size_t tensor, double error) {
  double& w = worst[tensor == 0 ? 0 : tensor <= 2 ? 1 : tensor - 1];
  w = std::max(w, error);
}

// A single case may be decided by one query between two nearly equal keys, so by the luck of one rounding; hence the worst of all models
// and seeds at each scale is compared.
TWIN_CASE("attention: saturated, it is as exact as a softmax written out in fp32, in value and gradients") {
  if constexpr (twin) {
    REQUIRE(static_cast<bool>(float_saturated()));
    const SaturatedResults r = float_saturated()();
    constexpr double half_ulp_bf16 = 0x1p-9;
    constexpr double half_ulp = 0x1p-24;  // one rounding of the result, where the explicit one had better luck
    struct Errors {
      Worst by_hand{}, fused{}, coarse{}, bf16{};
    };
    std::map<std::pair<double, std::string>, Errors> by_model;
    std::map<double, Errors> by_scale;
    size_t at = 0;
    each_case([&](const Model& m, double scale, const Case& c) {
      const SaturatedResults::All truth = doubles(c.all(&plain_attention)),
                                  truth_bf16 = doubles(in_bf16(c).all(&plain_attention));
      for (Errors* e : {&by_model[{scale, m.name}], &by_scale[scale]})
        for (size_t t = 0; t < truth.size(); ++t) {
          keep(e->by_hand, t, error(r.explicit_[at][t], truth[t])), keep(e->fused, t, error(r.fused[at][t], truth[t]));
          keep(e->coarse, t, error(r.explicit_coarse[at][t], truth_bf16[t]));
          keep(e->bf16, t, error(r.bf16[at][t], truth_bf16[t]));
        }
      ++at;
    });
    std::string table = fmt::format(
        "instruction set {}; largest error over largest entry of o, dq and dk, dv, dbias\n"
        "logits times | explicit | fused | fused, --precision bf16\n",
        name(isa()));
    const auto row = [&](double scale, const std::string& what, const Errors& e) {
      table += fmt::format("{:g}, {}", scale, what);
      for (const Worst* w : {&e.by_hand, &e.fused, &e.bf16})
        table += fmt::format(" | {:.1e}, {:.1e}, {:.1e}, {:.1e}", (*w)[0], (*w)[1], (*w)[2], (*w)[3]);
      table += '\n';
    };
    for (const auto& [of, e] : by_model) row(of.first, of.second, e);
    for (const auto& [scale, e] : by_scale) {
      row(scale, "all", e);
      for (size_t i = 0; i < e.fused.size(); ++i) {
        INFO("logits times " << scale << ", tensor " << i);
        const double bound = 4 * std::max(e.by_hand[i], half_ulp);
        CHECK(e.fused[i] <= bound);
        CHECK(e.bf16[i] <= 4 * std::max(e.coarse[i], half_ulp_bf16));
      }
    }
    MESSAGE(table);
  }
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
