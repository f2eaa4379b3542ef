// A learned table.  Dosovitskiy et al. 2021 (ViT); per stage: Wang et al. 2021 (PVT).
//   x[b, t] += pos_embed[t]
//   hooks: tokens, after every patch embedding      parameters: tokens x width of each stage      cost: one addition
//   class tokens: a row of their own, or none (class_position = false: DeiT III, big_vision)
//   another resolution: the grid rows are interpolated from the TRAINED height and width to the present ones, by the
//   rule `resize`; class rows are kept. A shorter sequence has the first rows. (PVT's public code compares with the first stage's token count in every stage;
//   here each stage has its own.) `frozen` makes the table a buffer: drawn once, saved, never trained.
#include <cmath>

#include "tessera/core/ops/add_table.h"
#include "tessera/core/ops/resize_grid.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Learned final : PositionEncoding {
  struct Config {
    double std = 0.02;
    std::string init = "normal", resize = "bicubic_antialias";
    bool class_position = true, decay = false, frozen = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"std", &Config::std,
         "standard deviation of the initial table; 0: 1/sqrt(width), as big_vision (timm 0.02, CCT 0.2, lucidrains 1)",
         within(0, 1000)},
        {"init", &Config::init, "normal | truncated (at two standard deviations)", one_of("normal", "truncated")},
        {"resize", &Config::resize,
         "bicubic_antialias (timm) | bicubic (DeiT) | bilinear (PVT) | corner_aligned (Google)",
         one_of("bicubic_antialias", "bicubic", "bilinear", "corner_aligned")},
        {"class_position", &Config::class_position, "class tokens have rows of their own"},
        {"decay", &Config::decay, "apply weight decay to the table (PVT does)",
         anything().only_with("frozen", "false")},
        {"frozen", &Config::frozen, "never train the table"},
    };
    return table;
  }

  Learned(const Scope& net, const Places& at, const Config& c) : config(c), rule(interpolation(c.resize)) {
    for (const auto& s : at.tokens) {
      const Shape shape{1, rows(s.trained), s.dim};
      const double std = c.std > 0 ? c.std : 1 / std::sqrt(static_cast<double>(s.dim));
      const Init init{c.init == "normal" ? Init::normal : Init::truncated, std};
      table.push_back(c.frozen ? net.buffer(s.name, shape, init)
                               : net.param(s.name, shape, init, c.decay ? Decay::yes : Decay::no));
    }
  }

  Tensor tokens(const Spot& spot, const Grid& now, const Tensor& x, const Run&) const override {
    const Tensor& own = table.at(static_cast<size_t>(spot.id));
    return add_table(x, resized(own, spot.trained, now), config.class_position ? 0 : now.prefix);
  }

  Tensor resample(std::string_view, const Tensor& param, const Layout& from, const Layout& to) const override {
    const Tensor y = resized(param, from.q, to.q);
    return y.reshape({1, y.dim(-2), y.dim(-1)});
  }

 private:
  int class_rows(const Grid& g) const { return config.class_position ? g.prefix : 0; }
  int rows(const Grid& g) const { return class_rows(g) + g.h * g.w; }
  Tensor resized(const Tensor& t, const Grid& from, const Grid& to) const {
    if (class_rows(from) != class_rows(to)) {
      fail("position learned", "trained with {} class tokens, called with {}", from.prefix, to.prefix);
    }
    if (from.h == to.h && from.w == to.w) return t;
    if (to.sequence && from.h == 1 && to.w < from.w) return slice(t, -2, 0, class_rows(to) + to.w);
    return resize_grid(t, from.h, from.w, to.h, to.w, rule, class_rows(from));
  }

  Config config;
  Interpolation rule;
  std::vector<Tensor> table;  // by Spot::id
};

}  // namespace

Encoding learned() { return encoding<Learned>(); }

Encoding frozen_random() {
  Learned::Config c;
  c.frozen = true;
  return encoding<Learned>(c);
}

Encoding pvt() {
  Learned::Config c;
  c.resize = "bilinear", c.decay = true;
  return encoding<Learned>(c);
}

}  // namespace TESSERA_NS
}  // namespace tessera
