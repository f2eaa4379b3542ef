// What must hold exactly: encodings that vanish, and encodings that equal each other or a formula written out by hand. No golden numbers
// here.
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

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

/// Entry c of head h of W R_distance: Transformer-XL's sinusoids, first all sines, then all cosines.
double projected_sinusoid(const Tensor& W, int64_t h, int64_t c, int64_t distance) {
  const int C = Bed::H * Bed::d;
  double sum = 0;
  for (int t = 0; t < C / 2; ++t) {
    const double a = static_cast<double>(distance) * std::pow(1e4, -2.0 * t / C);
    sum += static_cast<double>(W[(h * Bed::d + c) * C + t]) * std::sin(a) +
           static_cast<double>(W[(h * Bed::d + c) * C + C / 2 + t]) * std::cos(a);
  }
  return sum;
}

TWIN_CASE("property: Transformer-XL without u and v is a table per head; its learned form likewise") {
  const Grid g{2, 3, 1};
  const int N = 6, R = 2 * N - 1, d = Bed::d;
  Bed xl("transformer_xl", {}, g);
  xl.set("attn.pos_bias_u", [](int64_t) { return 0; }).set("attn.pos_bias_v", [](int64_t) { return 0; });
  const Tensor W = xl["attn.linear_pos.weight"];
  // T[h, offset j - i] = W_h R_{i-j}
  const auto T = [&](int64_t i) { return projected_sinusoid(W, i / (R * d), i % d, N - 1 - i / d % R); };
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
  const int d = Bed::d;
  const auto extra = [&](int b, int h, int i, int j) {
    double s = 0;
    for (int c = 0; c < d; ++c) {
      const double r =
          projected_sinusoid(Wy, h, c, i / g.w - j / g.w) + projected_sinusoid(Wx, h, c, i % g.w - j % g.w);
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
  for (const Grid g : {Grid{4, 5, 0}, Grid{9, 9, 0}}) {  // small maps run as a mask, others by neighbourhoods
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
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
