// RandAugment (Cubuk et al. 2020) on 8-bit images, with the operations and ranges of timm's "increasing" list (Wightman
// 2019): more magnitude is always a stronger change. Bilinear sampling.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "tessera/train/data/augment.h"
#include "tessera/train/data/draw.h"

namespace tessera::data {
namespace {

struct Picture {
  int h, w, c;
  uint8_t* pixels;
  std::span<const uint8_t> fill;
  std::vector<uint8_t>& scratch;
  size_t size() const { return static_cast<size_t>(h * w * c); }
};
struct Strength {
  double level;   // 0 to 1
  bool negative;  // the sign, for operations that have one
  double signed_level() const { return negative ? -level : level; }
};

uint8_t byte(double v) { return static_cast<uint8_t>(std::clamp(v + 0.5, 0.0, 255.0)); }

using Table = std::array<uint8_t, 256>;
template <class F>
void map_all(const Picture& p, F f) {
  Table table;
  for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = static_cast<uint8_t>(std::clamp<int>(f(v), 0, 255));
  for (size_t i = 0; i < p.size(); ++i) p.pixels[i] = table[p.pixels[i]];
}

std::array<int, 256> histogram(const Picture& p, int channel) {
  std::array<int, 256> count{};
  for (size_t i = static_cast<size_t>(channel); i < p.size(); i += static_cast<size_t>(p.c)) ++count[p.pixels[i]];
  return count;
}
void map_channel(const Picture& p, int channel, const Table& table) {
  for (size_t i = static_cast<size_t>(channel); i < p.size(); i += static_cast<size_t>(p.c))
    p.pixels[i] = table[p.pixels[i]];
}

// Brightness as the eye weighs it (ITU-R BT.601).
double grey(const Picture& p, const uint8_t* pixel) {
  return p.c == 1 ? pixel[0] : 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
}

// ---- colour -------------------------------------------------------------------------------------------------------

void auto_contrast(const Picture& p, Strength) {  // each channel stretched to 0..255
  for (int k = 0; k < p.c; ++k) {
    const auto count = histogram(p, k);
    int low = 0, high = 255;
    while (low < 255 && count[static_cast<size_t>(low)] == 0) ++low;
    while (high > 0 && count[static_cast<size_t>(high)] == 0) --high;
    if (high <= low) continue;
    Table table;
    for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = byte(255.0 * (v - low) / (high - low));
    map_channel(p, k, table);
  }
}

void equalize(const Picture& p, Strength) {  // each channel's distribution made as even as it can be
  for (int k = 0; k < p.c; ++k) {
    const auto count = histogram(p, k);
    int last = 255;
    while (last > 0 && count[static_cast<size_t>(last)] == 0) --last;
    const int step = (p.h * p.w - count[static_cast<size_t>(last)]) / 255;
    if (step == 0) continue;  // too few pixels or values
    Table table;
    int below = step / 2;
    for (size_t v = 0; v < 256; ++v) {
      table[v] = static_cast<uint8_t>(std::min(255, below / step));
      below += count[v];
    }
    map_channel(p, k, table);
  }
}

void invert(const Picture& p, Strength) {
  map_all(p, [](int v) { return 255 - v; });
}
void posterize(const Picture& p, Strength s) {  // 4 bits kept at strength 0, none at 1
  const int bits = 4 - static_cast<int>(s.level * 4);
  const int mask = 0xff & ~((1 << (8 - bits)) - 1);
  map_all(p, [&](int v) { return v & mask; });
}
void solarize(const Picture& p, Strength s) {
  const int threshold = 256 - static_cast<int>(s.level * 256);
  map_all(p, [&](int v) { return v >= threshold ? 255 - v : v; });
}
void solarize_add(const Picture& p, Strength s) {
  const int add = static_cast<int>(s.level * 110);
  map_all(p, [&](int v) { return v < 128 ? v + add : v; });
}

double factor(Strength s) { return std::max(0.1, 1 + 0.9 * s.signed_level()); }

void colour(const Picture& p, Strength s) {  // towards grey or away from it
  if (p.c == 1) return;
  const double f = factor(s);
  for (size_t i = 0; i < p.size(); i += 3) {
    const double g = grey(p, p.pixels + i);
    for (size_t k = 0; k < 3; ++k) p.pixels[i + k] = byte(g + f * (p.pixels[i + k] - g));
  }
}
void contrast(const Picture& p, Strength s) {  // towards the mean brightness or away from it
  double mean = 0;
  for (size_t i = 0; i < p.size(); i += static_cast<size_t>(p.c)) mean += grey(p, p.pixels + i);
  mean = std::round(mean / (p.h * p.w));
  const double f = factor(s);
  map_all(p, [&](int v) { return byte(mean + f * (v - mean)); });
}
void brightness(const Picture& p, Strength s) {
  const double f = factor(s);
  map_all(p, [&](int v) { return byte(f * v); });
}
void sharpness(const Picture& p, Strength s) {  // towards the blurred image or away from it; the rim stays
  const double f = factor(s);
  p.scratch.assign(p.pixels, p.pixels + p.size());
  const int pitch = p.w * p.c;
  for (int y = 1; y < p.h - 1; ++y)
    for (int i = p.c; i < pitch - p.c; ++i) {
      const uint8_t* q = p.scratch.data() + y * pitch + i;
      int sum = 4 * q[0];
      for (int dy = -1; dy <= 1; ++dy)
        for (int dx = -1; dx <= 1; ++dx) sum += q[dy * pitch + dx * p.c];
      const double blurred = sum / 13.0;
      p.pixels[y * pitch + i] = byte(blurred + f * (q[0] - blurred));
    }
}

// ---- geometry -----------------------------------------------------------------------------------------------------

/// The output at (x, y) shows the input at (a x + b y + t, d x + e y + u), offsets from the centre.
struct Affine {
  double a = 1, b = 0, t = 0, d = 0, e = 1, u = 0;
};
void warp(const Picture& p, const Affine& m) {
  p.scratch.assign(p.pixels, p.pixels + p.size());
  const double cy = (p.h - 1) / 2.0, cx = (p.w - 1) / 2.0;
  const uint8_t* in = p.scratch.data();
  for (int y = 0; y < p.h; ++y)
    for (int x = 0; x < p.w; ++x) {
      const double sx = m.a * (x - cx) + m.b * (y - cy) + m.t + cx, sy = m.d * (x - cx) + m.e * (y - cy) + m.u + cy;
      const int x0 = static_cast<int>(std::floor(sx)), y0 = static_cast<int>(std::floor(sy));
      const float fx = static_cast<float>(sx - x0), fy = static_cast<float>(sy - y0);
      const float weight[4] = {(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx};
      const uint8_t* corner[4];
      for (int k = 0; k < 4; ++k) {
        const int yy = y0 + k / 2, xx = x0 + k % 2;
        const bool inside = yy >= 0 && yy < p.h && xx >= 0 && xx < p.w;
        corner[k] = inside ? in + (yy * p.w + xx) * p.c : p.fill.data();
      }
      for (int k = 0; k < p.c; ++k) {
        float sum = 0.5f;
        for (int j = 0; j < 4; ++j) sum += weight[j] * static_cast<float>(corner[j][k]);
        p.pixels[(y * p.w + x) * p.c + k] = static_cast<uint8_t>(std::min(sum, 255.0f));
      }
    }
}

void rotate(const Picture& p, Strength s) {  // up to 30 degrees
  const double angle = s.signed_level() * 30 * std::numbers::pi / 180, cos = std::cos(angle), sin = std::sin(angle);
  warp(p, {.a = cos, .b = sin, .d = -sin, .e = cos});
}
void shear_x(const Picture& p, Strength s) { warp(p, {.b = 0.3 * s.signed_level()}); }
void shear_y(const Picture& p, Strength s) { warp(p, {.d = 0.3 * s.signed_level()}); }
void translate_x(const Picture& p, Strength s) { warp(p, {.t = 0.45 * s.signed_level() * p.w}); }
void translate_y(const Picture& p, Strength s) { warp(p, {.u = 0.45 * s.signed_level() * p.h}); }

struct Operation {
  const char* name;
  void (*run)(const Picture&, Strength);
};
constexpr Operation operations[] = {
    {"AutoContrast", auto_contrast},
    {"Equalize", equalize},
    {"Invert", invert},
    {"Rotate", rotate},
    {"Posterize", posterize},
    {"Solarize", solarize},
    {"SolarizeAdd", solarize_add},
    {"Color", colour},
    {"Contrast", contrast},
    {"Brightness", brightness},
    {"Sharpness", sharpness},
    {"ShearX", shear_x},
    {"ShearY", shear_y},
    {"TranslateX", translate_x},
    {"TranslateY", translate_y},
};
constexpr size_t count = std::size(operations);

}  // namespace

std::span<const char* const> randaugment_operations() {
  static const auto names = [] {
    std::array<const char*, count> a{};
    for (size_t i = 0; i < count; ++i) a[i] = operations[i].name;
    return a;
  }();
  return names;
}

void randaugment_operation(size_t operation, double magnitude, bool negative, int h, int w, int channels,
                           uint8_t* pixels, std::span<const uint8_t> fill, std::vector<uint8_t>& scratch) {
  if (operation >= count) fail("randaugment", "operation {} of {}", operation, count);
  operations[operation].run({h, w, channels, pixels, fill, scratch}, {std::clamp(magnitude / 10, 0.0, 1.0), negative});
}

void randaugment(const Augment& a, int h, int w, int channels, uint8_t* pixels, std::span<const uint8_t> fill,
                 rng::Stream stream, std::vector<uint8_t>& scratch) {
  Draw draw(stream);
  for (int i = 0; i < a.randaug_n; ++i) {
    const size_t which = draw.below(count);
    const bool run = draw.coin(a.randaug_prob), negative = draw.coin(0.5);
    const double magnitude = a.randaug_m + a.randaug_mstd * draw.normal();
    if (run) randaugment_operation(which, magnitude, negative, h, w, channels, pixels, fill, scratch);
  }
}

}  // namespace tessera::data
