// Convolutions on the token map as position information; at zero padding it is the border that tells where a token is.
//   peg         x + dwconv_kxk(x) + b          Chu et al. 2021 (CPVT; code in Twins): conditional positional encoding, after block 0 of a stage
//   cpe         dwconv_kxk(x) + b (+ x)        convolutional position embedding between blocks, residual as CoaT's or replacing
//   cpe_raster  conv over the raster order as a 1-D sequence, dense, k taps, no residual: what a circulated snippet really computes
//   hooks: between      parameters: (k^2 + 1) C per place, dense (k^2 C + 1) C      cost: k^2 N C multiplications      class tokens pass by
//   another resolution: nothing to do      padding = circular or reflect takes the absolute information away (an ablation)
#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/pad.h"
#include "tessera/nn/layers.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/map_tokens.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Convolution final : PositionEncoding {
  struct Config {
    int kernel = 3;
    std::vector<int> after{0};
    std::string padding = "zero";
    bool residual = true, depthwise = true, raster = false;
    bool fan_out = true;  ///< how it starts
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"kernel", &Config::kernel, "kernel size", odd(1, 31)},
        {"after", &Config::after, "after these blocks of every stage; -1: before the first", within(-1, 1000)},
        {"padding", &Config::padding, "what lies outside of the map", one_of("zero", "circular", "reflect")},
        {"residual", &Config::residual, "add to the tokens instead of replacing them"},
        {"depthwise", &Config::depthwise, "one kernel per channel instead of a dense convolution"},
    };
    return table;
  }
  static void check(const Config& c) {
    if (c.raster && c.padding != "zero")
      fail("position",
           "position.padding is {} but does nothing for the raster, which ends: leave it out, or choose cpe",
           c.padding);
    if (c.after.empty()) fail("position peg", "after must name at least one block");
    if (c.kernel == 1 && c.padding != "zero")
      fail("position peg", "padding = {} does nothing with kernel = 1, which never leaves the map; leave it out",
           c.padding);
  }
  static std::string refuses(const Places& at, const Config& c) {
    if (at.between.empty())
      return "there is no place between this model's blocks; a causal model has none, for a convolution looks ahead";
    for (int a : c.after) {
      bool found = false;
      for (const Spot& s : at.between) found = found || s.block == a + 1;
      if (!found) return fmt::format("no stage has a block {}", a);
    }
    const int reach = c.kernel / 2;
    for (const Spot& s : at.between) {
      if (c.padding != "zero" && (s.trained.h <= reach || s.trained.w <= reach))
        return fmt::format("{} padding by {} needs a map larger than {}x{}", c.padding, reach, s.trained.h,
                           s.trained.w);
    }
    return "";
  }

  struct Own {
    Tensor w, b;
  };

  Convolution(const Scope& net, const Places& at, const Config& c) : config(c), own(at.between.size()) {
    for (const Spot& s : at.between) {
      bool here = false;
      for (int a : c.after) here = here || s.block == a + 1;
      if (!here) continue;
      const Scope p = net / s.name / "proj.0";
      const int inputs = c.depthwise ? 1 : s.dim, taps = c.raster ? c.kernel : c.kernel * c.kernel;
      const Shape shape = c.raster ? Shape{s.dim, inputs, c.kernel} : Shape{s.dim, inputs, c.kernel, c.kernel};
      const LinearInit start = start_of(c, taps, s.dim);
      own[static_cast<size_t>(s.id)] = {p.param("weight", shape, start.weight, Decay::no),
                                        p.param("bias", {s.dim}, start.bias, Decay::no)};
    }
  }

  Tensor between(const Spot& s, const Grid& now, const Tensor& x, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    if (!o.w) return x;
    const int reach = config.kernel / 2, groups = config.depthwise ? x.dim(-1) : 1;
    return on_map(x, now, [&](const Tensor& map) {
      Tensor y;
      if (config.raster) {
        const auto [B, h, w, C] = map.dims<4>();
        y = conv1d(map.reshape({B, h * w, C}), o.w, o.b, 1, reach, reach, groups).reshape(map.shape());
      } else if (config.padding == "zero") {
        y = conv2d(map, o.w, o.b, conv_options(1, reach, groups));
      } else {
        const Padding mode = config.padding == "circular" ? Padding::circular : Padding::reflect;
        y = conv2d(pad(pad(map, 1, reach, reach, mode), 2, reach, reach, mode), o.w, o.b, conv_options(1, 0, groups));
      }
      return config.residual ? tessera::add(map, y) : y;
    });
  }

 private:
  /// PEG: N(0, 2 / fan_out), fan_out = taps outputs / groups, the released Twins code. The others are plain convolutions of torch, along the
  /// raster one of k x k taps of which k are ever used.
  static LinearInit start_of(const Config& c, int taps, int dim) {
    if (c.fan_out) return {normal(std::sqrt(2.0 / (taps * (c.depthwise ? 1 : dim)))), constant(0)};
    return torch_init(c.kernel * c.kernel * (c.depthwise ? 1 : dim));
  }
  Config config;
  std::vector<Own> own;  // by Spot::id; empty where this place has none
};

}  // namespace

Encoding peg() { return encoding<Convolution>(); }
Encoding cpe() { return encoding<Convolution>({3, {-1}, "zero", true, true, false, false}); }
Encoding cpe_raster() { return encoding<Convolution>({3, {-1}, "zero", false, false, true, false}); }

}  // namespace TESSERA_NS
}  // namespace tessera
