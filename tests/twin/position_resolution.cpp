// Every encoding at another resolution: what its row says is what it does, weights of one geometry load into a model of another, and then
// answer as the trained model does when it is called there.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tessera/models/weights_metadata.h"
#include "tessera/nn/position_weights.h"
#include "tessera/nn/windows.h"
#include "tests/error_of.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr double rounding = sizeof(real) == 8 ? 1e-13 : 1e-5;
const Bench& bench(int i) { return benches()[static_cast<size_t>(i)]; }

/// A temporary file, removed at the end.
struct Scratch {
  std::string path = (std::filesystem::temp_directory_path() /
                      fmt::format("tessera_resolution_{}_{}.safetensors", TESSERA_STRING(TESSERA_NS), getpid()))
                         .string();
  ~Scratch() { std::filesystem::remove(path); }
};

Options built(const Bench& b, const Options& changes) {
  Options all = b.options;
  for (const auto& [key, value] : changes) all.insert_or_assign(key, value);
  return all;
}
Options grid(int h, int w) { return {{"img_size", h}, {"img_width", w}}; }

/// An encoding in a model's places, without the model.
struct Alone {
  Options options;
  Params params{1};
  PositionTables tables;
  std::unique_ptr<PositionEncoding> encoding;

  Alone(const Bench& b, const Variant& v, const Options& changes) : options(built(b, changes)) {
    const Places at = model(b.family).places(options);
    encoding = remember_tables(position(v.name, v.options), tables)(Scope(params), at);
    redraw(params);
  }
  /// Takes the weights of another through a file, with its geometry in the metadata or without. Returns what was told.
  std::vector<std::string> take(const Alone& other, const Bench& b, bool says_geometry) {
    const Scratch file;
    const ModelRow& row = model(b.family);
    io::save(other.params, file.path, says_geometry ? weights_metadata(row, other.options) : io::Metadata());
    std::vector<std::string> told;
    const auto from = places_of(io::TensorFile(file.path).metadata(), row, options);
    CHECK(from.has_value() == says_geometry);
    io::load(params, file.path, io::resampling(tables, from, [&](const std::string& line) { told.push_back(line); }));
    return told;
  }
  /// What it does in all places of a model for `now`: tokens, gaps between blocks, attentions.
  std::vector<Tensor> answers(const Places& now) const {
    const auto random = [](const std::string& what, int tokens, int dim) {
      Tensor t({2, tokens, dim});
      for (int64_t i = 0; i < t.size(); ++i) t[i] = rounded(normal_at(what, i));
      return t;
    };
    const Places& at = tables.places;
    std::vector<Tensor> all;
    for (size_t i = 0; i < at.tokens.size(); ++i) {
      const Grid& g = now.tokens[i].trained;
      all.push_back(encoding->tokens(at.tokens[i], g, random("tokens", g.tokens(), at.tokens[i].dim), {}));
    }
    for (size_t i = 0; i < at.between.size(); ++i) {
      const Grid& g = now.between[i].trained;
      all.push_back(encoding->between(at.between[i], g, random("between", g.tokens(), at.between[i].dim), {}));
    }
    for (size_t i = 0; i < at.sites.size(); ++i) {
      const Site& s = at.sites[i];
      const Layout& l = now.sites[i].trained;
      const Pattern who = l.window.h ? windows(l.q, l.window) : global_pattern(l.q.tokens(), l.k.tokens());
      const Tensor x = random("x", l.q.tokens(), s.dim);
      const Tensor qkv = random("qkv", l.q.tokens(), 3 * s.heads * s.head_dim);
      all.push_back(encoding->attend(
          s, l, {heads(qkv, s.heads, 0, 3), heads(qkv, s.heads, 1, 3), heads(qkv, s.heads, 2, 3), who, s.scale}, {x, x},
          {}));
    }
    return all;
  }
};

double apart(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].shape() == b[i].shape());
    most = std::max(most, farthest(a[i], b[i]));
  }
  return most;
}

/// f(variant, bench, from, to) for geometries of which neither is refused.
template <class F>
void moves(F f) {
  static const std::vector<std::pair<Options, Options>> vit{{grid(6, 8), grid(10, 6)},  {grid(6, 8), grid(12, 12)},
                                                            {grid(6, 8), grid(4, 6)},   {grid(6, 8), grid(8, 6)},
                                                            {grid(12, 12), grid(6, 8)}, {grid(8, 8), grid(6, 10)}},
      swin{{{}, grid(8, 14)},
           {{}, grid(16, 16)},
           {{}, {{"window_size", 2}}},
           {{}, {{"window_size", 5}}},
           {{{"window_size", 4}}, {{"img_size", 16}, {"img_width", 10}, {"window_size", 3}}}};
  for (const Variant& v : variants())
    for (const Bench& b : benches())
      for (const auto& pair : b.family == std::string_view("swin") ? swin : vit) {
        const auto &from = pair.first, &to = pair.second;  // no structured binding: CAPTURE is a lambda (clang < 16)
        const std::string where = std::string(b.title) + ": " + v.label();
        CAPTURE(where);
        if (!refusal(b, v.name, v.options, from).empty() || !refusal(b, v.name, v.options, to).empty()) continue;
        CAPTURE(text(built(b, to)["img_size"]));
        f(v, b, from, to);
      }
}

const PositionRow* row_of(std::string_view name) {
  for (const auto& row : positions())
    if (name == row.name) return &row;
  return nullptr;  // a composition
}

TWIN_CASE("resolution: loaded into another geometry, weights answer as the trained model called there") {
  std::map<std::string, bool> differs;  // options with a unit of length of the trained geometry
  moves([&](const Variant& v, const Bench& b, const Options& from, const Options& to) {
    const Alone trained(b, v, from);
    Alone moved(b, v, to);
    const auto told = moved.take(trained, b, true);
    const double off = apart(trained.answers(moved.tables.places), moved.answers(moved.tables.places));
    const std::string unit = moved.encoding->unit_warning(trained.tables.places, moved.tables.places);
    if (unit.empty()) CHECK(off <= rounding);
    CHECK(unit.find('\n') == std::string::npos);
    if (!unit.empty() && row_of(v.name))
      CHECK_MESSAGE(unit.starts_with(v.name), unit);  // what was typed, not its family
    if (v.size == Variant::as_row) CHECK(unit.empty());
    if (v.size != Variant::as_row) differs[v.label()] = differs[v.label()] || (!unit.empty() && off > 1e-7);
    const PositionRow* row = row_of(v.name);
    if (row && row->resolution == std::string_view("recompute")) CHECK(told.empty());
    for (const auto& line : told) CHECK(line.find(" resampled from (") != std::string::npos);
  });
  const auto has_unit = [](const Variant& v) { return v.size != Variant::as_row; };
  CHECK(differs.size() == static_cast<size_t>(std::ranges::count_if(variants(), has_unit)));
  for (const auto& pair : differs) CHECK_MESSAGE(pair.second, pair.first);
}

TWIN_CASE("resolution: options that exclude each other are refused by the name that was typed") {
  int asked = 0;
  for (const PositionRow& row : positions()) {
    Options both;
    if (row.defaults.contains("rescale") && row.defaults.contains("scaling"))
      both = {{"rescale", true}, {"scaling", "interpolate"}};
    else if (row.defaults.contains("beta_fast"))
      both = {{"scaling", "yarn"}, {"beta_fast", 0.5}, {"beta_slow", 1.0}};
    else if (row.defaults.contains("num_buckets"))
      both = {{"max_distance", 4}};
    else
      continue;
    if (row.name == std::string_view("spiral")) both = {{"rescale", false}, {"scaling", "none"}};  // it interpolates
    if (row.name == std::string_view("rope_dinov3")) both = {{"theta", 3.0}, {"min_period", 1.0}, {"max_period", 2.0}};
    const std::string why = test::error_of([&] { position(row.name, both); });
    CHECK_MESSAGE(why.find(fmt::format("position {}]", row.name)) != std::string::npos, why);
    ++asked;
  }
  CHECK((asked >= 12 || !walked_alone().empty()));
}

TWIN_CASE("resolution: to the same geometry nothing changes, bit for bit") {
  for (const Variant& v : variants())
    for (const Bench& b : benches()) {
      if (!refusal(b, v.name, v.options).empty()) continue;
      CAPTURE(v.label());
      const Alone trained(b, v, {});
      Alone again(b, v, {});
      for (const auto& e : again.params.entries()) std::ranges::fill(e.value.values(), real(7));
      CHECK(again.take(trained, b, true).empty());
      CHECK(again.encoding->unit_warning(trained.tables.places, again.tables.places).empty());
      for (const auto& e : trained.params.entries()) CHECK(same_bits(again.params.find(e.name)->value, e.value));
      CHECK(apart(trained.answers(again.tables.places), again.answers(again.tables.places)) == 0);
    }
}

TWIN_CASE("resolution: a file that says nothing is taken for a square") {
  for (const Variant& v : variants())
    for (const Bench& b : benches()) {
      const bool swin = b.family == std::string_view("swin");
      const Options from = swin ? Options{{"img_size", 16}, {"img_width", 16}} : grid(8, 8),
                    to = swin ? Options{{"img_size", 10}, {"img_width", 12}, {"window_size", 2}} : grid(6, 10);
      if (!refusal(b, v.name, v.options, from).empty() || !refusal(b, v.name, v.options, to).empty()) continue;
      CAPTURE(v.label());
      const Alone trained(b, v, from);
      Alone knows(b, v, to), infers(b, v, to);
      CHECK(knows.take(trained, b, true) == infers.take(trained, b, false));
      for (const auto& e : knows.params.entries()) CHECK(same_bits(infers.params.find(e.name)->value, e.value));
    }
}

/// What happens to an encoding on larger and larger grids, seen from outside.
std::string observed_rule(const char* name) {
  const Bench& b = bench(1);
  const Variant v{name, {}};
  const Alone trained(b, v, {});
  const auto places = [&](int side) { return model(b.family).places(built(b, grid(side, side))); };
  // new values in a table: none of the old ones, and not zero
  const Places &was = trained.tables.places, is = places(20);
  const Layout from = was.sites[0].trained, to = is.sites[0].trained;
  for (const auto& e : trained.params.entries()) {
    const Tensor t = trained.encoding->resample(e.name, e.value, from, to);
    for (const real x : t.values())
      if (x != 0 && std::ranges::find(e.value.values(), x) == e.value.values().end()) return "interpolate";
  }
  if (std::ranges::find(row_of(name)->hooks, "mix") != row_of(name)->hooks.end()) return "recompute";
  // relative tables that stop growing
  const Site& site = was.sites[0];
  const auto terms = [&](int side_of_image) {
    const Layout now = places(side_of_image).sites[0].trained;
    const Tensor tokens = zeros({1, now.q.tokens(), site.dim});
    return trained.encoding->terms(site, now, {tokens, tokens}, {});
  };
  const Terms large = terms(60), larger = terms(68);
  REQUIRE(large.count == larger.count);
  bool relative = false, grows = false;
  for (int i = 0; i < large.count; ++i) {
    if (large.relative[static_cast<size_t>(i)].side)
      continue;  // its rows are what the tokens choose from, not what was trained
    const int rows = large.relative[static_cast<size_t>(i)].table.dim(1);
    relative = relative || rows > 1;
    grows = grows || larger.relative[static_cast<size_t>(i)].table.dim(1) > rows;
  }
  return relative && !grows ? "clip" : "recompute";
}

TWIN_CASE("resolution: the registry's word is what is seen") {
  for (const auto& row : positions()) {
    INFO(row.name);
    CHECK(fixed_size(row) == "");
    CHECK(fixed_size(row.name) == "");
    CHECK(observed_rule(row.name) == row.resolution);
  }
  PositionRow fixed = positions()[0];
  fixed.name = "welded", fixed.resolution = "none";
  CHECK(fixed_size(fixed) == "welded has no rule for another resolution: the model runs at the size it is built for");
  CHECK(fixed_size("learned+rope_axial") == "");
  CHECK_THROWS_AS(fixed_size("learned+rope_axal"), Error);
}

TWIN_CASE("resolution: tables of offsets keep, repeat or leave out rows") {
  const Bench& b = bench(1);  // 3 x 4 cells
  const auto taken = [&](const Variant& v, const Options& to, const char* name) {
    const Alone trained(b, v, {});
    Alone other(b, v, to);
    other.take(trained, b, true);
    return std::pair(trained.params.find(name)->value, other.params.find(name)->value);
  };
  {  // rows -2..2 become -4..4, columns -3..3 become -1..1
    const auto [was, is] =
        taken({"transformer_xl_learned", {{"axial", true}}}, grid(10, 4), "blocks.0.attn.position.r_bias_y");
    REQUIRE(is.shape() == Shape{9, 2});
    for (int o = -4; o <= 4; ++o)
      for (int h = 0; h < 2; ++h) CHECK(is[2 * (o + 4) + h] == was[2 * (std::clamp(o, -2, 2) + 2) + h]);
    const auto [wide, narrow] =
        taken({"transformer_xl_learned", {{"axial", true}}}, grid(10, 4), "blocks.0.attn.position.r_bias_x");
    REQUIRE(narrow.shape() == Shape{3, 2});
    for (int o = -1; o <= 1; ++o) CHECK(narrow[2 * (o + 1)] == wide[2 * (o + 3)]);
  }
  {
    const auto [was, is] = taken({"music_transformer_2d", {}}, grid(10, 8), "blocks.0.attn.position.key_relative_h");
    REQUIRE(is.shape() == Shape{2, 9, 8});
    for (int h = 0; h < 2; ++h)
      for (int o = -4; o <= 4; ++o)
        CHECK(is[(h * 9 + o + 4) * 8] == (std::abs(o) > 2 ? real(0) : was[(h * 5 + o + 2) * 8]));
  }
  {
    const auto [was, is] = taken({"huang1", {{"index", "product"}}}, grid(4, 12), "blocks.0.attn.position.weight");
    REQUIRE(is.shape() == Shape{2 * 6, 1});
    for (int y = 0; y < 2; ++y)
      for (int x = 0; x < 6; ++x) CHECK(is[6 * y + x] == was[4 * y + std::min(x, 3)]);
  }
  {  // Swin's table, its three class rows behind it
    const Bench& token = bench(0);
    const Variant crop{"relative_position_bias", {{"resize", "crop"}}};
    const Alone trained(token, crop, {});
    Alone small(token, crop, grid(4, 6)), large(token, crop, grid(8, 8));
    small.take(trained, token, true);
    const Tensor was = trained.params.find("blocks.0.attn.relative_position_bias_table")->value,
                 is = small.params.find("blocks.0.attn.relative_position_bias_table")->value;
    REQUIRE(was.shape() == Shape{5 * 7 + 3, 2});
    REQUIRE(is.shape() == Shape{3 * 5 + 3, 2});
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 5; ++x) CHECK(is[2 * (5 * y + x)] == was[2 * (7 * (y + 1) + x + 1)]);
    for (int i = 0; i < 3; ++i) CHECK(is[2 * (15 + i) + 1] == was[2 * (35 + i) + 1]);
    CHECK(apart(trained.answers(small.tables.places), small.answers(small.tables.places)) <= rounding);
    CHECK_THROWS_WITH_AS(large.take(trained, token, true), doctest::Contains("cannot enlarge a 3x4 table to 4x4"),
                         Error);
  }
}

TWIN_CASE("resolution: what cannot be brought to another geometry is one clear error") {
  const auto error = [](int where, const Variant& from, const Options& made, const Variant& to, const Options& now,
                        bool says) {
    const Bench& b = bench(where);
    const Alone trained(b, from, made);
    Alone other(b, to, now);
    const Tensor before = other.params.entries()[0].value.copy();
    std::string message;
    try {
      other.take(trained, b, says);
    } catch (const Error& e) {
      message = e.what();
    }
    CHECK(message.find('\n') == std::string::npos);
    CHECK(same_bits(before, other.params.entries()[0].value));
    return message;
  };
  const auto contains = [](const std::string& message, std::initializer_list<const char*> words) {
    CAPTURE(message);
    for (const char* word : words) CHECK_MESSAGE(message.find(word) != std::string::npos, word);
  };
  const Variant learned{"learned", {}}, swin{"relative_position_bias", {}};
  contains(error(1, learned, grid(6, 8), learned, grid(8, 8), false),
           {"'pos_embed' is (1, 12, 16) in the file, (1, 16, 16) in the model", "no square grid", "model.img_size"});
  contains(error(2, swin, {{"img_size", 4}, {"img_width", 6}}, swin, {}, false),
           {"relative_position_bias_table", "no square window", "model.window_size"});
  contains(error(1, {"shaw", {{"max_distance", 3}}}, {}, {"shaw", {{"max_distance", 4}}}, grid(8, 8), true),
           {"attn.position.key", "(7, 8) in the file, (9, 8)", "an option of the encoding differs"});
  contains(error(1, {"shaw", {{"max_distance", 3}}}, {}, {"shaw", {{"max_distance", 4}}}, {}, false),
           {"(7, 8) in the file, (9, 8)", "an option of the encoding differs"});
  contains(error(0, learned, {}, {"learned", {{"class_position", false}}}, grid(8, 8), true),
           {"pos_embed", "3 x 4 cells and 0 class rows"});

  // a file that lies about itself
  const Bench& b = bench(1);
  const ModelRow& row = model(b.family);
  CHECK_THROWS_WITH_AS(places_of({{"model.img_size", "wide"}}, row, b.options), doctest::Contains("model.img_size"),
                       Error);
  CHECK_THROWS_WITH_AS(places_of({{"model.img_size", "2000000000"}}, row, b.options), doctest::Contains("16384"),
                       Error);
  CHECK_THROWS_AS(places_of({{"model.img_size", "7"}}, row, b.options), Error);
  CHECK_FALSE(places_of({{"model", "vit"}}, row, b.options).has_value());
  for (const Variant& v : variants()) {
    CAPTURE(v.label());
    if (!refusal(b, v.name, v.options).empty()) continue;
    Alone net(b, v, {});
    const Scratch file;
    io::save(net.params, file.path);
    try {  // nothing but an Error may come of it
      const auto huge = places_of({{"model.img_size", "8192"}, {"model.img_width", "0"}}, row, net.options);
      io::load(net.params, file.path, io::resampling(net.tables, huge));
    } catch (const Error&) {}
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
