#include "tessera/train/report/position_pictures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>

#include "tessera/core/io/replace_file.h"

namespace tessera::report {
inline namespace TESSERA_NS {
namespace {

constexpr int side = 8, cells = side * side, H = 4, d = 16, C = H * d, middle = 3 * side + 3;

/// One number a cell; NaN where there is none.
struct Map {
  std::string caption;
  std::vector<double> at;
};

// ---- what is drawn --------------------------------------------------------------------------------------------------

/// An encoding on one attention and one token map of its own.
struct Bed {
  Params params{1};
  Places places;
  Layout layout{{side, side, 0}, {side, side, 0}, {}, 1, false};
  std::unique_ptr<PositionEncoding> encoding;
  const PositionRow* row = nullptr;

  Bed(std::string_view name, const Options& options) {
    places.sites = {Site{0, 0, 0, C, H, d, 1 / std::sqrt(static_cast<double>(d)), layout, "attn"}};
    places.tokens = {Spot{0, 0, 0, C, layout.q, "pos_embed"}};
    for (int i = 0; i < 2; ++i) places.between.push_back({i, 0, i, C, layout.q, fmt::format("pos_block.{}", i)});
    encoding = position(name, options)(Scope(params), places);
    for (const auto& r : positions())
      if (name == r.name) row = &r;
    if (!row) fail("position_picture", "{} is a composition; draw its parts", name);
  }
  bool has(const char* hook) const { return std::ranges::find(row->hooks, hook) != row->hooks.end(); }
  /// A table with a row per offset, as opposed to one that is computed.
  bool offsets() const {
    return row->trainable &&
           (row->resolution == std::string_view("clip") || row->resolution == std::string_view("interpolate"));
  }
};

/// Rows numbered from -1 to 1; gates from 0.5 to 1.5.
Tensor numbered(const Tensor& table, bool gate) {
  Tensor t(table.shape());
  const int rows = table.dim(1), width = table.dim(2);
  for (int64_t i = 0; i < t.size(); ++i) {
    const double at = rows > 1 ? 2.0 * static_cast<double>(i / width % rows) / (rows - 1) - 1 : 0;
    t[i] = static_cast<real>(gate ? 1 + 0.5 * at : at);
  }
  return t;
}

/// Scores of one query for all cells, up to a constant: logarithms of the weights that its output gives to unit values.
std::vector<Map> scores(const Bed& bed) {
  const Site& site = bed.places.sites[0];
  const Tensor ones = full({1, cells, C}, 1);
  Tensor unit = zeros({1, cells, H * cells});
  for (int t = 0; t < cells; ++t)
    for (int h = 0; h < H; ++h) unit[static_cast<int64_t>(t) * H * cells + h * cells + t] = 1;
  const Query query(heads(ones, H), heads(ones, H), heads(unit, H), global_pattern(cells, cells), site.scale);
  const Tokens tokens{zeros({1, cells, C}), zeros({1, cells, C})};
  Tensor out;
  if (bed.has("mix") || bed.has("shape")) {
    out = bed.encoding->attend(site, bed.layout, query, tokens, {});
  } else {
    const Terms own = bed.encoding->terms(site, bed.layout, tokens, {});
    Terms shown;
    shown.rotary = own.rotary, shown.rotary.values = false, shown.visible = own.visible;
    for (int i = 0; i < own.count; ++i) {
      Relative r = own.relative[static_cast<size_t>(i)];
      if (r.kind == Relative::value) continue;  // values do not show in weights
      if (bed.offsets()) r.table = numbered(r.table, r.kind == Relative::gate);
      shown.add(r);
    }
    out = attention(query, shown, {});
  }
  const auto map = [&](int from, int h) {
    std::vector<double> s;
    for (int t = 0; t < cells; ++t) {
      const double p = static_cast<double>(out[static_cast<int64_t>(from) * H * cells + h * cells + t]);
      const bool outside = !(p > 0);  // of a neighbourhood, or of what a head may see
      s.push_back(outside ? std::numeric_limits<double>::quiet_NaN() : std::log(std::max(p, 1e-30)));
    }
    return s;
  };
  const auto near = [](const std::vector<double>& a, const std::vector<double>& b) {
    for (size_t i = 0; i < a.size(); ++i)
      if (std::abs(a[i] - b[i]) > 1e-4) return false;
    return true;
  };
  const bool alike = near(map(middle, 0), map(middle, H - 1)) && near(map(middle, 0), map(middle, 1));
  std::vector<Map> maps;
  for (int h = 0; h < (alike ? 1 : H); ++h)
    maps.push_back({alike ? "middle query" : fmt::format("head {}, middle query", h + 1), map(middle, h)});
  maps.push_back({alike ? "corner query" : "head 1, corner query", map(0, 0)});
  return maps;
}

std::vector<Map> codes(const Bed& bed) {
  const Tensor t = bed.encoding->tokens(bed.places.tokens[0], bed.layout.q, zeros({1, cells, C}), {});
  const auto dot = [&](int a, int b) {
    double s = 0;
    for (int c = 0; c < C; ++c) s += static_cast<double>(t[a * C + c]) * static_cast<double>(t[b * C + c]);
    return s;
  };
  std::vector<Map> maps{{"similarity to a token", {}}};
  for (int n = 0; n < cells; ++n) maps[0].at.push_back(dot(n, middle) / std::sqrt(dot(n, n) * dot(middle, middle)));
  for (int channel : {0, C / 4 + 2, C / 2 + 1, 3 * C / 4}) {
    Map m{fmt::format("channel {} of {}", channel, C), {}};
    for (int n = 0; n < cells; ++n) m.at.push_back(static_cast<double>(t[n * C + channel]));
    maps.push_back(std::move(m));
  }
  return maps;
}

std::vector<Map> answers(const Bed& bed) {
  Tensor one = zeros({1, cells, C});
  for (int c = 0; c < C; ++c) one[middle * C + c] = 1;
  std::vector<Map> maps;
  for (const auto& [caption, x] :
       {std::pair("answer to a map of ones", full({1, cells, C}, 1)), std::pair("answer to a single token", one)}) {
    Tensor y = x;
    for (const Spot& s : bed.places.between) y = bed.encoding->between(s, bed.layout.q, y, {});
    Map m{caption, {}};
    for (int n = 0; n < cells; ++n) m.at.push_back(static_cast<double>(y[n * C]));
    maps.push_back(std::move(m));
  }
  return maps;
}

// ---- how it is drawn ------------------------------------------------------------------------------------------------

constexpr int levels = 24;

/// From deep blue over green to yellow: growing lightness, so that it survives without colours.
std::string colour(int level) {
  constexpr std::array<std::array<int, 3>, 5> stops{
      {{43, 42, 107}, {47, 111, 168}, {53, 162, 138}, {166, 198, 76}, {251, 227, 90}}};
  const double at = 4.0 * level / (levels - 1);
  const size_t i = std::min<size_t>(3, static_cast<size_t>(at));
  const auto channel = [&](size_t c) {
    const double part = at - static_cast<double>(i);
    return static_cast<int>(std::lround(stops[i][c] * (1 - part) + stops[i + 1][c] * part));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2));
}

std::string panel(const Map& m, int left, int top, int pitch) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (double v : m.at)
    if (!std::isnan(v)) low = std::min(low, v), high = std::max(high, v);
  const bool flat = !(high - low > 1e-5);
  std::array<std::string, levels> paths;  // one path a colour
  for (int n = 0; n < cells; ++n) {
    const double v = m.at[static_cast<size_t>(n)];
    if (std::isnan(v)) continue;
    const int level = flat ? levels / 2 : static_cast<int>(std::lround((v - low) / (high - low) * (levels - 1)));
    paths[static_cast<size_t>(level)] += fmt::format("M{} {}h1v1h-1z", n % side, n / side);
  }
  std::string s =
      fmt::format("<g transform=\"translate({} {}) scale({})\" shape-rendering=\"crispEdges\">", left, top, pitch);
  for (int l = 0; l < levels; ++l)
    if (const auto& p = paths[static_cast<size_t>(l)]; !p.empty())
      s += fmt::format("<path fill=\"{}\" d=\"{}\"/>", colour(l), p);
  s += fmt::format("<path class=\"f\" d=\"M0 0h{0}v{0}h-{0}z\"/></g>\n", side);
  const int below = top + pitch * side;
  s += fmt::format("<text x=\"{}\" y=\"{}\">{}</text>", left, below + 14, m.caption);
  s += fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", left, below + 27,
                   flat ? std::string("constant") : fmt::format("{:.3g} to {:.3g}", 0 + low, 0 + high));
  return s;
}

std::string svg(const std::vector<Map>& maps, const std::string& title) {
  const int pitch = 15, gap = 22, top = 26,
            width = std::max(360, static_cast<int>(maps.size()) * (pitch * side + gap) + 10),
            height = top + pitch * side + 36;
  std::string s = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\">\n"
      "<title>{2}</title>\n"
      "<style>text{{font:11px "
      "system-ui,sans-serif;fill:#57606a}}.t{{font-weight:600}}.f{{fill:none;stroke:#8b949e;stroke-width:.05}}"
      "@media(prefers-color-scheme:dark){{text{{fill:#adbac7}}}}</style>\n"
      "<text class=\"t\" x=\"10\" y=\"16\">{2}</text>\n",
      width, height, title);
  for (size_t i = 0; i < maps.size(); ++i)
    s += panel(maps[i], 10 + static_cast<int>(i) * (pitch * side + gap), top, pitch);
  return s + "</svg>\n";
}

/// Scores are logarithms up to a constant: their largest value becomes 0, and what is below e^-30 of it is drawn as that.
std::vector<Map> from_zero(std::vector<Map> maps) {
  constexpr double lowest = -30;
  for (Map& m : maps) {
    double most = -std::numeric_limits<double>::infinity();
    for (double v : m.at)
      if (!std::isnan(v)) most = std::max(most, v);
    for (double& v : m.at) v = std::isnan(v) ? v : std::max(v - most, lowest);
  }
  return maps;
}

}  // namespace

std::string position_picture(std::string_view name, const Options& options) {
  const Bed bed(name, options);
  if (bed.has("tokens")) return svg(codes(bed), bed.row->title);
  if (bed.has("between")) return svg(answers(bed), bed.row->title);
  return svg(from_zero(scores(bed)), bed.row->title);
}

int draw_positions(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) fail("positions", "cannot make {}: {}", directory, io::explain(error.value()));
  for (const auto& row : positions())
    io::replace_file((std::filesystem::path(directory) / (std::string(row.name) + ".svg")).string(),
                     position_picture(row.name));
  return static_cast<int>(positions().size());
}

}  // namespace TESSERA_NS
}  // namespace tessera::report
