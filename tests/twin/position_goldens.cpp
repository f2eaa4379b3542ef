// Published formulas against numbers of an independent oracle: the smallest attention that shows an encoding's signs and order.
//   a 2 x 2 grid, d = 4, scale 1/2, no class token; q[i][c] = sin(0.3 (i+1)(c+1)), k = cos(0.2 (i+1)(c+2)), v = ((4i + c) mod 5)/5 - 0.4
//   tables: T(m)[c] = sin(0.1 (m w + c + 1)) for rows of width w; "07": 0.07 instead of 0.1
//   the input of the projections, where an encoding reads it: x[i][c] = cos(0.4 (i+1)(c+1))
#include <cmath>
#include <functional>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/formulas.h"
#include "tessera/nn/position/irpe_index.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Row = std::vector<double>;
const double tolerance = sizeof(real) == 8 ? 1e-6 : 2e-5;  // the numbers have six decimals

void fill(const Tensor& t, const std::function<double(int64_t)>& f) {
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(f(i));
}
const auto T = [](int64_t i) { return std::sin(0.1 * static_cast<double>(i + 1)); };
const auto T07 = [](int64_t i) { return std::sin(0.07 * static_cast<double>(i + 1)); };
/// T of rows of width 4 stored as (4, rows)
auto transposed(int64_t rows) {
  return [rows](int64_t i) { return T(i % rows * 4 + i / rows); };
}

struct Case {
  int heads = 1;
  double scale = 0.5;
  bool cosine = false;
  Params params;
  std::unique_ptr<PositionEncoding> encoding;
  Places places;
  Layout layout{{2, 2, 0}, {2, 2, 0}, {}, 1, false};

  Case(std::string_view name, const Options& options = {}, int H = 1) : heads(H) {
    places.sites = {Site{0, 0, 0, 4 * H, H, 4, scale, layout, "attn"}};
    places.tokens = {Spot{0, 0, 0, 4 * H, layout.q, "pos_embed"}};
    places.between = {Spot{0, 0, 0, 4 * H, layout.q, "pos_block.0"}, Spot{1, 0, 1, 4 * H, layout.q, "pos_block.1"}};
    encoding = position(name, options)(Scope(params), places);
  }
  Case& set(std::string_view parameter, const std::function<double(int64_t)>& f) {
    REQUIRE_MESSAGE(params.find(parameter), parameter);
    fill(params.find(parameter)->value, f);
    return *this;
  }
  Tensor input(double (*f)(int, int)) const {
    Tensor t({1, 4, 4 * heads});
    for (int i = 0; i < 4; ++i)
      for (int c = 0; c < 4 * heads; ++c) t[i * 4 * heads + c] = static_cast<real>(f(i, c % 4));
    return t;
  }
  Tokens tokens() const {
    const Tensor x = input([](int i, int c) { return std::cos(0.4 * (i + 1) * (c + 1)); });
    return {x, x};
  }
  Heads q() const {
    return of(input([](int i, int c) { return std::sin(0.3 * (i + 1) * (c + 1)); }));
  }
  Heads k() const {
    return of(input([](int i, int c) { return std::cos(0.2 * (i + 1) * (c + 2)); }));
  }
  Heads v() const {
    return heads_of(input([](int i, int c) { return (4 * i + c) % 5 / 5.0 - 0.4; }));
  }

  /// Rows 0 and 3 of head 0's logits, up to a constant per row that softmax cannot see.
  Case& logits(const Row& L0, const Row& L3) {
    const Terms where = encoding->terms(places.sites[0], layout, tokens(), {});
    const Tensor w = attention_weights({q(), k(), v(), global_pattern(4, 4), scale}, where);
    for (const auto& [i, L] : {std::pair(0, &L0), std::pair(3, &L3)})
      for (int j = 1; j < 4 && !L->empty(); ++j)
        CHECK(std::abs(std::log(static_cast<double>(w[4 * i + j]) / static_cast<double>(w[4 * i])) -
                       ((*L)[static_cast<size_t>(j)] - (*L)[0])) <= 2 * tolerance);
    return *this;
  }
  /// Rows 0 and 3 of head 0's output.
  Case& outputs(const Row& O0, const Row& O3) {
    const Tensor o =
        encoding->attend(places.sites[0], layout, {q(), k(), v(), global_pattern(4, 4), scale}, tokens(), {});
    for (const auto& [i, O] : {std::pair(0, &O0), std::pair(3, &O3)})
      for (int c = 0; c < 4 && !O->empty(); ++c)
        CHECK(std::abs(static_cast<double>(o[i * 4 * heads + c]) - (*O)[static_cast<size_t>(c)]) <= tolerance);
    return *this;
  }

 private:
  Heads heads_of(const Tensor& t) const { return tessera::heads(t, heads); }
  Heads of(const Tensor& t) const {
    for (int64_t i = 0; cosine && i < t.size(); i += 4) {  // unit length per head
      double norm = 0;
      for (int c = 0; c < 4; ++c) norm += static_cast<double>(t[i + c]) * static_cast<double>(t[i + c]);
      for (int c = 0; c < 4; ++c) t[i + c] = static_cast<real>(static_cast<double>(t[i + c]) / std::sqrt(norm));
    }
    return heads_of(t);
  }
};

TWIN_CASE("golden attention: plain") {
  Case("none")
      .logits({0.893772, -0.000122, -0.760768, -0.908103}, {0.284706, 0.660795, 0.748386, 0.283803})
      .outputs({-0.112246, -0.143978, -0.052281, 0.054253}, {0.099218, 0.010535, -0.104575, -0.102589});
}

TWIN_CASE("golden attention: Shaw") {
  Case("shaw", {{"max_distance", 1}})
      .set("attn.position.key", T)
      .logits({1.710641, 1.136589, 0.375943, 0.228609}, {0.138978, 0.515067, 0.602658, 0.198080})
      .outputs({-0.059434, -0.133696, -0.061876, 0.027503}, {0.098018, 0.012827, -0.098471, -0.106187});
  Case("shaw_kv", {{"max_distance", 1}})
      .set("attn.position.key", T)
      .set("attn.position.value", T07)
      .outputs({0.409804, 0.395382, 0.524450, 0.668206}, {0.224658, 0.208083, 0.164445, 0.223101});
  // the Conformer's table of 7 rows, then a longer one of which only the middle can be reached
  for (int K : {3, 9}) {
    Case("conformer_shaw", {{"max_distance", K}})
        .set("attn.position.key", [K](int64_t i) { return T(i - 4 * (K - 3)); })
        .logits({2.170864, 1.136589, 0.056101, -0.540042}, {0.476293, 0.834691, 0.877137, 0.347081})
        .outputs({-0.151478, -0.181920, -0.060138, 0.096768}, {0.098072, 0.000120, -0.110751, -0.093721});
  }
  Case("shaw_axial", {{"max_distance", 1}})
      .set("attn.position.key_x", T)
      .set("attn.position.key_y", T07)
      .logits({1.257812, 0.440562, -0.282836, -0.353527}, {0.313348, 0.845052, 0.678236, 0.369268})
      .outputs({-0.097275, -0.135293, -0.050756, 0.041662}, {0.109392, -0.017903, -0.094910, -0.098290});
}

TWIN_CASE("golden attention: Transformer-XL") {
  Case("transformer_xl")
      .set("attn.linear_pos.weight", [](int64_t i) { return i % 5 == 0; })
      .set("attn.pos_bias_u", [](int64_t i) { return 0.1 * static_cast<double>(i + 1); })
      .set("attn.pos_bias_v", [](int64_t i) { return -0.05 * static_cast<double>(i + 1); })
      .logits({1.917608, 0.414813, -0.956082, -1.235707}, {0.392208, 0.576354, 0.051036, -0.966212})
      .outputs({-0.226751, -0.195100, -0.037840, 0.129846}, {0.070363, -0.108854, -0.133111, -0.014199});
}

TWIN_CASE("golden attention: Huang 1 to 4") {
  Case("huang1")
      .set("attn.position.weight", [](int64_t m) { return 1 + 0.1 * static_cast<double>(m); })
      .logits({0.893772, -0.000134, -0.912922, -1.180534}, {0.370118, 0.792954, 0.823225, 0.283803})
      .outputs({-0.119807, -0.160584, -0.057232, 0.068811}, {0.104679, 0.000443, -0.113143, -0.095990});
  Case("huang2")
      .set("attn.position.weight", [](int64_t m) { return 1 + 0.1 * static_cast<double>(m - 3); })
      .logits({}, {0.199294, 0.528636, 0.673548, 0.283803})
      .outputs({}, {0.093880, 0.020519, -0.095469, -0.109465});
  Case("huang3")
      .set("attn.position.weight", T)
      .logits({0.884631, 0.014549, -0.532638, -0.379045}, {-0.052125, 0.377612, 0.672700, 0.287230})
      .outputs({-0.094633, -0.110136, -0.034821, 0.019795}, {0.104511, 0.048593, -0.095167, -0.128969});
  Case("huang4")
      .set("attn.position.distance_embedding", T)
      .logits({3.638792, 1.534600, -0.342861, -0.872244}, {0.475086, 0.685714, -0.007409, -0.854898})
      .outputs({-0.301750, -0.207643, -0.023842, 0.166617}, {0.069710, -0.126433, -0.124510, -0.009384});
}

TWIN_CASE("golden attention: stand-alone self-attention") {
  Case("sasa", {{"kernel", 3}})
      .set("attn.position.rel_h", T)
      .set("attn.position.rel_w", T07)
      .outputs({-0.237837, -0.200406, -0.033367, 0.135805}, {0.134966, 0.096778, -0.175261, -0.128241});
  Case("sasa", {{"kernel", 3}, {"zero_pad", true}})
      .set("attn.position.rel_h", T)
      .set("attn.position.rel_w", T07)
      .outputs({-0.152885, -0.128824, -0.021449, 0.087297}, {0.091376, 0.065521, -0.118657, -0.086823});
}

TWIN_CASE("golden attention: iRPE") {
  Case("irpe")
      .set("attn.rpe_k.lookup_table_weight", transposed(49))
      .logits({0.317427, -0.085412, 0.165559, -0.399530}, {0.171771, 0.496453, 0.802905, 0.405587})
      .outputs({0.012994, -0.008648, -0.093519, -0.055414}, {0.095786, 0.045441, -0.094676, -0.123276});
  Case("irpe", {{"on", "q"}})
      .set("attn.rpe_q.lookup_table_weight", transposed(49))
      .logits({0.311032, -0.161213, -0.940322, -1.515198}, {0.786854, 0.805544, 0.882119, 0.829066})
      .outputs({-0.045074, -0.146223, -0.084395, 0.037846}, {0.054671, 0.009865, -0.054424, -0.105056});
  Case("irpe", {{"on", "v"}})
      .set("attn.rpe_v.lookup_table_weight", T)
      .outputs({-0.154605, -0.245574, -0.212100, -0.162192}, {-0.105803, -0.189590, -0.297804, -0.286991});
  Case("irpe", {{"method", "cross"}})
      .set("attn.rpe_k.rp_rows.lookup_table_weight", transposed(7))
      .set("attn.rpe_k.rp_cols.lookup_table_weight", [](int64_t i) { return T07(i % 7 * 4 + i / 7); })
      .logits({3.281190, 2.165567, 1.486270, 1.117206}, {0.461934, 0.797704, 0.860142, 0.355240})
      .outputs({-0.146506, -0.150216, -0.053491, 0.075107}, {0.095559, 0.003304, -0.107781, -0.095541});
  Case("irpe", {{"mode", "bias"}})
      .set("attn.rpe_k.lookup_table_bias", [](int64_t id) { return 0.02 * static_cast<double>(id - 24); })
      .logits({0.893772, -0.020122, -0.900768, -1.068103}, {0.444706, 0.800795, 0.768386, 0.283803})
      .outputs({-0.120846, -0.155633, -0.052956, 0.064717}, {0.096010, -0.010284, -0.106811, -0.089458});
}

TWIN_CASE("golden attention: Swin's tables") {
  Case("relative_position_bias")
      .set("attn.relative_position_bias_table", [](int64_t id) { return 0.1 * static_cast<double>(id) - 0.4; })
      .logits({0.893772, -0.100122, -1.060768, -1.308103}, {0.684706, 0.960795, 0.848386, 0.283803})
      .outputs({-0.137837, -0.165982, -0.053281, 0.078550}, {0.087085, -0.029314, -0.112073, -0.072849});
  Case v2("log_cpb", {{"hidden", 3}});
  v2.scale = 10, v2.cosine = true;
  v2.set("attn.cpb_mlp.0.weight", [](int64_t i) { return (i % 2 ? -0.25 : 0.5) * static_cast<double>(i / 2 + 1); })
      .set("attn.cpb_mlp.0.bias", [](int64_t r) { return 0.1 * static_cast<double>(r); })
      .set("attn.cpb_mlp.2.weight", [](int64_t r) { return r == 0   ? 0.3
                                                           : r == 1 ? -0.2
                                                                    : 0.1; })
      .logits({16.564327, 8.209279, -0.475070, -1.419991}, {10.576162, 17.797345, 15.227089, 10.551987})
      .outputs({-0.399812, -0.200047, -0.000047, 0.199953}, {0.384996, -0.342682, -0.213664, -0.014326});
}

TWIN_CASE("golden attention: rotary") {
  Case("rope").logits({0.893772, 0.027490, -0.621173, -0.476986}, {-1.106765, -0.031206, 0.512443, 0.283803});
  Case("rope_axial")
      .logits({0.893772, 0.025986, -0.378806, -0.581952}, {0.407128, 0.627782, 0.513959, 0.283803})
      .outputs({-0.091271, -0.108984, -0.054223, 0.027239}, {0.075715, -0.018113, -0.080329, -0.088637});
  Case("rope_mixed")
      .set("attn.position.freqs",
           [](int64_t i) {
             return std::array{0.8, -0.3, 0.2, 0.7}[static_cast<size_t>(i)];
           })
      .logits({0.893772, 0.005347, -0.528743, -0.752233}, {0.143136, 0.638371, 0.571195, 0.283803});
}

TWIN_CASE("golden attention: biases by formula") {
  // four heads: the first has slope 0.25
  Case("alibi", {}, 4).logits({}, {-0.465294, 0.160795, 0.498386, 0.283803});
  Case("alibi_2d", {}, 4).logits({}, {-0.068848, 0.410795, 0.498386, 0.283803});
  Case("kerple_log")
      .set("attn.position.r1", [](int64_t) { return 0.5; })
      .set("attn.position.r2", [](int64_t) { return 0.7; })
      .logits({}, {-0.280995, 0.223060, 0.483072, 0.283803});
  Case("gpsa")
      .set("attn.pos_proj.weight",
           [](int64_t i) {
             return std::array{0.4, -0.2, -1.0}[static_cast<size_t>(i)];
           })
      .set("attn.pos_proj.bias", [](int64_t) { return 0.1; })
      .outputs({-0.073804, -0.135209, -0.073596, 0.041305}, {0.101431, 0.041980, 0.057453, -0.200432});
}

/// The numbers one after the other.
auto listed(Row numbers) {
  return [numbers = std::move(numbers)](int64_t i) { return numbers.at(static_cast<size_t>(i)); };
}

TWIN_CASE("golden attention: terms that the tokens choose") {
  const Row two{0.5, -1, 0.25, 0.75, -0.5, 0.25, 1, 0.5}, one{0.5, -1, 0.25, 0.75};
  Row ab = two;
  ab.insert(ab.end(), {0.1, 0.2, -0.3, 0.4, -0.2, 0.1, 0.3, -0.1});
  Case("pape", {{"parabolas", 2}})
      .set("attn.position.parabolas.weight", listed({0.8, -0.3, 0.2, 0.7}))
      .set("attn.position.ab.weight", listed(ab))
      .logits({0.893772, -0.254871, -0.948128, -1.304519}, {-0.344746, 0.274778, 0.170004, 0.283803})
      .outputs({-0.152196, -0.152039, -0.051950, 0.078093}, {0.105814, 0.015774, -0.045416, -0.138086});
  for (const bool frozen : {false, true})
    Case("pape_ri", {{"frozen", frozen}})
        .set("attn.position.a.weight", listed(one))
        .set("attn.position.position_scales", listed({0.6}))
        .logits({}, {-0.403115, 0.316884, 0.404475, 0.283803});
  Case("content_alibi", {{"slope_bias", false}})
      .set("attn.position.slope.weight", listed(one))
      .logits({}, {-2.417311, -1.249820, -1.162229, 0.283803});
  Case forget("forget", {{"mirror", false}});  // the circulated form
  forget.set("attn.position.forget.weight", listed(two))
      .logits({}, {-1.268116, 0.116967, 0.588230, 0.283803})
      .outputs({}, {0.153768, 0.105868, -0.091273, -0.184182});
  forget.scale = 0;  // the bias alone
  forget.logits({0, -1.777411, -3.254969, -3.788716}, {-1.552822, -0.543828, -0.160156, 0});
  Case("forget_profiles", {{"gates", "half"}})
      .set("attn.position.forget.weight", listed(two))
      .logits({0.893772, -0.584697, -1.766421, -2.498331}, {-1.305522, -0.344858, 0.163811, 0.283803});
}

TWIN_CASE("golden tables: slopes, buckets, indices, coordinates") {
  const auto close = [](const Row& got, const Row& want) {
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1e-6);
  };
  close(alibi_slopes(3), {0.0625, 0.00390625, 0.25});
  close(alibi_slopes(4), {0.25, 0.0625, 0.015625, 0.00390625});
  close(alibi_slopes(6), {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125});
  const Row twelve = alibi_slopes(12);
  close({twelve.begin() + 7, twelve.end()}, {0.00390625, 0.70710678, 0.35355339, 0.1767767, 0.08838835});

  const std::vector<int> relative{-128, -20, -8, -1, 0, 1, 8, 20, 128}, bucket{15, 10, 8, 1, 0, 17, 24, 26, 31};
  for (size_t i = 0; i < relative.size(); ++i) CHECK(t5_bucket(relative[i], 32, 128) == bucket[i]);
  const std::vector<int> past{-128, -40, -20, -16, -15, -8, -1, 0, 5}, of_decoder{31, 23, 17, 16, 15, 8, 1, 0, 0};
  for (size_t i = 0; i < past.size(); ++i) CHECK(t5_bucket(past[i], 32, 128, true) == of_decoder[i]);

  const auto g = [](double alpha, const std::vector<int>& want) {
    for (size_t x = 0; x < want.size(); ++x) {
      CHECK(irpe_piecewise(static_cast<double>(x), alpha) == want[x]);
      CHECK(irpe_piecewise(-static_cast<double>(x), alpha) == -want[x]);
    }
  };
  g(1, {0, 1, 1, 2, 2});
  g(1.9, {0, 1, 2, 2, 3, 3, 3});
  g(2, {0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4});
  g(3, {0, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5});
  const Layout grid{{4, 4, 0}, {4, 4, 0}, {}, 1, false}, small{{2, 2, 0}, {2, 2, 0}, {}, 1, false};
  CHECK(irpe_pairs(small, IrpeMethod::product, 1.9, false)->at ==
        Index{24, 23, 17, 16, 25, 24, 18, 17, 31, 30, 24, 23, 32, 31, 25, 24});
  const auto bucket_of = [&](IrpeMethod m, int dy, int dx) {
    return irpe_pairs(grid, m, 1.9, false)->at[static_cast<size_t>((4 * dy + dx) * 16)] - 3;
  };
  CHECK(bucket_of(IrpeMethod::euclidean, 0, 2) == 2);
  CHECK(bucket_of(IrpeMethod::euclidean, 1, 1) == 1);
  CHECK(bucket_of(IrpeMethod::euclidean, 2, 3) == 3);
  CHECK(bucket_of(IrpeMethod::euclidean, 3, 3) == 3);
  CHECK(bucket_of(IrpeMethod::quant_code, 0, 2) == 3);
  CHECK(bucket_of(IrpeMethod::quant_code, 1, 1) == 2);
  CHECK(bucket_of(IrpeMethod::quant_code, 1, 2) == 3);
  // distances 0, 1, 1.41, 2, 2.24 have ranks 0, 1, 2, 3, 4
  CHECK(bucket_of(IrpeMethod::quant_paper, 0, 1) == 1);
  CHECK(bucket_of(IrpeMethod::quant_paper, 1, 1) == 2);
  CHECK(bucket_of(IrpeMethod::quant_paper, 0, 2) == irpe_piecewise(3, 1.9));

  const auto coordinates = [](int M, int unit) {
    Row r;
    for (int d = 0; d < M; ++d) r.push_back(cpb_coordinate(d, unit));
    return r;
  };
  close(coordinates(2, 2), {0, 1.056642});
  close({-cpb_coordinate(3, 4), cpb_coordinate(-2, 4), cpb_coordinate(-1, 4)}, {-1.056642, -0.887655, -0.624823});
  close(coordinates(8, 8), {0, 0.366512, 0.572069, 0.715614, 0.826016, 0.915745, 0.991335, 1.056642});
  close(coordinates(8, 4), {0, 0.624823, 0.887655, 1.056642, 1.18144, 1.280434, 1.362488, 1.43256});
  CHECK(cpb_coordinate(0, 1) == 0);
}

TWIN_CASE("golden tables: factorised, on its own grid and on a larger one") {
  Case two("factorised");
  two.set("pos_embed_y", T).set("pos_embed_x", T07);
  const auto row = [&](const Grid& now, int y, int x) {
    const Tensor t = two.encoding->tokens(two.places.tokens[0], now, zeros({1, now.tokens(), 4}), {});
    Row r;
    for (int c = 0; c < 4; ++c) r.push_back(static_cast<double>(t[int64_t{now.prefix + y * now.w + x} * 4 + c]));
    return r;
  };
  const auto close = [](const Row& got, const Row& want) {
    for (size_t i = 0; i < 4; ++i) CHECK(std::abs(got[i] - want[i]) <= tolerance);
  };
  for (const int prefix : {0, 3}) {  // class tokens have no position
    close(row({2, 2, prefix}, 0, 1), {0.442731, 0.606430, 0.766146, 0.920605});
    close(row({2, 2, prefix}, 1, 1), {0.822323, 0.972403, 1.114844, 1.248542});
    close(row({3, 3, prefix}, 0, 1), {0.306254, 0.472321, 0.635063, 0.793189});
    close(row({3, 3, prefix}, 1, 1), {0.496050, 0.655308, 0.809412, 0.957158});
  }
  // timm's aspect preserving form: both tables as long as the longer side, then cut
  const auto aspect = [&](int trained, const Grid& now) {
    Params params;
    Places at;
    at.tokens = {Spot{0, 0, 0, 4, {trained, trained, 0}, "pos_embed"}};
    const auto encoding = position("factorised", {{"aspect", true}})(Scope(params), at);
    fill(params.find("pos_embed_y")->value, T), fill(params.find("pos_embed_x")->value, T07);
    const Tensor t = encoding->tokens(at.tokens[0], now, zeros({1, now.tokens(), 4}), {});
    std::vector<Row> rows;
    for (const int i : {1, now.tokens() - 1}) {
      rows.emplace_back();
      for (int c = 0; c < 4; ++c) rows.back().push_back(static_cast<double>(t[int64_t{i} * 4 + c]));
    }
    return rows;
  };
  const auto larger = aspect(3, {5, 4, 0}), smaller = aspect(4, {2, 3, 0});
  close(larger[0], {0.278958, 0.445499, 0.608847, 0.767706});
  close(larger[1], {1.273973, 1.391106, 1.497139, 1.591299});
  close(smaller[0], {0.629120, 0.785654, 0.937017, 1.081989});
  close(smaller[1], {1.387487, 1.502507, 1.606588, 1.698889});
}

TWIN_CASE("golden tables: Swin's relative position index") {
  const auto index = [](int h, int w) {
    Params params;
    const Layout window{{8, 8, 0}, {8, 8, 0}, {h, w, 0, 0}, 1, false};
    Places at;
    at.sites = {Site{0, 0, 0, 4, 1, 4, 0.5, window, "attn"}};
    const auto e = position("relative_position_bias")(Scope(params), at);
    return e->terms(at.sites[0], window, {}, {}).relative[0].rho->at;
  };
  CHECK(index(2, 2) == Index{4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4});
  CHECK(index(2, 3) == Index{7,  6,  5,  2, 1, 0, 8,  7,  6,  3, 2, 1, 9,  8,  7,  4, 3, 2,
                             12, 11, 10, 7, 6, 5, 13, 12, 11, 8, 7, 6, 14, 13, 12, 9, 8, 7});
  const Index at = index(3, 4);
  std::vector<char> seen(5 * 7);
  for (int i = 0; i < 12; ++i)
    for (int j = 0; j < 12; ++j) {
      CHECK(at[static_cast<size_t>(12 * i + j)] + at[static_cast<size_t>(12 * j + i)] == 5 * 7 - 1);
      seen[static_cast<size_t>(at[static_cast<size_t>(12 * i + j)])] = 1;
    }
  CHECK(std::count(seen.begin(), seen.end(), 1) == 5 * 7);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
