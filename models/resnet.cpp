// Residual networks.  He et al. 2016, "Deep residual learning for image recognition", arXiv 1512.03385, section 4.2 (CIFAR) and table 1;
// names of torchvision's resnet.py.
//
//   image (B, H, W, 3)
//     -> conv1, bn1, relu                  cifar: 3 x 3, (B, H, W, widths[0])
//                                          imagenet: 7 x 7 of stride 2, max pooling before relu: (B, H/4, W/4, widths[0])
//     -> layer1 ... layerS, depths[s] x    y = bn2(conv2(relu(bn1(conv1 x))))       3 x 3, no bias
//                                          x = relu(shortcut(x) + y)
//        the first block of layer2, 3, ... halves the map (rounded up) and goes over to widths[s]
//     -> mean over the map, dropout, fc    logits (B, K)
//
// Where the shape changes, shortcut A takes every second cell and fills the new channels with zeros, without parameters: what the paper
// counts its ResNet-20 with (0.27M), and the default of the CIFAR rows. B is a 1 x 1 convolution with BatchNorm: torchvision knows no other.
#include "tessera/models/resnet.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/models/image.h"

namespace tessera::resnet {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       {{"depths", &Config::depths, "basic blocks of each stage", within(1, most_depth)},
        {"widths", &Config::widths, "channels of each stage", within(1, most_width)},
        {"stem", &Config::stem, "cifar (3 x 3, stride 1) | imagenet (7 x 7, stride 2, max pooling)",
         one_of("cifar", "imagenet")},
        {"shortcut", &Config::shortcut,
         "where the shape changes: A (every second cell, zeros as new channels) | B (1 x 1 convolution)",
         one_of("A", "B")},
        {"zero_init_residual", &Config::zero_init_residual, "start the last BatchNorm of every block at 0"},
        {"drop_rate", &Config::drop_rate, "dropout before the head", below_one()}}});
  return table;
}

Conv2d::Config conv(int in, int out, int kernel, int stride) {
  return {.in = in,
          .out = out,
          .kernel = kernel,
          .options = conv_options(stride, kernel / 2),
          .bias = false,
          .init = {normal(std::sqrt(2.0 / (static_cast<double>(out) * kernel * kernel)))}};
}

namespace {

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.depths.empty() || c.depths.size() > 8 || c.depths.size() != c.widths.size())
    fail("resnet", "depths has {} stages and widths {}; both need one entry a stage, at most 8", c.depths.size(),
         c.widths.size());
  if (c.shortcut == "A" && !std::ranges::is_sorted(c.widths))
    fail("resnet", "widths is {}, but shortcut = A can only add channels; choose shortcut = B", text(Value(c.widths)));
}

Conv2d::Config stem(const Config& c) {
  return c.stem == "cifar" ? conv(c.in_chans, c.widths[0], 3, 1) : conv(c.in_chans, c.widths[0], 7, 2);
}

int halved(int side) { return (side + 1) / 2; }

}  // namespace

Places places(const Config& c) {
  check(c);
  Extents size("resnet", c.img_size, c.width(), c.in_chans);
  int h = c.img_size, w = c.width(), in = c.widths[0];
  const auto cells = [&] { return static_cast<double>(h) * w; };
  if (c.stem == "imagenet") h = halved(h), w = halved(w);
  size.linear(cells(), Conv2d::inputs(stem(c)), in);
  if (c.stem == "imagenet") h = halved(h), w = halved(w);
  for (int s = 0; s < c.stages(); ++s) {
    const int out = c.widths[static_cast<size_t>(s)];
    if (s) h = halved(h), w = halved(w);
    for (int i = 0; i < c.depths[static_cast<size_t>(s)]; ++i, in = out)
      size.linear(cells(), 10.0 * in, out), size.linear(cells(), 9.0 * out, out);  // and a shortcut
  }
  size.linear(1, in, c.num_classes);
  return {};
}

// ---- block -------------------------------------------------------------------------------------------------------------

Scope from_zero(const Scope& s) {
  s.params().preset(s.path() + ".weight", [](Tensor& gamma) { std::ranges::fill(gamma.values(), real(0)); });
  return s;
}

Downsample::Downsample(const Scope& s, int in, int out, int stride)
    : conv(s / 0, resnet::conv(in, out, 1, stride)), norm(s / 1, out) {}

BasicBlock::BasicBlock(const Scope& s, const Config& c, int in_, int out_, int stride_)
    : conv1(s / "conv1", conv(in_, out_, 3, stride_)),
      bn1(s / "bn1", out_),
      conv2(s / "conv2", conv(out_, out_, 3, 1)),
      bn2(c.zero_init_residual ? from_zero(s / "bn2") : s / "bn2", out_),
      in(in_),
      out(out_),
      stride(stride_),
      name(s.path()) {
  if (c.shortcut == "B" && (stride != 1 || in != out)) downsample.emplace(s / "downsample", in, out, stride);
}

Tensor BasicBlock::shortcut(const Run& run, const Tensor& x) const {
  if (downsample) return (*downsample)(run, x);
  Tensor y = x;
  if (stride != 1) y = avg_pool2d(y, {.kernel = 1, .stride = stride});  // of one cell: every second one as it is
  if (in != out) y = pad(y, 3, 0, out - in);
  return y;
}

Tensor BasicBlock::operator()(const Run& run, const Tensor& x) const {
  const Crumb here(name);
  const Tensor y = bn2(run, conv2(run, relu(bn1(run, conv1(run, x)))));
  return relu(add(shortcut(run, x), y));
}

// ---- model -------------------------------------------------------------------------------------------------------------

std::deque<std::deque<BasicBlock>> ResNet::build(const Scope& s, const Config& c) {
  std::deque<std::deque<BasicBlock>> layers;
  int in = c.widths[0];
  for (int stage = 0; stage < c.stages(); ++stage) {
    const int out = c.widths[static_cast<size_t>(stage)];
    auto& blocks = layers.emplace_back();
    for (int i = 0; i < c.depths[static_cast<size_t>(stage)]; ++i, in = out)
      blocks.emplace_back(s / fmt::format("layer{}", stage + 1) / i, c, in, out, stage && i == 0 ? 2 : 1);
  }
  return layers;
}

ResNet::ResNet(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      position_(position(s, places(c))),
      conv1_(s / "conv1", stem(c)),
      bn1_(s / "bn1", c.widths[0]),
      layers_(build(s, c)),
      head_drop_(s / "head_drop", c.drop_rate),
      fc_(s / "fc", c.widths.back(), c.num_classes, torch_init(c.widths.back())) {}

Output ResNet::forward(const Run& run, const Input& input) const {
  Output out;
  Tensor x = bn1_(run, conv1_(run, input.x));
  if (config_.stem == "imagenet") x = max_pool2d(x, {.kernel = 3, .stride = 2, .padding = 1});
  x = relu(x);  // never falls: before or behind the pooling, the bits are the same
  for (const auto& blocks : layers_) {
    for (const BasicBlock& block : blocks) x = block(run, x);
    if (input.features) out.stages.push_back(x);
  }
  out.logits = fc_(run, head_drop_(run, mean(x, {1, 2})));
  return out;
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "resnet",
                              .reference = "He et al. 2016, arXiv 1512.03385",
                              .position = "none",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  const Config eighteen{.depths = {2, 2, 2, 2}, .widths = {64, 128, 256, 512}, .shortcut = "B"};
  Config imagenet = eighteen;
  imagenet.img_size = 224, imagenet.num_classes = 1000, imagenet.stem = "imagenet";
  return {model_row<ResNet>(family, "resnet", {}), model_row<ResNet>(family, "resnet20", {}),
          model_row<ResNet>(family, "resnet18_cifar", eighteen), model_row<ResNet>(family, "resnet18", imagenet)};
}

}  // namespace TESSERA_NS
}  // namespace tessera::resnet
