// The network of Jordan's CIFAR-10 speedruns.  Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, sections
// 3.1 to 3.3; figures and names of its code's airbench94_muon.py. It goes back to tysam-code's hlb-CIFAR10 and Page's ResNet.
//
//   image (B, H, W, 3)
//     -> whiten                            2 x 2 without padding, 12 filters and their negatives: (B, H-1, W-1, 24); act
//     -> layers.1, .2, .3                  x = act(norm1(pool(conv1 x)))      conv 3 x 3, max pooling 2 x 2 of stride 2: (B, h, w, widths[i])
//                                          x = act(norm2(conv2 x))
//     -> max over 3 x 3, mean, head        what is left is 3 x 3 of 32 x 32, so that the mean is of one cell; logits (B, K), scaled
//
// act is GELU, BatchNorm has offsets but no factors (they stay 1), no convolution but the first has a bias, the head has none.
//
// The filters of whiten are data: with the patches p (in_chans k k numbers) of training images, sum p p^T / n = sum_k l_k v_k v_k^T, and filter k
// is v_k / sqrt(l_k + eps), in ascending order of l. Calibrated::calibrate() computes them; before, they are the unit vectors.
#include "tessera/models/airbench.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/symmetric_eigen.h"
#include "tessera/models/image.h"

namespace tessera::airbench {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       {{"widths", &Config::widths, "channels of each group, which halves the map", within(1, most_width)},
        {"whiten_kernel_size", &Config::whiten_kernel_size, "side of the patches that the first layer whitens",
         within(1, 8)},
        {"whiten_images", &Config::whiten_images,
         "training images that its filters are computed from before the first step; 0: they stay unit vectors",
         within(0, 1'000'000)},
        {"whiten_eps", &Config::whiten_eps, "added to the variances of the patches", within(1e-12, 1e6)},
        {"act_layer", &Config::act_layer, "the nonlinearity", activation_domain()},
        {"norm_weight", &Config::norm_weight, "train BatchNorm's factors, too, not only its offsets"},
        {"norm_eps", &Config::norm_eps, "epsilon of BatchNorm", within(1e-12, 1)},
        {"dirac_init", &Config::dirac_init, "start the first filters of every convolution as copies of its channels"},
        {"scaling_factor", &Config::scaling_factor, "of the logits", within(1e-6, 1e6)}}});
  return table;
}

namespace {

constexpr PoolOptions halving{.kernel = 2, .stride = 2};

Conv2d::Config conv(int in, int out) {
  return {.in = in, .out = out, .kernel = 3, .options = conv_options(1, 1), .bias = false};
}

Conv2d::Config stem(const Config& c) {
  return {.in = c.in_chans, .out = c.whiten_width(), .kernel = c.whiten_kernel_size, .options = conv_options(1, 0)};
}

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  constexpr int most_numbers = 256;  // Jacobi's method is for small matrices
  if (c.widths.empty() || c.widths.size() > 8)
    fail("airbench", "widths has {} groups; expected 1 to 8", c.widths.size());
  if (int64_t{c.in_chans} * c.whiten_kernel_size * c.whiten_kernel_size > most_numbers)
    fail("airbench",
         "patches of {} x {} pixels of {} channels are more than {} numbers; choose a smaller whiten_kernel_size",
         c.whiten_kernel_size, c.whiten_kernel_size, c.in_chans, most_numbers);
}

}  // namespace

Places places(const Config& c) {
  check(c);
  Extents size("airbench", c.img_size, c.width(), c.in_chans);
  int h = c.img_size - c.whiten_kernel_size + 1, w = c.width() - c.whiten_kernel_size + 1, in = c.whiten_width();
  const auto cells = [&] { return static_cast<double>(std::max(h, 0)) * std::max(w, 0); };
  size.linear(cells(), Conv2d::inputs(stem(c)), in);
  for (const int out : c.widths) {
    size.linear(cells(), 9.0 * in, out);
    h /= 2, w /= 2, in = out;
    if (h < 1 || w < 1)
      fail("airbench", "{} groups leave nothing of an image of {} x {}: choose fewer widths or larger images",
           c.widths.size(), c.img_size, c.width());
    size.linear(cells(), 9.0 * out, out);
  }
  size.linear(1, in, c.num_classes);
  return {};
}

// ---- how weights start --------------------------------------------------------------------------------------------------

namespace {

/// Filter o of a convolution (O, I, 3, 3) passes on channel o, for the first min(O, I) of them; the others are as they were drawn.
void copy_channels(Tensor& w) {
  const auto [O, I, kh, kw] = w.dims<4>();
  for (int o = 0; o < std::min(O, I); ++o) {
    real* const filter = w.data() + int64_t{o} * I * kh * kw;
    std::fill_n(filter, int64_t{I} * kh * kw, real{0});
    filter[(int64_t{o} * kh + kh / 2) * kw + kw / 2] = 1;
  }
}

Scope dirac(const Scope& s, const Config& c) {
  if (c.dirac_init) s.params().preset(s.path() + ".weight", copy_channels);
  return s;
}

/// The filters (2 n, ...) of n orthonormal rows and of their negatives.
void set_filters(std::span<real> filters, const std::vector<double>& rows) {
  for (size_t i = 0; i < rows.size(); ++i)
    filters[i] = static_cast<real>(rows[i]), filters[rows.size() + i] = static_cast<real>(-rows[i]);
}

/// The scope of the first layer, whose filters are the unit vectors until they are calibrated.
Scope unit_vectors(const Scope& s) {
  s.params().preset(s.path() + ".weight", [](Tensor& w) {
    const int64_t n = w.dim(0) / 2;
    std::vector<double> rows(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i) rows[static_cast<size_t>(i * n + i)] = 1;
    set_filters(w.values(), rows);
  });
  return s;
}

BatchNorm norm(const Scope& s, const Config& c, int width) {
  BatchNorm made(s, width, c.norm_eps);
  if (!c.norm_weight) s.params().freeze(s.path() + ".weight");
  return made;
}

/// sums (n, n) += p p^T over the patches p of images x (B, H, W, C), each in the order (C, k, k) of a filter. Returns their number.
int64_t add_patches(const Tensor& x, int k, std::vector<double>& sums) {
  const auto [B, H, W, C] = x.dims<4>();
  const auto n = static_cast<size_t>(C) * static_cast<size_t>(k) * static_cast<size_t>(k);
  std::vector<double> p(n);
  const real* const pixels = x.read().data();
  for (int64_t b = 0; b < B; ++b)
    for (int y = 0; y + k <= H; ++y)
      for (int left = 0; left + k <= W; ++left) {
        size_t at = 0;
        for (int c = 0; c < C; ++c)
          for (int i = 0; i < k; ++i)
            for (int j = 0; j < k; ++j) p[at++] = static_cast<double>(pixels[((b * H + y + i) * W + left + j) * C + c]);
        for (size_t i = 0; i < n; ++i)
          for (size_t j = i; j < n; ++j) sums[i * n + j] += p[i] * p[j];
      }
  return B * std::max(0, H - k + 1) * std::max(0, W - k + 1);
}

}  // namespace

// ---- parts -------------------------------------------------------------------------------------------------------------

Whiten::Whiten(const Scope& s, const Config& c) : conv(unit_vectors(s), stem(c)), eps(c.whiten_eps) {
  s.params().freeze(s.path() + ".weight");
}

void Whiten::fit(const std::function<Input()>& next) {
  const auto [filters, C, k, k_too] = conv.weight.dims<4>();
  const auto n = static_cast<size_t>(filters / 2);
  std::vector<double> sums(n * n);
  int64_t patches = 0;
  for (Input some = next(); some.size() > 0; some = next()) patches += add_patches(some.x, k, sums);
  if (patches == 0) fail("airbench", "there are no patches to whiten");
  for (double& v : sums) v /= static_cast<double>(patches);
  SymmetricEigen e = symmetric_eigen(std::move(sums), static_cast<int>(n));
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) e.vectors[i * n + j] /= std::sqrt(std::max(e.values[i], 0.0) + eps);
  set_filters(conv.weight.rewrite(), e.vectors);
}

Group::Group(const Scope& s, const Config& c, int in, int out)
    : conv1(dirac(s / "conv1", c), conv(in, out)),
      norm1(norm(s / "norm1", c, out)),
      conv2(dirac(s / "conv2", c), conv(out, out)),
      norm2(norm(s / "norm2", c, out)),
      act(activation(c.act_layer)),
      name(s.path()) {}

Tensor Group::operator()(const Run& run, const Tensor& x) const {
  const Crumb here(name);
  const Tensor y = activate(act, norm1(run, max_pool2d(conv1(run, x), halving)));
  return activate(act, norm2(run, conv2(run, y)));
}

// ---- model -------------------------------------------------------------------------------------------------------------

std::deque<Group> Airbench::build(const Scope& s, const Config& c) {
  std::deque<Group> layers;
  int in = c.whiten_width(), number = 1;  // the original's layers.0 is the activation behind `whiten`
  for (const int out : c.widths) layers.emplace_back(s / "layers" / number++, c, in, out), in = out;
  return layers;
}

Airbench::Airbench(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      position_(position(s, places(c))),
      whiten_(s / "whiten", c),
      act_(activation(c.act_layer)),
      layers_(build(s, c)) {
  if (c.num_classes > 0) head_.emplace(s / "head", c.widths.back(), c.num_classes, false, torch_init(c.widths.back()));
}

Output Airbench::forward(const Run& run, const Input& input) const {
  Output out;
  Tensor x = activate(act_, whiten_.conv(run, input.x));
  for (const Group& layer : layers_) {
    x = layer(run, x);
    if (input.features) out.stages.push_back(x);
  }
  const int side = std::min({3, x.dim(1), x.dim(2)});
  const Tensor features = mean(max_pool2d(x, {.kernel = side, .stride = side}), {1, 2});
  out.logits = head_ ? (*head_)(run, features) * config_.scaling_factor : features;
  return out;
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "airbench",
                              .reference = "Jordan 2024, arXiv 2404.00498",
                              .position = "none",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  return {model_row<Airbench>(family, "airbench", {}), model_row<Airbench>(family, "airbench94", {})};
}

}  // namespace TESSERA_NS
}  // namespace tessera::airbench
