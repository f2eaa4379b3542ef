// Deformable convolution: rows of the op table, torchvision's numbers, and what must hold of it and of the layer.
#include "tessera/core/ops/deform_conv.h"

#include <cmath>

#include "tessera/nn/deform_conv.h"
#include "tests/twin/golden.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// The map at a point between its cells, cell by cell of the whole map: zero outside.
double bilinear(const Array& x, int n, double py, double px, int c) {
  double value = std::isnan(py) || std::isnan(px) ? py + px : 0;
  for (int i = 0; i < x.dim(1); ++i)
    for (int j = 0; j < x.dim(2); ++j) {
      const double a = 1 - std::abs(py - i), b = 1 - std::abs(px - j);
      if (a > 0 && b > 0) value += a * b * x.at(n, i, j, c);
    }
  return value;
}

Array plain_deform(const Array& x, const Array& offset, const Array* mask, const Array& w, const Array* bias,
                   const ConvOptions& o, int G) {
  const int I = w.dim(1), kh = w.dim(2), kw = w.dim(3), T = kh * kw;
  Array y({x.dim(0), offset.dim(1), offset.dim(2), w.dim(0)});
  for (int n = 0; n < y.dim(0); ++n)
    for (int i = 0; i < y.dim(1); ++i)
      for (int j = 0; j < y.dim(2); ++j)
        for (int out = 0; out < y.dim(3); ++out) {
          double sum = bias ? (*bias)[out] : 0;
          for (int c = 0; c < I; ++c)
            for (int u = 0; u < kh; ++u)
              for (int v = 0; v < kw; ++v) {
                const int channel = out / (w.dim(0) / o.groups) * I + c, g = channel / (x.dim(3) / G);
                const int tap = g * T + u * kw + v;
                const double py = i * o.stride_y - o.top + u * o.dilation_y + offset.at(n, i, j, 2 * tap);
                const double px = j * o.stride_x - o.left + v * o.dilation_x + offset.at(n, i, j, 2 * tap + 1);
                const double m = mask ? mask->at(n, i, j, tap) : 1;
                sum += w.at(out, c, u, v) * m * bilinear(x, n, py, px, channel);
              }
          y.at(n, i, j, out) = sum;
        }
  return y;
}

OP_ROWS(deform_conv2d) {
  struct Case {
    const char* name;
    Shape x, w;
    int Ho, Wo;
    ConvOptions o;
    int G;
  };
  const std::vector<Case> cases{
      {"3x3 padded", {2, 3, 4, 2}, {3, 2, 3, 3}, 3, 4, conv_options(1, 1), 1},
      {"1x1", {1, 3, 3, 5}, {2, 5, 1, 1}, 3, 3, conv_options(1, 0), 1},
      {"strided, no padding", {1, 6, 5, 1}, {2, 1, 2, 2}, 3, 2, conv_options(2, 0), 1},
      {"uneven padding, strides and dilations", {1, 6, 7, 2}, {2, 2, 2, 3}, 3, 6, {2, 1, 1, 0, 2, 1, 1, 2, 1}, 1},
      {"offset groups inside of groups", {1, 3, 3, 4}, {2, 2, 3, 3}, 3, 3, conv_options(1, 1, 2), 4},
      {"offset groups across groups", {1, 3, 2, 6}, {3, 2, 2, 2}, 4, 3, conv_options(1, 1, 3), 2},
      {"depthwise 33 channels", {1, 2, 3, 33}, {33, 1, 3, 3}, 2, 3, conv_options(1, 1, 33), 3},
  };
  for (const Case& c : cases) {
    const int T = c.w[2] * c.w[3], B = c.x[0];
    const auto K = static_cast<double>(c.w.size() + B * c.Ho * c.Wo * T);
    // slopes jump where a sample crosses a line of cells; a reach of 1.6 leaves the map at its edges
    const In offset{{B, c.Ho, c.Wo, 2 * c.G * T}, -1.6, 1.6, {-1, 0, 1}}, mask{{B, c.Ho, c.Wo, c.G * T}};
    rows.push_back(
        {.op = "deform_conv2d",
         .name = c.name,
         .in = {{c.x}, offset, mask, {c.w}, {{c.w[0]}}},
         .run = [c](const Tensors& x) { return deform_conv2d(x[0], x[1], x[2], x[3], x[4], c.o, c.G); },
         .reference = [c](const Arrays& x) { return plain_deform(x[0], x[1], &x[2], x[3], &x[4], c.o, c.G); },
         .K = K});
    rows.push_back(
        {.op = "deform_conv2d",
         .name = std::string(c.name) + ", no mask, no bias",
         .in = {{c.x}, offset, {c.w}},
         .run = [c](const Tensors& x) { return deform_conv2d(x[0], x[1], {}, x[2], {}, c.o, c.G); },
         .reference = [c](const Arrays& x) { return plain_deform(x[0], x[1], nullptr, x[2], nullptr, c.o, c.G); },
         .K = K});
  }
  const auto refuses = [&](const char* name, Shape x, Shape offset, Shape mask, Shape w, Shape b, ConvOptions o, int G,
                           const char* says) {
    errors.push_back({"deform_conv2d", name,
                      [=] {
                        const auto t = [](const Shape& s) { return s.rank ? zeros(s) : Tensor(); };
                        deform_conv2d(t(x), t(offset), t(mask), t(w), t(b), o, G);
                      },
                      says});
  };
  const Shape none, x{1, 4, 4, 2}, w{3, 2, 3, 3}, at{1, 4, 4, 18};
  const ConvOptions same = conv_options(1, 1);
  refuses("rank", {4, 4, 2}, at, none, w, none, same, 1, "(B,H,W,C)");
  refuses("channels", {1, 4, 4, 3}, at, none, w, none, same, 1, "3 channels but weight is (3, 2, 3, 3)");
  refuses("offset groups", x, at, none, w, none, same, 3, "3 offset groups do not divide 2 channels");
  refuses("bias", x, at, none, w, {2}, same, 1, "bias is (2,) for 3 outputs");
  refuses("stride", x, at, none, w, none, conv_options(0, 1), 1, "stride");
  refuses("too large", x, at, none, {3, 2, 7, 7}, none, same, 1, "larger than the padded 4x4 map");
  refuses("offset", x, {1, 4, 4, 9}, none, w, none, same, 1, "offset is (1, 4, 4, 9), expected (1, 4, 4, 18)");
  refuses("mask", x, at, at, w, none, same, 1, "mask is (1, 4, 4, 18), expected (1, 4, 4, 9)");
}

// ---- against torchvision -----------------------------------------------------------------------------------------------

TWIN_CASE("golden: deformable convolution, v1 and v2, values and gradients as torchvision's") {
  struct Case {
    const char* name;
    ConvOptions o;
    int G;
  };
  const io::TensorFile file(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/deform_conv.safetensors");
  for (const Case& c : {Case{"plain", conv_options(1, 1), 1},
                        {"v1", conv_options(1, 1), 1},
                        {"strided", {2, 3, 1, 1, 0, 0, 1, 1, 1}, 1},
                        {"dilated", {1, 1, 2, 2, 2, 2, 2, 1, 1}, 1},
                        {"groups", conv_options(1, 1, 2), 3},
                        {"depthwise", conv_options(1, 1, 4), 2},
                        {"far", conv_options(1, 1), 1}}) {
    CAPTURE(c.name);
    Tape tape;
    Grads none;
    const auto name = [&](const char* of) { return c.name + std::string(".") + of; };
    const auto map = [&](const char* of) { return channels_last(file.read(name(of))); };
    const auto watched = [&](const char* of, bool is_map) {
      if (!file.has(name(of))) return Tensor();
      return tape.watch(is_map ? map(of) : file.read(name(of)));
    };
    const Tensor x = watched("x", true), offset = watched("offset", true), mask = watched("mask", true),
                 w = watched("weight", false), b = watched("bias", false);
    const Tensor y = deform_conv2d(x, offset, mask, w, b, c.o, c.G);
    tape.backward(y, map("cotangent"), none);
    const double bound = sizeof(real) == 8 ? 1e-13 : 2e-5;
    const auto close = [&](const char* of, const Tensor& got, const Tensor& want) {
      CAPTURE(of);
      CHECK(got.shape() == want.shape());
      CHECK(difference(got, want) <= bound * std::max(1.0, largest(want)));
    };
    close("y", y, map("y"));
    close("x", tape.grad(x), map("grad.x"));
    close("offset", tape.grad(offset), map("grad.offset"));
    if (mask) close("mask", tape.grad(mask), map("grad.mask"));
    close("weight", tape.grad(w), file.read(name("grad.weight")));
    if (b) close("bias", tape.grad(b), file.read(name("grad.bias")));
  }
}

TWIN_CASE("deform_conv2d: a hand-computed 3 x 3 map, all taps moved by (0.5, 0.25)") {
  Tensor x({1, 3, 3, 1}), offset({1, 3, 3, 18});
  for (int i = 0; i < 9; ++i) x[i] = static_cast<real>(i + 1);
  for (int64_t i = 0; i < offset.size(); ++i) offset[i] = static_cast<real>(i % 2 ? 0.25 : 0.5);
  const Tensor y = deform_conv2d(x, offset, {}, full({1, 1, 3, 3}, 1), {}, conv_options(1, 1));
  CHECK(static_cast<double>(y[4]) == doctest::Approx(39.125));  // the centre
  CHECK(static_cast<double>(y[0]) == doctest::Approx(22.875));  // a corner
}

Tensor wave(const Shape& shape, double step) {
  Tensor t(shape);
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(std::sin(step * static_cast<double>(i + 1)));
  return t;
}

TWIN_CASE("deform_conv2d: without offsets it is conv2d; offsets of whole cells move the map") {
  const Tensor x = wave({2, 5, 6, 4}, 0.7), w = wave({6, 2, 3, 3}, 0.3), b = wave({6}, 1);
  const ConvOptions o{2, 1, 1, 0, 2, 1, 1, 2, 2};
  const Tensor plain = conv2d(x, w, b, o);
  const Shape at{2, plain.dim(1), plain.dim(2), 2 * 2 * 9};
  const double bound = (sizeof(real) == 8 ? 1e-14 : 1e-5) * largest(plain);
  CHECK(difference(deform_conv2d(x, zeros(at), {}, w, b, o, 2), plain) <= bound);
  Tensor right = zeros(at);  // dx = 1: the map one column to the left
  for (int64_t i = 1; i < right.size(); i += 2) right[i] = 1;
  Tensor moved = zeros(x.shape());
  for (int64_t row = 0; row < 2 * 5; ++row)
    for (int64_t i = 0; i < 5 * 4; ++i) moved[row * 24 + i] = x[row * 24 + i + 4];
  ConvOptions shifted = o;  // column -left of x is seen by tap 0 of output 0, in `moved` it is one to the left
  const Tensor y = deform_conv2d(x, right, {}, w, b, shifted, 2), z = conv2d(moved, w, b, shifted);
  for (int n = 0; n < 2; ++n)  // what `moved` lost, column 0 of x, is seen by outputs at the left edge alone
    for (int i = 0; i < at[1]; ++i)
      for (int64_t k = 0; k < (at[2] - 2) * 6; ++k) {
        const int64_t e = ((n * at[1] + i) * int64_t{at[2]} + 2) * 6 + k;
        CHECK(std::abs(static_cast<double>(y[e] - z[e])) <= bound);
      }
}

TWIN_CASE("deformable layer: starts as a plain convolution, modulated as half of one, and learns its offsets") {
  const Tensor x = wave({2, 5, 6, 3}, 0.4);
  for (const bool modulated : {false, true}) {
    Params params(1);
    const DeformConv2d layer(Scope(params), {.in = 3, .out = 4, .options = conv_options(1, 1), .modulated = modulated});
    CHECK(params.find("offset.weight")->value.shape() == Shape{18, 3, 3, 3});
    CHECK((params.find("mask.weight") != nullptr) == modulated);
    const Tensor plain = conv2d(x, layer.weight, {}, layer.options), bias = layer.bias;
    Tape tape;
    Grads grads;
    const Tensor y = layer({}, x);
    double most = 0;
    for (int64_t i = 0; i < y.size(); ++i) {
      const double want = static_cast<double>(plain[i]) * (modulated ? 0.5 : 1) + static_cast<double>(bias[i % 4]);
      most = std::max(most, std::abs(static_cast<double>(y[i]) - want));
    }
    CHECK(most <= 1e-5);
    tape.backward(y, wave(y.shape(), 0.9), grads);
    for (const auto& p : params.entries()) CHECK_MESSAGE(largest(grads.of(p.value)) > 0, p.name);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
