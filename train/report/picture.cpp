#include "tessera/train/report/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tessera/train/data/image.h"
#include "tessera/train/report/html.h"

namespace tessera::report {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr int most_heads = 16, most_cells = 1 << 20;

std::string data_uri(int h, int w, int channels, std::span<const uint8_t> pixels) {
  const auto png = data::encode_png(h, w, channels, pixels);
  return "data:image/png;base64," + base64(png.data(), png.size());
}

double largest(const Table& t) {
  double m = 0;
  for (float v : t.values) m = std::max(m, std::abs(double(v)));
  return m;
}

std::string scale_bar(const std::string& low, const std::string& high) {
  return fmt::format("<div class=\"scale\"><span>{}</span>{}<span>{}</span></div>\n", low,
                     heat_map(
                         1, 65, [](int, int x) { return x / 32.0 - 1; }, "colour scale", 150),
                     high);
}

std::string card(const Table& t, const std::string& note, const std::string& body) {
  return fmt::format("<div class=\"card\">\n<h3>{}</h3>\n<p class=\"note\">{}</p>\n{}</div>\n", escape(t.name),
                     escape(note), body);
}

/// A width near that of a card at which every cell has the same whole number of pixels.
int enlarged(int cells) { return cells * std::clamp(500 / std::max(cells, 1), 1, 28); }

/// Cell (i, j) of the mosaic is a map over the grid of the cosine between the embedding of place (i, j) and that of
/// every place.
std::string similarity(const Table& t) {
  const auto row = [&](int cell) { return t.values.data() + (size_t(t.prefix) + size_t(cell)) * size_t(t.channels); };
  const int n = t.h * t.w;
  std::vector<double> norm(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    double s = 0;
    for (int c = 0; c < t.channels; ++c) s += double(row(i)[c]) * double(row(i)[c]);
    norm[size_t(i)] = std::sqrt(s);
  }
  const auto value = [&](int y, int x) {
    const int i = y / (t.h + 1) * t.w + x / (t.w + 1), gy = y % (t.h + 1), gx = x % (t.w + 1);
    if (gy == t.h || gx == t.w) return nan;  // the gap between maps
    const int j = gy * t.w + gx;
    double s = 0;
    for (int c = 0; c < t.channels; ++c) s += double(row(i)[c]) * double(row(j)[c]);
    return s / std::max(norm[size_t(i)] * norm[size_t(j)], 1e-30);
  };
  const int H = t.h * (t.h + 1) - 1, W = t.w * (t.w + 1) - 1;
  return card(
      t,
      fmt::format(
          "{} \u00d7 {} places of {} numbers. Map (i, j) shows the cosine similarity of place (i, j) with every place.",
          t.h, t.w, t.channels),
      "<div class=\"mosaic\">" + heat_map(H, W, value, "cosine similarity maps of " + t.name, enlarged(W)) +
          "</div>\n" + scale_bar("\u22121", "1"));
}

std::string offsets(const Table& t) {
  const double m = largest(t);
  std::string heads;
  const int shown = std::min(t.channels, most_heads);
  for (int c = 0; c < shown; ++c) {
    const auto value = [&](int y, int x) {
      return double(
                 t.values[(size_t(t.prefix) + size_t(y) * size_t(t.w) + size_t(x)) * size_t(t.channels) + size_t(c)]) /
             std::max(m, 1e-30);
    };
    heads += fmt::format("<figure>{}<figcaption>head {}</figcaption></figure>\n",
                         heat_map(t.h, t.w, value, fmt::format("{}, head {}", t.name, c), shown > 3 ? 112 : 148), c);
  }
  return card(t,
              fmt::format("{} \u00d7 {} relative offsets, {} heads{}; the middle is the offset 0.", t.h, t.w,
                          t.channels, shown < t.channels ? fmt::format(" ({} shown)", shown) : ""),
              "<div class=\"heads\">" + heads + "</div>\n" + scale_bar("\u2212" + number(m, 3), number(m, 3)));
}

/// The longer side goes across, whatever it is: a page is wide enough for it, and a tower of cells is hard to read.
std::string matrix(const Table& t) {
  const double m = largest(t);
  const bool turned = t.h > t.w;
  const auto value = [&](int y, int x) {
    if (turned) std::swap(y, x);
    return double(t.values[(size_t(t.prefix) + size_t(y) * size_t(t.w) + size_t(x)) * size_t(t.channels)]) /
           std::max(m, 1e-30);
  };
  const int h = std::min(t.h, t.w), w = std::max(t.h, t.w);
  return card(t, fmt::format("{} \u00d7 {} numbers{}.", t.h, t.w, turned ? "; rows go across" : ""),
              "<div class=\"mosaic\">" + heat_map(h, w, value, t.name, enlarged(w)) + "</div>\n" +
                  scale_bar("\u2212" + number(m, 3), number(m, 3)));
}

}  // namespace

Rgb diverging(double v, bool dark) {
  // stops from the middle outwards; in the dark the poles are light, so that strength is contrast in both themes
  using Stops = std::array<std::array<double, 3>, 4>;
  static constexpr Stops light_blue = {{{241, 240, 236}, {158, 197, 240}, {42, 120, 214}, {13, 54, 107}}};
  static constexpr Stops light_red = {{{241, 240, 236}, {245, 170, 160}, {221, 66, 64}, {115, 20, 24}}};
  static constexpr Stops dark_blue = {{{42, 42, 40}, {30, 82, 145}, {70, 145, 232}, {190, 220, 252}}};
  static constexpr Stops dark_red = {{{42, 42, 40}, {140, 45, 42}, {230, 103, 98}, {253, 212, 205}}};
  const Stops& stops = dark ? (v < 0 ? dark_blue : dark_red) : (v < 0 ? light_blue : light_red);
  const double at = std::min(std::abs(v), 1.0) * 3;
  const size_t i = std::min<size_t>(static_cast<size_t>(at), 2);
  const double f = at - static_cast<double>(i);
  const auto mix = [&](size_t c) {
    return static_cast<uint8_t>(std::lround(stops[i][c] + f * (stops[i + 1][c] - stops[i][c])));
  };
  return {mix(0), mix(1), mix(2)};
}

std::string heat_map(int h, int w, const std::function<double(int, int)>& value, std::string_view alt, int css_width) {
  std::vector<double> v;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) v.push_back(value(y, x));
  const auto uri = [&](bool dark) {
    std::vector<uint8_t> pixels;
    pixels.reserve(v.size() * 3);
    for (double d : v) {
      const Rgb background = dark ? Rgb{0x1a, 0x1a, 0x19} : Rgb{0xfd, 0xfd, 0xfc};
      const Rgb c = std::isnan(d) ? background : diverging(d, dark);
      pixels.insert(pixels.end(), {c.r, c.g, c.b});
    }
    return data_uri(h, w, 3, pixels);
  };
  const std::string size = css_width > 0 ? fmt::format(" width=\"{}\"", css_width) : "";
  return fmt::format(
      "<picture><source media=\"screen and (prefers-color-scheme: dark)\" srcset=\"{}\"/><img{} src=\"{}\" "
      "alt=\"{}\"/></picture>",
      uri(true), size, uri(false), escape(alt));
}

std::string photo(const Sample& s, std::string_view alt) {
  return fmt::format("<img src=\"{}\" alt=\"{}\"/>", data_uri(s.height, s.width, s.channels, s.pixels), escape(alt));
}

std::string table_card(const Table& t) {
  const double cells = double(t.h) * t.w;
  if (t.kind == "embedding" && cells * cells <= most_cells) return similarity(t);
  if (cells > most_cells) return card(t, fmt::format("{} \u00d7 {} numbers: too many for a picture.", t.h, t.w), "");
  if (t.kind == "offsets") return offsets(t);
  if (t.kind == "matrix" && t.channels == 1) return matrix(t);
  // a grid too fine for maps of every place, or a matrix with a third dimension: rows by channels
  Table flat{t.name, "matrix", t.prefix + t.h * t.w, t.channels, 1, 0, t.values};
  return double(flat.h) * flat.w <= most_cells ? matrix(flat) : card(t, "Too many numbers for a picture.", "");
}

}  // namespace tessera::report
