#include "tessera/train/data/log_mel.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "tessera/core/error.h"
#if TESSERA_HAVE_KISSFFT
#include <kiss_fftr.h>
#endif

namespace tessera::data {

#if TESSERA_HAVE_KISSFFT
struct LogMel::Transform {
  explicit Transform(int n) : plan(kiss_fftr_alloc(n, 0, nullptr, nullptr)) {
    if (!plan) fail("data", "no memory for a Fourier transform of {} samples", n);
  }
  ~Transform() { kiss_fftr_free(plan); }
  Transform(const Transform&) = delete;
  Transform& operator=(const Transform&) = delete;
  kiss_fftr_cfg plan;
};

namespace {

constexpr double floor_of_power = 1e-10;

double mel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double hertz(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

int samples_of(double ms, int rate) { return static_cast<int>(std::lround(ms * rate / 1000)); }

}  // namespace

#else
struct LogMel::Transform {};
#endif

LogMel::LogMel(const LogMelOptions& o) : options_(o) {
#if TESSERA_HAVE_KISSFFT
  if (o.n_mels < 1 || o.n_mels > 4096) fail("data", "n_mels {} makes no sense; 1 to 4096", o.n_mels);
  if (!(o.window_ms > 0 && o.window_ms <= 1000 && o.hop_ms > 0 && o.hop_ms <= 1000) || o.sample_rate < 1)
    fail("data", "frames of {} ms every {} ms at {} samples a second make no sense", o.window_ms, o.hop_ms,
         o.sample_rate);
  window_ = samples_of(o.window_ms, o.sample_rate), hop_ = samples_of(o.hop_ms, o.sample_rate);
  if (window_ < 8 || window_ > 1 << 16 || hop_ < 1)
    fail("data",
         "frames of {} samples every {} (data.window_ms={}, data.hop_ms={}, {} samples a second); 8 to 65536, every 1 "
         "or more are needed",
         window_, hop_, o.window_ms, o.hop_ms, o.sample_rate);
  n_ = static_cast<int>(std::bit_ceil(static_cast<unsigned>(window_)));
  for (int i = 0; i < window_; ++i)
    hann_.push_back(static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / window_)));
  // band k rises from edge k to edge k + 1 and falls to edge k + 2
  std::vector<double> edges;
  for (int k = 0; k < o.n_mels + 2; ++k) edges.push_back(hertz(mel(o.sample_rate / 2.0) * k / (o.n_mels + 1)));
  for (size_t k = 0; k + 2 < edges.size(); ++k) {
    Band band;
    for (int f = 0; f <= n_ / 2; ++f) {
      const double at = static_cast<double>(f) * o.sample_rate / n_;
      const double weight =
          std::min((at - edges[k]) / (edges[k + 1] - edges[k]), (edges[k + 2] - at) / (edges[k + 2] - edges[k + 1]));
      if (weight <= 0) continue;
      if (band.weights.empty()) band.first = f;
      band.weights.push_back(static_cast<float>(weight));
    }
    if (band.weights.empty())
      fail("data",
           "data.n_mels={} are too many: band {} ({:.0f} to {:.0f} Hz) falls between two of the {} frequencies of a "
           "window; take fewer, or a longer data.window_ms",
           o.n_mels, k, edges[k], edges[k + 2], n_ / 2 + 1);
    bands_.push_back(std::move(band));
  }
  transform_ = std::make_unique<Transform>(n_);
#else
  fail("data", "features of sound need KissFFT, and this program was built without it; build it anew with KissFFT");
#endif
}

LogMel::~LogMel() = default;

std::vector<float> LogMel::operator()(std::span<const float> x) const {
  const size_t hop = static_cast<size_t>(hop_), frames = 1 + x.size() / hop, mels = bands_.size();
  std::vector<float> out(frames * mels);
#if TESSERA_HAVE_KISSFFT
  const auto n = static_cast<size_t>(n_);
  std::vector<float> in(n), power(n / 2 + 1);
  std::vector<kiss_fft_cpx> spectrum(n / 2 + 1);
  const auto samples = static_cast<int64_t>(x.size());
  for (size_t t = 0; t < frames; ++t) {
    std::fill(in.begin(), in.end(), 0.0f);
    const int margin = (n_ - window_) / 2;
    const int64_t begin = static_cast<int64_t>(t * hop) - n_ / 2 + margin;  // of the window
    for (int i = 0; i < window_; ++i)
      if (const int64_t at = begin + i; at >= 0 && at < samples)
        in[static_cast<size_t>(margin + i)] = hann_[static_cast<size_t>(i)] * x[static_cast<size_t>(at)];
    kiss_fftr(transform_->plan, in.data(), spectrum.data());
    for (size_t f = 0; f < power.size(); ++f) power[f] = spectrum[f].r * spectrum[f].r + spectrum[f].i * spectrum[f].i;
    for (size_t k = 0; k < mels; ++k) {
      const Band& band = bands_[k];
      double sum = 0;
      for (size_t f = 0; f < band.weights.size(); ++f)
        sum += static_cast<double>(band.weights[f]) * static_cast<double>(power[static_cast<size_t>(band.first) + f]);
      out[t * mels + k] = static_cast<float>(std::log(std::max(sum, floor_of_power)));
    }
  }
#endif
  return out;
}

}  // namespace tessera::data
