#include "tessera/train/data/frames.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/train/data/augment.h"

namespace tessera::data {
namespace {

struct FrameReader final : Reader {
  FrameReader(const Frames& f, const Augment& a) : source(f), augment(a) {}
  void fill(size_t i, rng::Stream stream, const Slot& slot) override {
    const int length = source.length(i), features = source.data->features;
    const float* from = source.frames(i);
    const size_t n = static_cast<size_t>(length) * static_cast<size_t>(features);
    if (source.by.mean.empty()) {
      std::copy_n(from, n, slot.x);
    } else {
      const float *mean = source.by.mean.data(), *std = source.by.std.data();
      for (size_t k = 0; k < n; k += static_cast<size_t>(features))
        for (size_t f = 0; f < static_cast<size_t>(features); ++f)
          slot.x[k + f] = static_cast<real>((from[k + f] - mean[f]) / std[f]);
    }
    if (augment.masks()) mask(augment, length, features, slot.x, stream);
  }
  const Frames& source;
  const Augment augment;
};

}  // namespace

Frames::Frames(std::shared_ptr<const Sequences> sequences, int of_all) : data(std::move(sequences)), longest(of_all) {
  size_t at = 0;
  for (const int32_t n : data->lengths) {
    begins.push_back(at);
    at += static_cast<size_t>(n) * static_cast<size_t>(data->features);
  }
}

std::unique_ptr<Reader> Frames::reader(const Augment& augment) const {
  check_frames(augment, *this);
  return std::make_unique<FrameReader>(*this, augment);
}

std::shared_ptr<const Source> Frames::normalised_by(const Normalisation& other) const {
  if (by.mean.empty()) return Source::normalised_by(other);
  const auto n = static_cast<size_t>(data->features);
  if (other.mean.size() != n || other.std.size() != n)
    fail("data", "{} has {} features, but {} means and {} deviations to normalise them by", name, n, other.mean.size(),
         other.std.size());
  auto source = std::make_shared<Frames>(*this);
  source->by = other;
  return source;
}

Normalisation normalisation_of(const Sequences& s) {
  const auto width = static_cast<size_t>(s.features);
  const size_t frames = s.values.size() / width;
  std::vector<double> sum(width), squares(width);
  for (size_t k = 0; k < s.values.size(); ++k) sum[k % width] += static_cast<double>(s.values[k]);
  for (double& x : sum) x /= static_cast<double>(frames);
  for (size_t k = 0; k < s.values.size(); ++k) {
    const double d = static_cast<double>(s.values[k]) - sum[k % width];
    squares[k % width] += d * d;
  }
  Normalisation by;
  for (size_t f = 0; f < width; ++f) {
    const double deviation = std::sqrt(squares[f] / static_cast<double>(frames));
    by.mean.push_back(static_cast<float>(sum[f]));
    by.std.push_back(deviation > 1e-5 ? static_cast<float>(deviation) : 1.0f);
  }
  return by;
}

}  // namespace tessera::data
