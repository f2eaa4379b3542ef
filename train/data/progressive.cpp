#include "tessera/train/data/progressive.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/nn/value.h"

namespace tessera::data {
namespace {

/// Output cell o of an axis is the sum of weight[o][k] x[first[o] + k].
struct Axis {
  std::vector<int> first;
  std::vector<std::vector<real>> weight;
};

/// A triangle as wide as a cell of the coarser grid, about the cell's centre, cut at the borders.
Axis triangles(int in, int out) {
  Axis axis;
  const double step = static_cast<double>(in) / out, reach = std::max(step, 1.0);
  for (int o = 0; o < out; ++o) {
    const double centre = (o + 0.5) * step;
    const int a = std::max(0, static_cast<int>(std::floor(centre - reach + 0.5))),
              b = std::min(in, static_cast<int>(std::floor(centre + reach + 0.5)));
    std::vector<double> w;
    double sum = 0;
    for (int i = a; i < b; ++i) {
      w.push_back(std::max(0.0, 1 - std::abs(i + 0.5 - centre) / reach));
      sum += w.back();
    }
    std::vector<real> share;
    for (const double v : w) share.push_back(static_cast<real>(v / sum));
    axis.first.push_back(a), axis.weight.push_back(std::move(share));
  }
  return axis;
}

/// Along an axis of `in` cells of `width` numbers each: y (out, width) of x (in, width).
void along(const Axis& axis, const real* x, real* y, int64_t width) {
  for (size_t o = 0; o < axis.first.size(); ++o) {
    real* const to = y + static_cast<int64_t>(o) * width;
    std::fill_n(to, width, real{0});
    for (size_t k = 0; k < axis.weight[o].size(); ++k) {
      const real w = axis.weight[o][k];
      const real* const from = x + (axis.first[o] + static_cast<int64_t>(k)) * width;
      for (int64_t i = 0; i < width; ++i) to[i] += w * from[i];
    }
  }
}

}  // namespace

std::vector<SizeFrom> progressive(const std::string& text) {
  std::vector<SizeFrom> sizes;
  const auto number = [&](std::string_view s, auto& to) {
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), to);
    return error == std::errc() && end == s.data() + s.size();
  };
  std::string plain;  // blanks say nothing
  std::ranges::copy_if(text, std::back_inserter(plain), [](char c) { return c != ' '; });
  for (std::string_view rest = plain; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, comma);
    const size_t at = std::min(part.find('@'), part.size());
    SizeFrom s;
    const bool right = number(part.substr(0, at), s.size) && at < part.size() && number(part.substr(at + 1), s.epoch);
    if (!right || s.size < 1 || s.size > 4096 || !(s.epoch >= 0 && s.epoch <= 1e6) || comma + 1 == rest.size())
      fail("data", "data.progressive: {} is no SIZE@EPOCH with a size from 1 to 4096", shown(part));
    if (sizes.empty() ? s.epoch != 0 : s.epoch <= sizes.back().epoch)
      fail("data", "data.progressive: {} comes too {}: the first size is that of epoch 0, and epochs rise", shown(part),
           sizes.empty() ? "late" : "early");
    sizes.push_back(s);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return sizes;
}

int size_at(const std::vector<SizeFrom>& sizes, double epoch) {
  int size = 0;
  for (const SizeFrom& s : sizes)
    if (s.epoch <= epoch) size = s.size;
  return size;
}

double mean_area(const std::vector<SizeFrom>& sizes, int full, double from, double to) {
  if (sizes.empty() || !(from < to)) return 1;
  double sum = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double a = std::max(from, sizes[i].epoch), b = i + 1 < sizes.size() ? std::min(to, sizes[i + 1].epoch) : to;
    const double side = static_cast<double>(sizes[i].size) / full;
    if (a < b) sum += (b - a) * side * side;
  }
  return sum / (to - from);
}

Tensor resize_images(const Tensor& x, int size, Tensor& memory) {
  const auto [B, h, w, C] = x.dims<4>();
  if (h == size && w == size) return x;
  const Axis down = triangles(h, size), across = triangles(w, size);
  if (!memory || !memory.unique() || memory.dim(0) < B || memory.dim(1) != size || memory.dim(3) != C)
    memory = Tensor({B, size, size, C});
  const Tensor y = memory.dim(0) == B ? memory : memory.rows(0, B);
  std::vector<real> lines(static_cast<size_t>(int64_t{size} * w * C));
  const int64_t from = int64_t{h} * w * C, line = int64_t{w} * C, to = int64_t{size} * C;
  for (int64_t b = 0; b < B; ++b) {
    along(down, x.data() + b * from, lines.data(), line);
    for (int64_t i = 0; i < size; ++i) along(across, lines.data() + i * line, y.data() + (b * size + i) * to, C);
  }
  return y;
}

}  // namespace tessera::data
