#include "tessera/train/data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tessera/core/error.h"
#include "tessera/train/data/draw.h"

namespace tessera::data {
namespace {

void need(bool ok, const char* name, double value, const char* range) {
  if (!ok) fail("augment", "{} = {} makes no sense; it must be {}", name, value, range);
}
void need_word(const char* name, const std::string& word, const char* one, const char* other) {
  if (word != one && word != other)
    fail("augment", "{} = {} makes no sense; it must be {} or {}", name, word, one, other);
}

// A box of `share` of the area and `aspect` (height over width), clipped to the picture.
struct Box {
  int top, left, bottom, right;
};
Box box_around(double cy, double cx, double bh, double bw, int h, int w) {
  return {std::clamp(static_cast<int>(cy - bh / 2), 0, h), std::clamp(static_cast<int>(cx - bw / 2), 0, w),
          std::clamp(static_cast<int>(cy + bh / 2), 0, h), std::clamp(static_cast<int>(cx + bw / 2), 0, w)};
}

// A box of 2 % to a third of the area, height over width from 0.3 to 1 / 0.3, becomes noise.
void erase(Draw& draw, int h, int w, int channels, real* x) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = draw.uniform(0.02, 1.0 / 3) * h * w;
    const double aspect = std::exp(draw.uniform(std::log(0.3), -std::log(0.3)));
    const int bh = static_cast<int>(std::lround(std::sqrt(area * aspect)));
    const int bw = static_cast<int>(std::lround(std::sqrt(area / aspect)));
    if (bh < 1 || bw < 1 || bh >= h || bw >= w) continue;
    const int top = static_cast<int>(draw.below(static_cast<uint32_t>(h - bh + 1)));
    const int left = static_cast<int>(draw.below(static_cast<uint32_t>(w - bw + 1)));
    for (int y = top; y < top + bh; ++y)
      for (int i = left * channels; i < (left + bw) * channels; ++i)
        x[y * w * channels + i] = static_cast<real>(draw.normal());
    return;
  }
}

// Parts of an augmentation that are refused together, and the words that switch them off: one line tells all of them.
class Refused {
 public:
  void add(bool refused, std::string_view name, const char* off) {
    if (!refused) return;
    names_ += fmt::format("{}{}", names_.empty() ? "" : " and ", name);
    off_ += fmt::format(" {}", off);
    ++count_;
  }
  bool any() const { return count_ > 0; }
  bool several() const { return count_ > 1; }
  const std::string& names() const { return names_; }
  std::string cure() const { return "write" + off_; }

 private:
  std::string names_, off_;
  int count_ = 0;
};

/// What is on of all that works on images.
struct Part {
  Augmentation which;
  bool on;
  const char *key, *off;
};
std::array<Part, 6> parts(const Augment& a) {
  return {{{Augmentation::crop, a.crop != 0, "crop", "augment.crop=0"},
           {Augmentation::flip, a.flip, "flip", "augment.flip=false"},
           {Augmentation::randaug, a.randaug_n != 0, "randaug_n", "augment.randaug_n=0"},
           {Augmentation::erase, a.erase != 0, "erase", "augment.erase=0"},
           {Augmentation::mixup, a.mixup != 0, "mixup", "augment.mixup=0"},
           {Augmentation::cutmix, a.cutmix != 0, "cutmix", "augment.cutmix=0"}}};
}

void refuse_masks(const Augment& a, const std::string& name, const char* holds) {
  Refused masks;
  masks.add(a.freq_masks != 0, "freq_masks", "augment.freq_masks=0");
  masks.add(a.time_masks != 0, "time_masks", "augment.time_masks=0");
  if (masks.any())
    fail("augment", "{} {} frames of sound, but {} {}; {}", masks.names(), masks.several() ? "mask" : "masks", name,
         holds, masks.cure());
}

}  // namespace

void check(const Augment& a, const Set& set) {
  need_word("padding_mode", a.padding_mode, "constant", "reflect");
  need_word("flip_mode", a.flip_mode, "random", "alternate");
  need(a.crop >= 0 && a.crop <= std::min(set.h, set.w), "crop", a.crop, "from 0 to the image's size");
  if (a.padding_mode == "reflect")
    need(a.crop < std::min(set.h, set.w), "crop", a.crop, "below the image's size with padding_mode = reflect");
  need(a.randaug_n >= 0 && a.randaug_n <= 16, "randaug_n", a.randaug_n, "from 0 to 16");
  need(a.randaug_m >= 0 && a.randaug_m <= 10, "randaug_m", a.randaug_m, "from 0 to 10");
  need(a.randaug_mstd >= 0 && a.randaug_mstd <= 100, "randaug_mstd", a.randaug_mstd, "from 0 to 100");
  need(a.mixup >= 0 && a.mixup <= 1000, "mixup", a.mixup, "0 (off) or the alpha of a Beta distribution");
  need(a.cutmix >= 0 && a.cutmix <= 1000, "cutmix", a.cutmix, "0 (off) or the alpha of a Beta distribution");
  refuse_masks(a, set.name, "holds images");
  need(a.mix_off_epoch >= 0, "mix_off_epoch", a.mix_off_epoch, "0 (never) or an epoch");
  const std::pair<const char*, double> probabilities[] = {
      {"randaug_prob", a.randaug_prob}, {"erase", a.erase}, {"mix_prob", a.mix_prob}, {"switch_prob", a.switch_prob}};
  for (const auto& [what, p] : probabilities) need(p >= 0 && p <= 1, what, p, "a probability");
  if (a.randaug_n > 0 && set.channels != 1 && set.channels != 3)
    fail("augment", "randaug works on grey or RGB images, {} has {} channels", set.name, set.channels);
  Refused refused;
  for (const Part& p : parts(a)) refused.add(p.on && !set.keeps_label(p.which), name(p.which), p.off);
  if (refused.any())
    fail("augment", "{} would destroy the labels of {}: {}; {}", refused.names(), set.name, set.why_refused,
         refused.cure());
}

void check_none(const Augment& a, const Source& source) {
  Refused refused;
  for (const Part& p : parts(a)) refused.add(p.on, p.key, p.off);
  if (refused.any())
    fail("augment", "{} {} on images, but {} has none; {}", refused.names(), refused.several() ? "work" : "works",
         source.name, refused.cure());
  if (source.form().kind != InputShape::Kind::frames) refuse_masks(a, source.name, "has none");
}

Pipeline::Pipeline(const Augment& augment, const Set& set) : augment_(augment), set_(&set) {
  for (size_t c = 0; c < table_.size(); ++c) {
    for (size_t v = 0; v < 256; ++v)
      table_[c][v] = static_cast<real>((static_cast<double>(v) / 255 - static_cast<double>(set.stats.mean[c])) /
                                       static_cast<double>(set.stats.std[c]));
    mean_[c] = static_cast<uint8_t>(std::lround(255 * static_cast<double>(set.stats.mean[c])));
  }
}

void Pipeline::normalise(const uint8_t* pixels, real* out) const {
  const size_t n = set_->bytes(), channels = static_cast<size_t>(set_->channels);
  for (size_t i = 0; i < n; i += channels)
    for (size_t c = 0; c < channels; ++c) out[i + c] = table_[c][pixels[i + c]];
}

void Pipeline::begin(uint64_t seed, int epoch) {
  sides_ = rng::Stream(rng::mix(seed ^ rng::hash("flip")));
  epoch_ = epoch;
}

bool Pipeline::mirrors(size_t i, bool coin) const {
  if (!augment_.flip) return false;
  if (augment_.flip_mode == "random") return coin;
  const bool side = sides_.bits(i) >> 63;
  return side == (epoch_ % 2 == 1);
}

/// image_ becomes the window of the padded image that begins dy rows and dx columns from its own corner.
void Pipeline::move(const uint8_t* pixels, int dy, int dx, bool mirrored) {
  const int h = set_->h, w = set_->w, c = set_->channels;
  const bool reflect = augment_.padding_mode == "reflect";
  image_.assign(set_->bytes(), 0);
  const auto inside = [](int shift, int n) { return std::pair(std::max(0, -shift), std::min(n, n - shift)); };
  const auto [y0, y1] = reflect ? std::pair(0, h) : inside(dy, h);
  const auto [x0, x1] = inside(dx, w);  // the columns that show the image
  for (int y = y0; y < y1; ++y) {
    const uint8_t* from = pixels + reflected(y + dy, h) * w * c;
    uint8_t* row = image_.data() + y * w * c;
    const auto copy = [&](int x, int x_from) {
      std::copy_n(from + x_from * c, c, row + (mirrored ? w - 1 - x : x) * c);
    };
    if (mirrored) {
      for (int x = x0; x < x1; ++x) copy(x, x + dx);
    } else {
      std::memcpy(row + x0 * c, from + (x0 + dx) * c, static_cast<size_t>((x1 - x0) * c));
    }
    if (!reflect) continue;
    for (int x = 0; x < x0; ++x) copy(x, reflected(x + dx, w));
    for (int x = x1; x < w; ++x) copy(x, reflected(x + dx, w));
  }
}

void Pipeline::apply(size_t i, rng::Stream stream, real* out) {
  const int h = set_->h, w = set_->w, c = set_->channels;
  Draw draw(stream);
  // always drawn, so that switching one augmentation off leaves the others' numbers alone
  const auto span = static_cast<uint32_t>(2 * augment_.crop + 1);
  const int dy = static_cast<int>(draw.below(span)) - augment_.crop,
            dx = static_cast<int>(draw.below(span)) - augment_.crop;
  const bool mirrored = mirrors(i, draw.coin(0.5)), erased = draw.coin(augment_.erase);
  const uint8_t* pixels = set_->image(i);
  if (dy != 0 || dx != 0 || mirrored || augment_.randaug_n > 0) {
    move(pixels, dy, dx, mirrored);
    if (augment_.randaug_n > 0)
      randaugment(augment_, h, w, c, image_.data(), mean_, rng::Stream(rng::mix(stream.seed() ^ rng::hash("randaug"))),
                  scratch_);
    pixels = image_.data();
  }
  normalise(pixels, out);
  if (erased) erase(draw, h, w, c, out);
}

void mix(const Augment& a, const Tensor& x, std::span<const int32_t> labels, const Tensor& targets,
         rng::Stream stream) {
  const auto [B, h, w, c] = x.dims<4>();
  const int K = targets.dims<2>()[1], half = B / 2;
  Draw draw(stream);
  const bool mixed = draw.coin(a.mix_prob) && (a.mixup > 0 || a.cutmix > 0);
  const bool cut = draw.coin(a.switch_prob) ? a.cutmix > 0 : a.mixup <= 0;
  double lambda = 1;  // the share of its own that each sample keeps
  const int64_t image = int64_t{h} * w * c;
  if (mixed && cut) {
    const double edge = std::sqrt(1 - draw.beta(a.cutmix, a.cutmix));
    const Box box = box_around(draw.uniform() * h, draw.uniform() * w, edge * h, edge * w, h, w);
    lambda = 1 - static_cast<double>((box.bottom - box.top) * (box.right - box.left)) / (h * w);
    for (int i = 0; i < half; ++i)
      for (int y = box.top; y < box.bottom; ++y) {
        real* p = x.data() + i * image + (int64_t{y} * w + box.left) * c;
        real* q = x.data() + (B - 1 - i) * image + (int64_t{y} * w + box.left) * c;
        std::swap_ranges(p, p + (box.right - box.left) * c, q);
      }
  } else if (mixed) {
    lambda = draw.beta(a.mixup, a.mixup);
    const real keep = static_cast<real>(lambda), take = static_cast<real>(1 - lambda);
    for (int i = 0; i < half; ++i) {
      real *p = x.data() + i * image, *q = x.data() + (B - 1 - i) * image;
      for (int64_t e = 0; e < image; ++e) {
        const real u = p[e], v = q[e];
        p[e] = keep * u + take * v;
        q[e] = keep * v + take * u;
      }
    }
  }
  std::fill_n(targets.data(), targets.size(), real{0});
  for (int i = 0; i < B; ++i) {
    real* t = targets.data() + int64_t{i} * K;
    t[labels[static_cast<size_t>(i)]] += static_cast<real>(lambda);
    t[labels[static_cast<size_t>(B - 1 - i)]] += static_cast<real>(1 - lambda);
  }
}

}  // namespace tessera::data
