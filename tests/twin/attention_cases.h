#pragma once
// One attention call with all its tensors by name, so that value and every gradient can be compared, perturbed and
// checked.
#include <cmath>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "tessera/core/ops/attention/attention.h"
#include "tessera/core/rng.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {

using Function = decltype(&attention);

/// The nearest number that bf16 has, not of NaN.
inline real coarse(real x) {
  int exponent = 0;
  std::frexp(double(x), &exponent);
  const double step = std::ldexp(1.0, exponent - 8);
  return static_cast<real>(std::nearbyint(double(x) / step) * step);
}

/// Tensors are listed in `leaf`; Heads and terms refer to them by number, because a tape watches them anew on every
/// call.
struct Case {
  struct View {
    int leaf, heads, part, parts;
    int offset = -1, d = 0;  ///< offset >= 0: heads of width d from that channel on, whatever the parts
  };
  struct Term {
    Relative::Kind kind;
    int leaf, first;
    RelativeIndex rho;
    int side = -1;  ///< leaf of a side projection
    bool outside = false;
  };
  std::vector<std::string> name;
  std::vector<Tensor> leaf;
  View q{}, k{}, v{};
  Pattern who;
  std::deque<Term> terms;
  int rotary[4] = {-1, -1, -1, -1};
  bool halves = false, values = false;
  HeadMask mask;
  double scale = 0.5;
  DropoutSpec dropout;
  std::vector<int32_t> lengths;
  Run run;
  uint64_t seed = 1;
  bool coarse_cotangent = false;  ///< of numbers that bf16 has

  int add(std::string what, const Shape& shape, double size = 1) {
    Tensor t(shape);
    const rng::Stream random(rng::mix(seed * 1000 + leaf.size()));
    for (int64_t i = 0; i < t.size(); ++i)
      t[i] = static_cast<real>(static_cast<float>(size * random.normal(static_cast<uint64_t>(i))));
    name.push_back(std::move(what)), leaf.push_back(t);
    return static_cast<int>(leaf.size()) - 1;
  }
  static Heads view(const View& w, const std::vector<Tensor>& x) {
    const Tensor& t = x[static_cast<size_t>(w.leaf)];
    return w.offset < 0 ? heads(t, w.heads, w.part, w.parts) : Heads{t, w.offset, t.dim(2), w.heads, w.d, t.dim(1)};
  }
  Query query(const std::vector<Tensor>& x) const {
    return {view(q, x), view(k, x), view(v, x), who, scale, dropout, lengths};
  }
  /// The call on the given handles of the leaves.
  Tensor operator()(Function f, const std::vector<Tensor>& x) const {
    Terms where;
    Tensor* angles[] = {&where.rotary.cos_q, &where.rotary.sin_q, &where.rotary.cos_k, &where.rotary.sin_k};
    for (int i = 0; i < 4; ++i)
      if (rotary[i] >= 0) *angles[i] = x[static_cast<size_t>(rotary[i])];
    where.rotary.halves = halves, where.rotary.values = values, where.visible = mask;
    for (const Term& t : terms) {
      const Heads side = t.side < 0 ? Heads{} : heads(x[static_cast<size_t>(t.side)], q.heads);
      where.add({t.kind, x[static_cast<size_t>(t.leaf)], t.first, t.rho, side, t.outside});
    }
    return f(query(x), where, run);
  }
  Tensor value(Function f) const { return (*this)(f, leaf); }
  /// Output, then the gradient of sum(o * cotangent) for every leaf, in order.
  std::vector<Tensor> all(Function f) const { return some(f, std::vector<bool>(leaf.size(), true)); }
  /// The same where only the `wanted` leaves are tracked; the others' gradients are empty.
  std::vector<Tensor> some(Function f, const std::vector<bool>& wanted) const {
    Tape tape;
    std::vector<Tensor> x;
    for (size_t i = 0; i < leaf.size(); ++i) x.push_back(wanted[i] ? tape.watch(leaf[i]) : leaf[i]);
    const Tensor o = (*this)(f, x);
    std::vector<Tensor> result{o.detach()};
    Grads none;
    tape.backward(o, cotangent(o.shape()), none);
    for (size_t i = 0; i < x.size(); ++i) {
      result.push_back(wanted[i] ? tape.grad(x[i]) : Tensor());
      if (wanted[i] && !result.back()) fail("test", "no gradient arrived at {}", name[i]);
    }
    return result;
  }
  Tensor cotangent(const Shape& shape) const {
    Tensor t(shape);
    const rng::Stream random(rng::mix(seed + 77));
    for (int64_t i = 0; i < t.size(); ++i)
      t[i] = static_cast<real>(static_cast<float>(random.normal(static_cast<uint64_t>(i))));
    for (int64_t i = 0; coarse_cotangent && i < t.size(); ++i) t[i] = coarse(t[i]);
    return t;
  }
};

inline double largest(const Tensor& t) {
  double m = 0;
  for (const real v : t.values()) m = std::isfinite(double(v)) ? std::max(m, std::abs(double(v))) : INFINITY;
  return m;
}

/// Largest difference over largest entry; NaN counts as infinite.
inline double distance(const Tensor& a, const Tensor& b, double floor = 0) {
  double e = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = std::abs(double(a[i]) - double(b[i]));
    e = x <= e ? e : std::isnan(x) ? INFINITY : x;
  }
  const double size = std::max({largest(a), largest(b), floor});
  return size > 0 ? e / size : e;
}

/// The worst relative error of the gradients against central differences along random directions, in double.
inline double gradient_error(const Case& c, Function f, int directions = 3) {
  const std::vector<Tensor> all = c.all(f);
  const Tensor w = c.cotangent(all[0].shape());
  const auto loss = [&](const std::vector<Tensor>& x) {
    const Tensor o = c(f, x);
    double s = 0;
    for (int64_t i = 0; i < o.size(); ++i) s += double(o[i]) * double(w[i]);
    return s;
  };
  double worst = 0;
  for (size_t l = 0; l < c.leaf.size(); ++l)
    for (int direction = 0; direction < directions; ++direction) {
      const rng::Stream random(rng::mix(99 + l * 17 + static_cast<uint64_t>(direction)));
      const auto u = [&](int64_t i) { return random.normal(static_cast<uint64_t>(i)); };
      const double step = 1e-4;
      const auto moved = [&](double by) {
        std::vector<Tensor> x = c.leaf;
        x[l] = x[l].copy();
        for (int64_t i = 0; i < x[l].size(); ++i) x[l][i] += static_cast<real>(by * u(i));
        return loss(x);
      };
      // fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h
      const double numeric = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step);
      double analytic = 0, size = 0;
      for (int64_t i = 0; i < all[l + 1].size(); ++i) {
        analytic += double(all[l + 1][i]) * u(i);
        size += double(all[l + 1][i]) * double(all[l + 1][i]);
      }
      const double e = std::abs(numeric - analytic) / std::max(std::sqrt(size), 1e-3);
      worst = std::max(worst, std::isnan(e) ? INFINITY : e);
    }
  return worst;
}

}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
