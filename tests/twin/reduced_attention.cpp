// Keys of a smaller map: the layer itself, and every encoding of the registry under Layout::reduced.
#include "tessera/nn/reduced_attention.h"

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/nn/position/pairs.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using walk::Bed;
using walk::Variant;

/// Maps that R divides, that it does not, and of one key.
struct Reduction {
  Grid q;
  int R;
  Layout layout() const { return ReducedAttention::layout(q, R); }
};
const std::vector<Reduction>& reductions() {
  static const std::vector<Reduction> all{{{4, 6, 0}, 2}, {{7, 5, 0}, 2}, {{8, 7, 0}, 3}, {{3, 4, 0}, 3}};
  return all;
}

/// Does this encoding run over reduced keys at all? Its row says why not.
std::string refused(const Variant& v, const Layout& l) {
  Places at;
  at.sites = {Site{0, 0, 0, 16, 2, 8, 0.3, l, "attn"}};
  at.tokens = {Spot{0, 0, 0, 16, l.q, "pos_embed"}};
  at.between = {Spot{0, 0, 0, 16, l.q, "pos_block.0"}, Spot{1, 0, 1, 16, l.q, "pos_block.1"}};
  try {
    check_position(v.name, v.options, at);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

/// Has it an attention of its own?
bool mixes(const Variant& v) {
  return std::ranges::any_of(positions(), [&](const PositionRow& row) {
    return std::string_view(v.name).find(row.name) != std::string_view::npos && std::ranges::count(row.hooks, "mix");
  });
}

TWIN_CASE("reduced keys: coordinates stay on the key map, whatever the sizes") {
  for (const Reduction& r : reductions()) {
    const Coords c = coords(r.layout());
    REQUIRE(c.q.size() == static_cast<size_t>(r.q.tokens()));
    REQUIRE(c.k.size() == static_cast<size_t>((r.q.h / r.R) * (r.q.w / r.R)));
    for (size_t i = 0; i < c.q.size(); ++i) {
      const int y = static_cast<int>(i) / r.q.w, x = static_cast<int>(i) % r.q.w;
      CHECK(c.q[i].y == std::min(y / r.R, r.q.h / r.R - 1));
      CHECK(c.q[i].x == std::min(x / r.R, r.q.w / r.R - 1));
    }
  }
  CHECK_THROWS_AS(ReducedAttention::layout({2, 8, 0}, 3), Error);
  CHECK_THROWS_AS(ReducedAttention::layout({4, 4, 1}, 2), Error);
}

TWIN_CASE("reduced keys: every encoding attends, its gradients are right and reach all its parameters") {
  int walked = 0;
  for (const Variant& v : walk::variants()) {
    INFO(v.label());
    for (const Reduction& r : reductions()) {
      const Layout l = r.layout();
      const std::string why = refused(v, l);
      if (!why.empty()) {
        const std::string name = v.name;
        CHECK((name == "sasa" || name == "gpsa" || v.name == std::string_view("learned+sasa")));
        continue;
      }
      ++walked;
      Bed bed(v.name, v.options, l);
      Tape tape;
      Grads grads;
      const Tensor x = tape.watch(bed.q), k = tape.watch(bed.k), values = tape.watch(bed.v);
      const Query query(heads(x, Bed::H), heads(k, Bed::H), heads(values, Bed::H), bed.who, 0.3);
      const Tensor o = bed.encoding->attend(bed.places.sites[0], l, query, {x, k}, {});
      CHECK(o.shape() == Shape{2, r.q.tokens(), 16});
      for (const real y : o.values()) REQUIRE(std::isfinite(static_cast<double>(y)));
      // the plain attention of the same shapes under the same terms says the same
      const Site& site = bed.places.sites[0];
      if (!mixes(v)) {
        const Query shaped = bed.encoding->shape(site, l, query, {x, k}, {});
        const Tensor mixed = plain_attention(shaped, bed.encoding->terms(site, l, {x, k}, {}), {});
        const Tensor plain = bed.encoding->unshape(site, l, mixed, {x, k}, {});
        CHECK(walk::farthest(o, plain) < (walk::twin ? 1e-12 : 1e-4));
      }
      const Tensor w = Bed::random("cotangent", r.q.tokens());
      tape.backward(o, w, grads);
      // along one random direction of all parameters of attention terms at once
      if (!walk::twin || bed.params.entries().empty()) continue;
      if (v.name == std::string_view("log_cpb") && !v.options.contains("hidden")) continue;  // 512 kinks in the way
      const auto loss = [&](double by) {
        for (const auto& e : bed.params.entries())
          if (!e.buffer)
            for (int64_t i = 0; i < e.value.size(); ++i)
              e.value[i] += static_cast<real>(by * walk::normal_at(e.name + "'", i));
        bed.params.commit();
        const NoGrad no_tape;
        const Tensor y = bed.output();
        double s = 0;
        for (int64_t i = 0; i < y.size(); ++i) s += static_cast<double>(y[i]) * static_cast<double>(w[i]);
        return s;
      };
      double analytic = 0;
      for (const auto& e : bed.params.entries())
        if (!e.buffer && grads.has(e.value))
          for (int64_t i = 0; i < e.value.size(); ++i)
            analytic += static_cast<double>(grads.of(e.value)[i]) * walk::normal_at(e.name + "'", i);
      const double h = 1e-5, up = loss(h), down = loss(-2 * h);
      CHECK((up - down) / (2 * h) == doctest::Approx(analytic).epsilon(2e-6).scale(1));
    }
  }
  CHECK(walked > (walk::walked_alone().empty() ? 150 : 3));
}

TWIN_CASE("reduced keys: the layer is a strided convolution, a norm and attention") {
  for (const Reduction& r : reductions()) {
    const int C = 8, H = 2;
    Params params(5);
    Places at;
    at.sites = {Site{0, 0, 0, C, H, C / H, 0.5, r.layout(), "attn"}};
    const auto position = tessera::position("relative_position_bias", {})(Scope(params), at);
    const ReducedAttention attn(Scope(params) / "attn",
                                {.dim = C, .num_heads = H, .sr_ratio = r.R, .attn_drop = 0, .proj_drop = 0},
                                at.site("attn"));
    walk::redraw(params);
    Tensor x({2, r.q.tokens(), C});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(0.37 * static_cast<double>(i)));
    const Tensor y = attn({}, x, r.q, *position);
    const int h = r.q.h / r.R, w = r.q.w / r.R;
    const Tensor map = conv2d(x.reshape({2, r.q.h, r.q.w, C}), attn.sr_weight, attn.sr_bias, conv_options(r.R, 0))
                           .reshape({2, h * w, C});
    const Tensor kv = attn.kv({}, (*attn.norm)({}, map));
    const Tensor o = plain_attention(
        {heads(attn.q({}, x), H), heads(kv, H, 0, 2), heads(kv, H, 1, 2), global_pattern(r.q.tokens(), h * w), 0.5},
        position->terms(at.sites[0], r.layout(), {x, map}, {}), {});
    CHECK(walk::farthest(y, attn.proj({}, o)) < (walk::twin ? 1e-12 : 1e-4));
    CHECK_THROWS_WITH_AS(attn({}, x, {r.q.h + 1, r.q.w, 0}, *position), doctest::Contains("[reduced_attention"), Error);
  }
}

TWIN_CASE("keys of another sequence: relative terms are skipped, whatever the encoding") {
  const Layout l = Layout::between({2, 3, 0}, {4, 2, 0});
  for (const Variant& v : walk::variants()) {
    if (!refused(v, l).empty()) continue;
    INFO(v.label());
    Bed bed(v.name, v.options, l);
    CHECK(walk::farthest(bed.output(), bed.plain()) == 0);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
