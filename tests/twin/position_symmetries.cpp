// What must hold exactly: symmetries that encodings keep or break, windows, and other sizes. No golden numbers here.
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

// ---- rotary ---------------------------------------------------------------------------------------------------------

TWIN_CASE("property: rotary scores do not see a constant added to all positions, and norms are kept") {
  const Grid g{3, 4, 0};
  for (const char* name : {"rope", "rope_axial"}) {
    for (const char* layout : {"interleaved", "halves"}) {
      const Bed here(name, {{"layout", layout}}, g), there(name, {{"layout", layout}, {"start", 5}}, g);
      CHECK(farthest(here.weights(), there.weights()) < 10 * rounding);
      CHECK(farthest(here.weights(), Bed("none", {}, g).weights()) > 1e-2);
      CHECK(farthest(here.terms().rotary.cos_q, there.terms().rotary.cos_q) > 0.1);
    }
  }
  for (const char* name : {"rope", "rope_axial", "rope_mixed"}) {
    const Rotary r = Bed(name, {}, g).terms().rotary;
    for (const auto& [cosine, sine] : {std::pair(r.cos_q, r.sin_q), std::pair(r.cos_k, r.sin_k)})
      for (int64_t i = 0; i < cosine.size(); ++i)
        CHECK(std::abs(static_cast<double>(cosine[i] * cosine[i] + sine[i] * sine[i]) - 1) < (twin ? 1e-15 : 1e-6));
  }
}

TWIN_CASE("property: equal tokens have scores of their offset only under rotary") {
  const Grid g{3, 5, 0};
  for (const char* name : {"rope", "rope_axial", "rope_mixed"}) {
    INFO(name);
    Bed bed(name, {}, g);
    for (Tensor* t : {&bed.q, &bed.k})
      for (int64_t i = 0; i < t->size(); ++i) (*t)[i] = (*t)[i % 16];
    const Tensor w = bed.weights();
    const int N = g.tokens();
    double off = 0;
    for (int i = 0; i < N; ++i)
      for (int j = 0; j < N; ++j) {
        if (i % g.w == 0 || j % g.w == 0) continue;  // both one column to the left, relative to a common third
        const auto s = [&](int a, int b) { return std::log(static_cast<double>(w[a * N + b])); };
        off = std::max(off, std::abs((s(i, j) - s(i, i)) - (s(i - 1, j - 1) - s(i - 1, i - 1))));
      }
    CHECK(off < 20 * rounding);
  }
}

TWIN_CASE(
    "property: axial rotary on one row is 1-D rotary of the same frequencies; mixed with axial frequencies is axial") {
  const int d = Bed::d;
  // the first half of the pairs turns with x; the 1-D rotary of half the width has just these frequencies
  Places half;
  const Layout line{{1, 6, 0}, {1, 6, 0}, {}, 1, false};
  half.sites = {Site{0, 0, 0, d, 2, d / 2, 0.3, line, "attn"}};
  Params none;
  const auto one_d = position("rope", {{"base", 100.0}})(Scope(none), half);
  const Rotary one = one_d->terms(half.sites[0], line, {}, {}).rotary;
  const Rotary two = Bed("rope_axial", {}, line).terms().rotary;
  for (int p = 0; p < 6; ++p)
    for (int t = 0; t < d / 2; ++t) {
      const auto at = static_cast<int64_t>(p) * (d / 2) + t;
      if (t < d / 4) {
        CHECK(two.cos_q[at] == one.cos_q[p * (d / 4) + t]);
        CHECK(two.sin_k[at] == one.sin_k[p * (d / 4) + t]);
      } else {
        CHECK(two.cos_q[at] == 1);
        CHECK(two.sin_q[at] == 0);
      }
    }
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}}) {
    Bed mixed("rope_mixed", {}, g);
    mixed.set("attn.position.freqs", [&](int64_t i) {  // (axis, head, pair): fx = (f | 0), fy = (0 | f)
      const auto axis = i / d, t = i % (d / 2);
      return (t < d / 4) == (axis == 0) ? std::pow(100.0, -4.0 * static_cast<double>(t % (d / 4)) / d) : 0.0;
    });
    CHECK(farthest(mixed.weights(), Bed("rope_axial", {}, g).weights()) < rounding);
  }
}

// ---- absolute -------------------------------------------------------------------------------------------------------

TWIN_CASE("property: sinusoids: dot products depend on the distance only, rows are distinct") {
  const Grid g{5, 6, 0};
  const int C = 16, N = g.tokens();
  for (const Options& options : {Options{}, Options{{"layout", "halves"}, {"denom", "C/2-1"}}}) {
    Bed bed("sinusoidal", options, g);
    const Tensor t = bed.encoding->tokens(bed.places.tokens[0], g, zeros({1, N, C}), {});
    const auto dot = [&](int a, int b) {
      double s = 0;
      for (int c = 0; c < C; ++c) s += static_cast<double>(t[a * C + c]) * static_cast<double>(t[b * C + c]);
      return s;
    };
    for (int k = 0; k < N; ++k)
      for (int p = 0; p + k < N; ++p) CHECK(std::abs(dot(p, p + k) - dot(0, k)) < rounding * 10);
    for (int p = 0; p < N; ++p)
      for (int q = 0; q < p; ++q) CHECK(dot(p, p) - dot(p, q) > 1e-2);
  }
  // in two dimensions: of the offset only
  Bed bed("sincos2d", {}, g);
  const Tensor t = bed.encoding->tokens(bed.places.tokens[0], g, zeros({1, N, C}), {});
  const auto dot = [&](int a, int b) {
    double s = 0;
    for (int c = 0; c < C; ++c) s += static_cast<double>(t[a * C + c]) * static_cast<double>(t[b * C + c]);
    return s;
  };
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j)
      if (i % g.w && j % g.w) CHECK(std::abs(dot(i, j) - dot(i - 1, j - 1)) < rounding * 10);
}

TWIN_CASE("property: MoCo v3's variant is MAE's with axes exchanged on a square grid") {
  const Grid g{4, 4, 0};
  const auto table = [&](const char* variant) {
    Bed bed("sincos2d", {{"variant", variant}}, g);
    return bed.encoding->tokens(bed.places.tokens[0], g, zeros({1, 16, 16}), {});
  };
  const Tensor moco = table("moco_v3"), mae = table("mae");
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 16; ++c) CHECK(moco[(4 * y + x) * 16 + c] == mae[(4 * x + y) * 16 + c]);
}

// ---- symmetries -----------------------------------------------------------------------------------------------------

TWIN_CASE("property: unsigned encodings give mirrored images mirrored outputs, signed ones do not") {
  const Grid g{3, 4, 0};
  const auto mirrored = [&](const Tensor& x) {
    Tensor y(x.shape());
    for (int b = 0; b < 2; ++b)
      for (int n = 0; n < 12; ++n)
        for (int c = 0; c < 16; ++c) y[(b * 12 + n / 4 * 4 + 3 - n % 4) * 16 + c] = x[(b * 12 + n) * 16 + c];
    return y;
  };
  const auto off = [&](const char* name, const Options& options = {}) {
    Bed here(name, options, g), there(name, options, g);
    there.q = mirrored(here.q), there.k = mirrored(here.k), there.v = mirrored(here.v);
    return farthest(mirrored(here.output()), there.output());
  };
  for (const char* symmetric : {"none", "levit", "alibi_2d"}) CHECK(off(symmetric) < rounding);
  CHECK(off("alibi_2d", {{"metric", "l1"}}) < rounding);
  CHECK(off("kerple_log", {{"metric", "euclidean"}}) < rounding);
  CHECK(off("kerple_power", {{"metric", "euclidean"}}) < rounding);
  CHECK(off("fire") < rounding);
  CHECK(off("irpe", {{"method", "euclidean"}, {"on", "qkv"}}) < rounding);
  CHECK(off("irpe", {{"method", "quant_code"}}) < rounding);
  for (const char* directed : {"shaw_axial", "transformer_xl", "relative_position_bias", "t5", "t5_axial", "rope_axial",
                               "irpe", "gpsa", "log_cpb", "huang4", "sasa"})
    CHECK(off(directed) > 1e-4);
}

TWIN_CASE("property: a causal pattern: no output depends on a later token, under any terms") {
  const int N = 12;
  Pattern::Spec causal = *global_pattern(N, N);
  causal.causal = true;
  for (const Variant& v : variants()) {
    const std::string name = v.name;
    if (name == "sasa") continue;             // brings neighbourhoods of its own
    if (name == "forget_profiles") continue;  // means over a map, which no causal model of one has
    INFO(v.label());
    Bed bed(v.name, v.options, Grid{3, 4, 0});
    bed.who = causal;
    const Tensor before = bed.output();
    const int token = 5;
    for (Tensor* t : {&bed.q, &bed.k, &bed.v})
      for (int c = 0; c < 16; ++c) (*t)[token * 16 + c] += 1;
    const Tensor after = bed.output();
    for (int n = 0; n < N; ++n) {
      bool same = true;
      for (int c = 0; c < 16; ++c) same = same && before[n * 16 + c] == after[n * 16 + c];
      if (n < token || name != "lookhere") CHECK(same == (n < token));  // whose heads may look away
    }
  }
}

// ---- windows --------------------------------------------------------------------------------------------------------

TWIN_CASE("property: a window that covers the map is global attention, under every encoding") {
  const Grid g{3, 4, 0};
  const Layout global{g, g, {}, 1, false}, window{g, g, window_of(g, 4, true), 1, false};
  CHECK(window.window == Window{3, 4, 0, 0});
  for (const Variant& v : variants()) {
    const std::string name = v.name;
    if (name == "sasa" || whole_maps(name)) continue;
    INFO(v.label());
    Options options = v.options;
    // the default theta differs on purpose: 100, in windows 50
    const auto variant = options.find(name == "rope_axial" ? "variant" : "rope_axial.variant");
    const bool has_theta = !options.contains("min_period") &&
                           (variant == options.end() || variant->second != Value(std::string("timm_pixel")));
    if (name.ends_with("rope_axial") && has_theta) options[name == "rope_axial" ? "theta" : "rope_axial.theta"] = 30.0;
    CHECK(farthest(Bed(v.name, options, global).output(), Bed(v.name, options, window).output()) < rounding);
  }
}

TWIN_CASE("property: without labels a shifted window is the plain window of the rolled map") {
  const Grid g{6, 8, 0};
  const Layout shifted{g, g, {3, 4, 1, 2}, 1, false}, straight{g, g, {3, 4, 0, 0}, 1, false};
  Pattern::Spec torus = *windows(g, shifted.window);
  torus.label_q.clear(), torus.label_k.clear();
  const auto rolled = [&](const Tensor& x, int dy, int dx) {  // token (y, x) comes from (y + dy, x + dx)
    Tensor y(x.shape());
    for (int b = 0; b < 2; ++b)
      for (int n = 0; n < g.tokens(); ++n) {
        const int from = (n / g.w + dy + g.h) % g.h * g.w + (n % g.w + dx + g.w) % g.w;
        for (int c = 0; c < 16; ++c) y[(b * g.tokens() + n) * 16 + c] = x[(b * g.tokens() + from) * 16 + c];
      }
    return y;
  };
  for (const char* name : {"none", "relative_position_bias", "shaw_axial_kv", "rope_axial", "gpsa", "irpe"}) {
    INFO(name);
    Bed a(name, {}, shifted), b(name, {}, straight);
    a.who = torus;
    b.q = rolled(a.q, 1, 2), b.k = rolled(a.k, 1, 2), b.v = rolled(a.v, 1, 2);
    CHECK(same_bits(a.output(), rolled(b.output(), -1, -2)));
  }
}

TWIN_CASE("property: class rows of the relative position bias: class to patch, patch to class, class to class") {
  const Grid g{2, 3, 1};
  Bed bed("relative_position_bias", {}, g);
  const Tensor& table = bed["attn.relative_position_bias_table"];  // 15 offsets and three rows, two heads
  REQUIRE(table.shape() == Shape{18, 2});
  CHECK(farthest(bed.weights(), bed.by_hand([&](int, int h, int i, int j) {
          const auto row = [&]() -> int64_t {
            if (!i && !j) return 17;
            if (!i) return 15;
            if (!j) return 16;
            return ((i - 1) / 3 - (j - 1) / 3 + 1) * 5 + (i - 1) % 3 - (j - 1) % 3 + 2;
          };
          return static_cast<double>(table[row() * 2 + h]);
        })) < rounding);
}

// ---- resampling -----------------------------------------------------------------------------------------------------

TWIN_CASE("property: to the same size every table stays as it is") {
  for (const char* rule : {"bicubic_antialias", "bicubic", "bilinear", "corner_aligned"}) {
    const Grid g{3, 4, 1};
    for (const char* name : {"learned", "relative_position_bias"}) {
      Bed bed(name, {{"resize", rule}}, g);
      const auto& e = bed.params.entries()[0];
      const Tensor same = bed.encoding->resample(e.name, e.value, bed.layout, bed.layout);
      CHECK(same_bits(same, e.value));
    }
  }
  Bed levit("levit", {}, Grid{3, 4, 0});
  const Tensor table = levit["attn.attention_biases"];
  const Layout larger{{5, 8, 0}, {5, 8, 0}, {}, 1, false};
  CHECK(same_bits(levit.encoding->resample("attn.attention_biases", table, levit.layout, levit.layout), table));
  // offset 0 stays offset 0, the largest stays the largest
  const Tensor big = levit.encoding->resample("attn.attention_biases", table, levit.layout, larger);
  REQUIRE(big.shape() == Shape{2, 40});
  CHECK(big[0] == table[0]);
  CHECK(std::abs(static_cast<double>(big[39] - table[11])) < (twin ? 1e-15 : 1e-7));
}

TWIN_CASE("property: clipped encodings keep the meaning of an offset on another grid") {
  // the row of one offset, on the trained grid and on larger and smaller ones
  const Grid trained{3, 4, 0};
  const auto row = [](const RelativeIndex& rho, const Grid& g, int dy, int dx) {
    const int iy = dy < 0 ? -dy : 0, ix = dx < 0 ? -dx : 0;
    return rho->at[static_cast<size_t>((iy * g.w + ix) * g.tokens() + (iy + dy) * g.w + ix + dx)];
  };
  for (const auto& [encoding, options] : {std::pair<const char*, Options>{"huang2", {{"index", "product"}}},
                                          {"huang4", {{"index", "product"}}},
                                          {"music_transformer_2d", {}},
                                          {"transformer_xl_learned", {{"axial", true}}},
                                          {"shaw_axial", {{"max_distance", 1}}},
                                          {"t5_axial", {}},
                                          {"irpe", {}}}) {
    const char* name = encoding;  // clang before 16 captures no structured binding
    INFO(name);
    Bed bed(name, options, trained);
    for (const Grid g : {Grid{5, 4, 0}, Grid{3, 7, 0}, Grid{6, 6, 0}, Grid{2, 3, 0}}) {
      const Layout now{g, g, {}, 1, false};
      const Terms was = bed.terms(), is = bed.encoding->terms(bed.places.sites[0], now, bed.tokens(), {});
      REQUIRE(was.count == is.count);
      for (int t = 0; t < was.count; ++t) {
        const Relative &a = was.relative[static_cast<size_t>(t)], &b = is.relative[static_cast<size_t>(t)];
        CHECK(same_bits(a.table, b.table));
        for (int dy = -std::min(g.h, 3) + 1; dy < std::min(g.h, 3); ++dy)
          for (int dx = -std::min(g.w, 4) + 1; dx < std::min(g.w, 4); ++dx)
            CHECK(row(a.rho, trained, dy, dx) == row(b.rho, g, dy, dx));
      }
    }
  }
}

TWIN_CASE(
    "property: weights of a shorter sequence model answer as before in a longer one, or their encoding says why "
    "not") {
  int alike = 0;
  for (const Variant& v : variants()) {
    CAPTURE(v.label());
    const auto bed = [&](int T) { return Bed(v.name, v.options, Layout::sequence(T)); };
    try {
      bed(6);
    } catch (const Error&) {
      continue;  // no encoding of sequences
    }
    const Bed was = bed(6), is = bed(9), calls[] = {bed(4), bed(12)};
    const auto same = [&](const auto& e) { return is[e.name].shape() == e.value.shape(); };
    if (!std::ranges::all_of(was.params.entries(), same)) continue;  // tables, which are resampled
    double off = 0;
    for (const Bed& call : calls) {
      const Tensor none = zeros(call.q.shape());
      const auto added = [&](const Bed& b) { return b.encoding->tokens(b.places.tokens[0], call.layout.q, none, {}); };
      const auto answer = [&](const Bed& b) {
        return b.encoding->attend(b.places.sites[0], call.layout, call.query(), call.tokens(), {});
      };
      off = std::max({off, farthest(added(was), added(is)), farthest(answer(was), answer(is))});
    }
    CHECK((off > 0) == !is.encoding->unit_warning(was.places, is.places).empty());
    ++alike;
  }
  CHECK((alike > 60 || !walked_alone().empty()));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
