// What must hold exactly: encodings that equal each other, that vanish, that keep or break a symmetry. No golden numbers here.
#include <algorithm>

#include "nn/windows.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr bool twin = sizeof(real) == 8;
constexpr double rounding = twin ? 1e-13 : 2e-5;

/// One attention of two heads of width 8 under an encoding, on random queries, keys and values.
struct Bed {
  static constexpr int H = 2, d = 8;
  Params params{3};
  Places places;
  Layout layout;
  const Pattern* who;
  std::unique_ptr<PositionEncoding> encoding;
  Tensor q, k, v;

  Bed(std::string_view name, const Options& options, const Layout& where)
      : layout(where),
        who(where.window.h ? &windows(where.q, where.window) : &everyone(where.q.tokens(), where.k.tokens())) {
    places.sites = {Site{0, 0, 0, H * d, H, d, 0.3, layout, "attn"}};
    places.tokens = {Spot{0, 0, 0, H * d, layout.q, "pos_embed"}};
    places.between = {Spot{0, 0, 0, H * d, layout.q, "pos_block.0"}, Spot{1, 0, 1, H * d, layout.q, "pos_block.1"}};
    encoding = position(name, options)(Scope(params), places);
    redraw(params);
    q = random("q", layout.q.tokens()), k = random("k", layout.k.tokens()), v = random("v", layout.k.tokens());
  }
  Bed(std::string_view name, const Options& options, Grid g) : Bed(name, options, Layout{g, g, {}, 1, false}) {}

  static Tensor random(const char* what, int tokens) {
    Tensor t({2, tokens, H * d});
    for (int64_t i = 0; i < t.size(); ++i) t[i] = rounded(normal_at(what, i));
    return t;
  }
  const Tensor& operator[](std::string_view parameter) const {
    REQUIRE_MESSAGE(params.find(parameter), parameter);
    return params.find(parameter)->value;
  }
  template <class F>
  Bed& set(std::string_view parameter, F f) {
    const Tensor& t = (*this)[parameter];
    for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(f(i));
    params.commit();
    return *this;
  }
  Bed& zero() {
    for (const auto& e : params.entries()) std::ranges::fill(e.value.values(), real(0));
    params.commit();
    return *this;
  }
  Terms terms() const { return encoding->terms(places.sites[0], layout, {}); }
  Tensor output() const {
    return encoding->attend(places.sites[0], layout, heads(q, H), heads(k, H), heads(v, H), *who, 0.3, {}, {}, {});
  }
  /// (B, groups, H, n, m)
  Tensor weights() const { return attention_weights(heads(q, H), heads(k, H), *who, terms(), 0.3, {}); }
  Tensor plain(double scale = 0.3) const {
    return attention(heads(q, H), heads(k, H), heads(v, H), *who, {}, scale, {}, {}, {});
  }

  /// softmax of 0.3 q.k + extra(b, h, i, j), computed the long way.
  template <class F>
  Tensor by_hand(F extra) const {
    const int n = layout.q.tokens(), m = layout.k.tokens();
    Tensor w({2, 1, H, n, m});
    for (int b = 0; b < 2; ++b)
      for (int h = 0; h < H; ++h)
        for (int i = 0; i < n; ++i) {
          std::vector<double> e;
          double sum = 0;
          for (int j = 0; j < m; ++j) {
            double s = extra(b, h, i, j);
            for (int c = 0; c < d; ++c) s += 0.3 * query(b, h, i, c) * key(b, h, j, c);
            e.push_back(std::exp(s)), sum += e.back();
          }
          for (int j = 0; j < m; ++j)
            w[((static_cast<int64_t>(b) * H + h) * n + i) * m + j] = static_cast<real>(e[static_cast<size_t>(j)] / sum);
        }
    return w;
  }
  double query(int b, int h, int i, int c) const { return at(q, b, h, i, c); }
  double key(int b, int h, int j, int c) const { return at(k, b, h, j, c); }
  static double at(const Tensor& t, int b, int h, int i, int c) {
    return static_cast<double>(t[(static_cast<int64_t>(b) * t.dim(1) + i) * H * d + h * d + c]);
  }
  /// q_i . table[row], of a table (rows, d)
  double dot(const Tensor& t, int64_t row, int b, int h, int i) const {
    double s = 0;
    for (int c = 0; c < d; ++c) s += query(b, h, i, c) * static_cast<double>(t[row * d + c]);
    return s;
  }
};

// ---- what vanishes --------------------------------------------------------------------------------------------------

TWIN_CASE("property: on a grid of one cell every encoding without value terms is plain attention") {
  for (const Variant& v : variants()) {
    INFO(v.label());
    const auto padding = v.options.find("padding");
    if (padding != v.options.end()) continue;  // nothing to reflect or to wrap on a map of one cell
    Bed bed(v.name, v.options, Grid{1, 1, 0});
    const Tensor plain = bed.plain(), out = bed.output();
    const std::string name = v.name;
    const Terms terms = name == "sasa" ? Terms{} : bed.terms();
    bool values = name == "sasa" && v.options.contains("zero_pad");
    for (int t = 0; t < terms.count; ++t)
      values = values || terms.relative[static_cast<size_t>(t)].kind == Relative::value;
    if (values) {
      CHECK(farthest(plain, out) > 1e-3);
    } else {
      CHECK(farthest(plain, out) < rounding);
    }
  }
  // values of Shaw: the row of offset 0 is added to every head
  Bed bed("shaw_kv", {{"max_distance", 3}}, Grid{1, 1, 0});
  const Tensor plain = bed.plain(), out = bed.output();
  const Tensor& table = bed["attn.position.value"];
  for (int c = 0; c < 2 * Bed::d; ++c)
    CHECK(std::abs(static_cast<double>(out[c] - plain[c] - table[3 * Bed::d + c % Bed::d])) < rounding);
}

TWIN_CASE("property: zero tables and closed gates leave plain attention") {
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}}) {
    const auto vanishes = [&](const char* name, const Options& options = {}) {
      INFO(name);
      Bed bed(name, options, g);
      bed.zero();
      CHECK(farthest(bed.output(), bed.plain()) < rounding);
    };
    for (const char* method : {"product", "cross", "euclidean", "quant_code", "quant_paper"}) {
      vanishes("irpe", {{"method", method}, {"on", "qkv"}});
      vanishes("irpe", {{"method", method}, {"mode", "bias"}, {"on", "qk"}});
    }
    for (const char* name : {"levit", "relative_position_bias", "t5", "t5_axial", "shaw_kv", "shaw_axial_kv",
                             "axial_sum", "transformer_xl", "transformer_xl_axial", "transformer_xl_learned",
                             "music_transformer", "music_transformer_2d", "huang4"})
      vanishes(name);
    vanishes("log_cpb");  // the same 16 sigmoid(0) = 8 for every pair
    vanishes("rope_mixed");
    Bed gpsa("gpsa", {}, g);
    gpsa.set("attn.gating_param", [](int64_t) { return -1e3; });
    CHECK(same_bits(gpsa.output(), gpsa.plain()));
    gpsa.set("attn.gating_param", [](int64_t) { return 1e3; });
    gpsa.set("attn.pos_proj.weight", [](int64_t) { return 0; }).set("attn.pos_proj.bias", [](int64_t) { return 0; });
    // an open gate with zero positional scores: the mean of all values
    CHECK(farthest(gpsa.output(), gpsa.plain(0)) < rounding);
  }
}

TWIN_CASE("property: Huang's gates of 1 and vectors of 0 are plain") {
  for (const char* name : {"huang1", "huang2", "huang3"})
    for (const char* index : {"raster", "product"}) {
      Bed bed(name, {{"index", index}}, Grid{3, 4, 1});
      bed.set("attn.position.weight", [](int64_t) { return 1; });
      CHECK(farthest(bed.output(), bed.plain()) < rounding);
    }
}

TWIN_CASE("property: convolutions of zero weight are the identity") {
  for (const auto& [name, options] : {std::pair<const char*, Options>{"peg", {}},
                                      {"peg", {{"padding", "circular"}}},
                                      {"peg", {{"padding", "reflect"}}},
                                      {"cpe", {{"after", std::vector<int>{0}}, {"depthwise", false}}}}) {
    Bed bed(name, options, Grid{3, 4, 1});
    bed.zero();
    CHECK(same_bits(bed.encoding->between(bed.places.between[1], bed.layout.q, bed.q, {}), bed.q));
  }
  // class tokens pass by whatever the weights
  Bed bed("peg", {}, Grid{3, 4, 1});
  const Tensor y = bed.encoding->between(bed.places.between[1], bed.layout.q, bed.q, {});
  for (int c = 0; c < 16; ++c) CHECK(y[c] == bed.q[c]);
  CHECK(farthest(y, bed.q) > 1e-2);
}

TWIN_CASE("property: circular padding keeps a convolution blind to where the map begins, zero padding does not") {
  const Grid g{4, 5, 0};
  const auto rolled = [&](const Tensor& x, int dy, int dx) {
    Tensor y(x.shape());
    for (int b = 0; b < 2; ++b)
      for (int n = 0; n < g.tokens(); ++n) {
        const int to = (n / g.w + dy) % g.h * g.w + (n % g.w + dx) % g.w;
        for (int c = 0; c < 16; ++c) y[(b * g.tokens() + to) * 16 + c] = x[(b * g.tokens() + n) * 16 + c];
      }
    return y;
  };
  for (const char* padding : {"zero", "circular", "reflect"}) {
    Bed bed("peg", {{"padding", padding}}, g);
    const auto f = [&](const Tensor& x) { return bed.encoding->between(bed.places.between[1], g, x, {}); };
    const double off = farthest(rolled(f(bed.q), 1, 2), f(rolled(bed.q, 1, 2)));
    if (padding == std::string_view("circular")) {
      CHECK(off < rounding);
    } else {
      CHECK(off > 1e-2);
    }
  }
}

// ---- what equals what -----------------------------------------------------------------------------------------------

TWIN_CASE("property: Shaw naive = gathered = Music Transformer's skew = Transformer-XL's shift") {
  const Grid g{2, 3, 0};
  const int N = 6, R = 2 * N - 1, d = Bed::d;
  Bed shaw("shaw", {{"max_distance", N - 1}}, g);
  const Tensor E = shaw["attn.position.key"];  // row j - i + N - 1
  const auto naive =
      shaw.by_hand([&](int b, int h, int i, int j) { return 0.3 * shaw.dot(E, j - i + N - 1, b, h, i); });
  CHECK(farthest(shaw.weights(), naive) < rounding);

  Bed music("music_transformer", {{"heads_share_relative_embedding", true}}, g);
  music.set("attn.position.key_relative", [&](int64_t i) { return E[i]; });
  CHECK(farthest(music.weights(), naive) < rounding);

  Bed conformer("conformer_shaw", {{"max_distance", N - 1}}, g);  // query minus key: the table reversed
  conformer.set("attn.position.key", [&](int64_t i) { return E[(R - 1 - i / d) * d + i % d]; });
  CHECK(farthest(conformer.weights(), naive) < rounding);

  // The skew: columns are offsets -(N-1)..N-1; append a zero column, flatten, append N - 1 zeros, read rows of 2N - 1, keep columns N - 1..
  const auto product = [&](int b, int h, bool reversed) {
    std::vector<double> s;
    for (int i = 0; i < N; ++i)
      for (int r = 0; r < R; ++r) s.push_back(shaw.dot(E, reversed ? R - 1 - r : r, b, h, i));
    return s;
  };
  const auto skew = [&](int b, int h, int i, int j) {
    const std::vector<double> s = product(b, h, false);
    std::vector<double> flat;
    for (int row = 0; row < N; ++row) {
      flat.insert(flat.end(), s.begin() + row * R, s.begin() + (row + 1) * R);
      flat.push_back(0);
    }
    flat.resize(flat.size() + static_cast<size_t>(N) - 1);
    return 0.3 * flat[static_cast<size_t>(i * R + j + N - 1)];
  };
  CHECK(farthest(shaw.by_hand(skew), naive) < rounding);

  // The relative shift: columns are distances N-1..-(N-1) of query minus key... here keys behind first, so the table is reversed once for the
  // sign and once for the order: pad a column in front, read as [2N, N], drop the first row, read as [N, 2N - 1], keep N columns.
  const auto shift = [&](int b, int h, int i, int j) {
    const std::vector<double> s = product(b, h, false);  // offset j - i rising = distance i - j falling
    std::vector<double> padded;
    for (int row = 0; row < N; ++row) {
      padded.push_back(0);
      padded.insert(padded.end(), s.begin() + row * R, s.begin() + (row + 1) * R);
    }
    return 0.3 * padded[static_cast<size_t>(N + i * R + j)];
  };
  CHECK(farthest(shaw.by_hand(shift), naive) < rounding);
}

TWIN_CASE("property: Transformer-XL without u and v is a table per head; its learned form likewise") {
  const Grid g{2, 3, 1};
  const int N = 6, R = 2 * N - 1, C = 16, d = Bed::d;
  Bed xl("transformer_xl", {}, g);
  xl.set("attn.pos_bias_u", [](int64_t) { return 0; }).set("attn.pos_bias_v", [](int64_t) { return 0; });
  const Tensor W = xl["attn.linear_pos.weight"];
  // T[h, offset j - i] = W_h R_{i-j}
  const auto T = [&](int64_t i) {
    const auto h = i / (R * d), row = i / d % R, c = i % d;
    const auto distance = static_cast<double>(N - 1 - row);
    double sum = 0;
    for (int t = 0; t < C / 2; ++t) {
      const double a = distance * std::pow(1e4, -2.0 * t / C);
      sum += static_cast<double>(W[(h * d + c) * C + t]) * std::sin(a) +
             static_cast<double>(W[(h * d + c) * C + C / 2 + t]) * std::cos(a);
    }
    return sum;
  };
  Bed music("music_transformer", {}, g);
  music.set("attn.position.key_relative", T);
  CHECK(farthest(xl.weights(), music.weights()) < rounding);

  Bed learned("transformer_xl_learned", {}, g);
  learned.zero();
  // r_emb is (rows of i - j, heads, d)
  learned.set("attn.position.r_emb", [&](int64_t i) {
    const auto row = i / (2 * d), h = i / d % 2, c = i % d;
    return T((h * R + R - 1 - row) * d + c);
  });
  CHECK(farthest(learned.weights(), music.weights()) < rounding);
}

TWIN_CASE("property: Transformer-XL is (q + u).k + (q + v).R, term by term") {
  const Grid g{3, 2, 0};
  Bed xl("transformer_xl_axial", {}, g);
  const Tensor u = xl["attn.pos_bias_u"], v = xl["attn.pos_bias_v"], Wy = xl["attn.linear_pos_y.weight"],
               Wx = xl["attn.linear_pos_x.weight"];
  const int C = 16, d = Bed::d;
  const auto entry = [&](const Tensor& W, int h, int c, int distance) {
    double sum = 0;
    for (int t = 0; t < C / 2; ++t) {
      const double a = distance * std::pow(1e4, -2.0 * t / C);
      sum += static_cast<double>(W[(h * d + c) * C + t]) * std::sin(a) +
             static_cast<double>(W[(h * d + c) * C + C / 2 + t]) * std::cos(a);
    }
    return sum;
  };
  const auto extra = [&](int b, int h, int i, int j) {
    double s = 0;
    for (int c = 0; c < d; ++c) {
      const double r = entry(Wy, h, c, i / g.w - j / g.w) + entry(Wx, h, c, i % g.w - j % g.w);
      s += 0.3 * (static_cast<double>(u[h * d + c]) * xl.key(b, h, j, c) +
                  (xl.query(b, h, i, c) + static_cast<double>(v[h * d + c])) * r);
    }
    return s;
  };
  CHECK(farthest(xl.weights(), xl.by_hand(extra)) < rounding);
}

TWIN_CASE("property: Huang's method 4 is Shaw's keys and the same on the key side; methods 1 to 3 multiply") {
  const Grid g{2, 3, 0};
  const int N = 6, d = Bed::d;
  Bed four("huang4", {}, g);
  const Tensor a = four["attn.position.distance_embedding"];
  CHECK(farthest(four.weights(), four.by_hand([&](int b, int h, int i, int j) {
          double s = 0.3 * four.dot(a, j - i + N - 1, b, h, i);
          for (int c = 0; c < d; ++c) s += 0.3 * four.key(b, h, j, c) * static_cast<double>(a[(j - i + N - 1) * d + c]);
          return s;
        })) < rounding);
  for (const char* name : {"huang1", "huang2", "huang3"}) {
    INFO(name);
    Bed bed(name, {}, g);
    const Tensor w = bed["attn.position.weight"];
    const std::string method = name;
    CHECK(farthest(bed.weights(), bed.by_hand([&](int b, int h, int i, int j) {
            double s = 0;
            for (int c = 0; c < d; ++c) {
              const int64_t row = method == "huang1" ? std::abs(j - i) : j - i + N - 1;
              const real factor = method == "huang3" ? w[row * d + c] : w[row];
              s += 0.3 * bed.query(b, h, i, c) * bed.key(b, h, j, c) * (static_cast<double>(factor) - 1);
            }
            return s;
          })) < rounding);
  }
}

TWIN_CASE("property: axial tables, concatenated and summed, by hand") {
  const Grid g{3, 4, 0};
  const int d = Bed::d;
  for (bool concat : {true, false}) {
    Bed bed(concat ? "shaw_axial" : "axial_sum", {{"max_distance", 2}}, g);
    const Tensor X = bed["attn.position.key_x"], Y = bed["attn.position.key_y"];
    const int width = concat ? d / 2 : d;
    CHECK(farthest(bed.weights(), bed.by_hand([&](int b, int h, int i, int j) {
            const int dx = std::clamp(j % g.w - i % g.w, -2, 2) + 2, dy = std::clamp(j / g.w - i / g.w, -2, 2) + 2;
            double s = 0;
            for (int c = 0; c < width; ++c)
              s += 0.3 * (bed.query(b, h, i, c) * static_cast<double>(X[dx * width + c]) +
                          bed.query(b, h, i, concat ? c + width : c) * static_cast<double>(Y[dy * width + c]));
            return s;
          })) < rounding);
  }
}

TWIN_CASE("property: beyond the last row Shaw clamps, Music Transformer adds nothing") {
  const Grid g{1, 6, 0};
  Bed shaw("shaw", {{"max_distance", 2}}, g), music("music_transformer", {{"max_relative_position", 2}}, g);
  const Index &clamped = shaw.terms().relative[0].rho->at, &cut = music.terms().relative[0].rho->at;
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) {
      const auto at = static_cast<size_t>(6 * i + j);
      CHECK(clamped[at] == std::clamp(j - i, -2, 2) + 2);
      CHECK(cut[at] == (std::abs(j - i) < 2 ? j - i + 1 : -1));
    }
}

TWIN_CASE("property: iRPE on queries is iRPE on keys with queries and keys exchanged") {
  for (const char* method : {"product", "cross", "euclidean", "quant_code", "quant_paper"}) {
    INFO(method);
    const Grid g{3, 4, 1};
    Bed on_k("irpe", {{"method", method}}, g), on_q("irpe", {{"method", method}, {"on", "q"}}, g);
    for (const auto& e : on_k.params.entries()) {
      std::string name = e.name;
      name.replace(name.find("rpe_k"), 5, "rpe_q");
      on_q.set(name, [&](int64_t i) { return e.value[i]; });
    }
    std::swap(on_q.q, on_q.k);
    // scores are transposed; weights are compared through their logarithms up to a constant per row
    const Tensor a = on_k.weights(), b = on_q.weights();
    const int N = g.tokens();
    const auto score = [&](const Tensor& w, int64_t map, int i, int j) {
      return std::log(static_cast<double>(w[(map * N + i) * N + j]));
    };
    double off = 0;
    for (int64_t map = 0; map < 4; ++map)
      for (int i = 1; i < N; ++i)
        for (int j = 1; j < N; ++j) {
          const auto cross = [&](auto s) { return s(i, j) - s(i, 0) - s(0, j) + s(0, 0); };
          off = std::max(off, std::abs(cross([&](int x, int y) { return score(a, map, x, y); }) -
                                       cross([&](int x, int y) { return score(b, map, y, x); })));
        }
    CHECK(off < 10 * rounding);
  }
}

TWIN_CASE("property: stand-alone self-attention is global attention masked to the neighbourhood") {
  const Grid g{4, 5, 0};
  const int d = Bed::d;
  Bed bed("sasa", {{"kernel", 3}, {"scaled", true}}, g);
  const Tensor row = bed["attn.position.rel_h"], col = bed["attn.position.rel_w"];
  const Tensor w = bed.by_hand([&](int b, int h, int i, int j) {
    const int dy = j / g.w - i / g.w, dx = j % g.w - i % g.w;
    if (std::abs(dy) > 1 || std::abs(dx) > 1) return -1e9;
    double s = 0;
    for (int c = 0; c < d / 2; ++c)
      s += 0.3 * (bed.query(b, h, i, c) * static_cast<double>(row[(dy + 1) * d / 2 + c]) +
                  bed.query(b, h, i, d / 2 + c) * static_cast<double>(col[(dx + 1) * d / 2 + c]));
    return s;
  });
  const Tensor out = bed.output();
  double off = 0;
  const int N = g.tokens();
  for (int b = 0; b < 2; ++b)
    for (int h = 0; h < 2; ++h)
      for (int i = 0; i < N; ++i)
        for (int c = 0; c < d; ++c) {
          double o = 0;
          for (int j = 0; j < N; ++j)
            o += static_cast<double>(w[((b * 2 + h) * N + i) * N + j]) * Bed::at(bed.v, b, h, j, c);
          off = std::max(off, std::abs(o - Bed::at(out, b, h, i, c)));
        }
  CHECK(off < rounding);
}

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
  const Rotary one = one_d->terms(half.sites[0], line, {}).rotary;
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
  Pattern causal = everyone(N, N);
  causal.causal = true;
  for (const Variant& v : variants()) {
    const std::string name = v.name;
    if (name == "sasa") continue;  // brings neighbourhoods of its own
    INFO(v.label());
    Bed bed(v.name, v.options, Grid{3, 4, 0});
    bed.who = &causal;
    const Tensor before = bed.output();
    const int token = 5;
    for (Tensor* t : {&bed.q, &bed.k, &bed.v})
      for (int c = 0; c < 16; ++c) (*t)[token * 16 + c] += 1;
    const Tensor after = bed.output();
    for (int n = 0; n < N; ++n) {
      bool same = true;
      for (int c = 0; c < 16; ++c) same = same && before[n * 16 + c] == after[n * 16 + c];
      CHECK(same == (n < token));
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
    if (name == "sasa") continue;
    INFO(v.label());
    Options options = v.options;
    // the default theta differs on purpose: 100, in windows 50
    if (name.ends_with("rope_axial")) options[name == "rope_axial" ? "theta" : "rope_axial.theta"] = 30.0;
    CHECK(farthest(Bed(v.name, options, global).output(), Bed(v.name, options, window).output()) < rounding);
  }
}

TWIN_CASE("property: without labels a shifted window is the plain window of the rolled map") {
  const Grid g{6, 8, 0};
  const Layout shifted{g, g, {3, 4, 1, 2}, 1, false}, straight{g, g, {3, 4, 0, 0}, 1, false};
  Pattern torus = windows(g, shifted.window);
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
    a.who = &torus;
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
      const Tensor same = bed.encoding->resample(e.value, bed.layout, bed.layout);
      CHECK(farthest(same, e.value) < (twin ? 1e-15 : 1e-7));
    }
  }
  Bed levit("levit", {}, Grid{3, 4, 0});
  const Tensor table = levit["attn.attention_biases"];
  const Layout larger{{5, 8, 0}, {5, 8, 0}, {}, 1, false};
  CHECK(same_bits(levit.encoding->resample(table, levit.layout, levit.layout), table));
  // offset 0 stays offset 0, the largest stays the largest
  const Tensor big = levit.encoding->resample(table, levit.layout, larger);
  REQUIRE(big.shape() == Shape{2, 40});
  CHECK(big[0] == table[0]);
  CHECK(std::abs(static_cast<double>(big[39] - table[11])) < (twin ? 1e-15 : 1e-7));
}

TWIN_CASE("property: clipped encodings keep the meaning of an offset on another grid") {
  // the row of one offset, on the trained grid and on larger and smaller ones
  const Grid trained{3, 4, 0};
  const auto row = [](const Pairs& rho, const Grid& g, int dy, int dx) {
    const int iy = dy < 0 ? -dy : 0, ix = dx < 0 ? -dx : 0;
    return rho.at[static_cast<size_t>((iy * g.w + ix) * g.tokens() + (iy + dy) * g.w + ix + dx)];
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
      const Terms was = bed.terms(), is = bed.encoding->terms(bed.places.sites[0], now, {});
      REQUIRE(was.count == is.count);
      for (int t = 0; t < was.count; ++t) {
        const Relative &a = was.relative[static_cast<size_t>(t)], &b = is.relative[static_cast<size_t>(t)];
        CHECK(same_bits(a.table, b.table));
        for (int dy = -std::min(g.h, 3) + 1; dy < std::min(g.h, 3); ++dy)
          for (int dx = -std::min(g.w, 4) + 1; dx < std::min(g.w, 4); ++dx)
            CHECK(row(*a.rho, trained, dy, dx) == row(*b.rho, g, dy, dx));
      }
    }
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
