#pragma once
// Augmentation of one image (crop, flip, RandAugment, erasing) and of a batch (mixup, cutmix). Every random number is
// drawn from a Stream keyed by (seed, epoch, sample) or, for the mixing of a batch, (seed, epoch, batch): independent
// of threads and order.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tessera/core/rng.h"
#include "tessera/train/data/set.h"

namespace tessera::data {

struct Augment {
  int crop = 0;  ///< pad by so many pixels on each side and cut a random window of the original size
  std::string padding_mode =
      "constant";     ///< what they are: constant (zeros) | reflect, the image mirrored at its border
  bool flip = false;  ///< left-right
  /// random: with probability 1/2 | alternate: a fixed half of the samples in even epochs, the others in odd ones, so that every sample is
  /// seen both ways in any two successive epochs (Jordan 2024, arXiv 2404.00498, section 3.6)
  std::string flip_mode = "random";
  int randaug_n = 0;          ///< RandAugment (Cubuk et al. 2020): operations per image; 0 = off
  int randaug_m = 9;          ///< its magnitude, 0..10
  double randaug_mstd = 0.5;  ///< standard deviation of the magnitude
  double randaug_prob = 0.5;  ///< each chosen operation is applied with this probability
  double erase = 0;           ///< probability of random erasing (Zhong et al. 2020), filled with noise
  double mixup = 0;           ///< alpha of mixup (Zhang et al. 2018); 0 = off
  double cutmix = 0;          ///< alpha of CutMix (Yun et al. 2019); 0 = off
  double mix_prob = 1;        ///< probability that a batch is mixed at all
  double switch_prob = 0.5;   ///< of cutmix rather than mixup when both are on
  int mix_off_epoch = 0;      ///< from this epoch on no mixing; 0: always
  int freq_masks = 0;         ///< SpecAugment (Park et al. 2019): bands of features that become zero; 0: none
  int freq_width = 8;         ///< the widest of them, in features
  int time_masks = 0;         ///< SpecAugment: stretches of frames that become zero; 0: none
  int time_width = 10;        ///< the longest of them, in frames
  bool mixes(int epoch) const { return (mixup > 0 || cutmix > 0) && (mix_off_epoch == 0 || epoch < mix_off_epoch); }
  bool masks() const { return freq_masks > 0 || time_masks > 0; }
};

/// Throws Error if a value makes no sense or if an augmentation destroys the labels of `set`.
void check(const Augment& augment, const Set& set);
/// Throws Error if anything is on that works on images: for data that are none.
void check_none(const Augment& augment, const Source& source);
/// The same, and if SpecAugment's values make no sense for the frames of `source`.
void check_frames(const Augment& augment, const Source& source);
/// SpecAugment of one sequence x (length, features) in place: each mask has a width that is uniform from 0 to the widest, and no more than
/// there is, and any place where it fits.
void mask(const Augment& augment, int length, int features, real* x, rng::Stream stream);

/// Which of n rows shows at i when the image goes on mirrored at its border (numpy's and torch's "reflect"): -1 is 1, n is n - 2.
/// -n < i < 2 n - 1.
constexpr int reflected(int i, int n) { return i < 0 ? -i : i < n ? i : 2 * (n - 1) - i; }

/// From stored bytes to what a model sees. Holds scratch memory: one a thread.
class Pipeline {
 public:
  /// `set` must outlive the pipeline.
  Pipeline(const Augment& augment, const Set& set);
  /// Which epoch of which run the samples are of: alternating flips follow it. 0 of 0 until it is said.
  void begin(uint64_t seed, int epoch);
  /// Augments image i of the set with the numbers of `stream` and normalises it into out (h, w, channels).
  void apply(size_t i, rng::Stream stream, real* out);
  /// Only normalises: out = (pixel / 255 - mean) / std.
  void normalise(const uint8_t* pixels, real* out) const;

 private:
  bool mirrors(size_t i, bool coin) const;
  void move(const uint8_t* pixels, int dy, int dx, bool mirrored);

  Augment augment_;
  const Set* set_;
  rng::Stream sides_{0};  // of alternating flips: which half a sample belongs to
  int epoch_ = 0;
  std::array<std::array<real, 256>, 4> table_;
  std::array<uint8_t, 4> mean_;  // what geometric operations fill with
  std::vector<uint8_t> image_, scratch_;
};

/// RandAugment in place on one image: n operations out of the 15 of timm's "increasing" list (Wightman 2019), each with
/// its probability, magnitude and random sign. `fill`: colour of what shearing, moving and turning bring in. Grey or
/// RGB.
void randaugment(const Augment& augment, int h, int w, int channels, uint8_t* pixels, std::span<const uint8_t> fill,
                 rng::Stream stream, std::vector<uint8_t>& scratch);
/// The names of those operations, and one of them alone with a given magnitude (0 to 10) and sign: for pictures and
/// tests.
std::span<const char* const> randaugment_operations();
void randaugment_operation(size_t operation, double magnitude, bool negative, int h, int w, int channels,
                           uint8_t* pixels, std::span<const uint8_t> fill, std::vector<uint8_t>& scratch);

/// Mixup or CutMix of a whole batch x (B, h, w, c) in place, sample i with sample B - 1 - i, and targets (B, classes)
/// to match. One draw decides for the batch (timm's batch mode); a batch that is not mixed gets one-hot targets.
void mix(const Augment& augment, const Tensor& x, std::span<const int32_t> labels, const Tensor& targets,
         rng::Stream stream);

}  // namespace tessera::data
