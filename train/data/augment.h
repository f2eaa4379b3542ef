#pragma once
// Augmentation of one image (crop, flip, RandAugment, erasing) and of a batch (mixup, cutmix). Every random number is
// drawn from a Stream keyed by (seed, epoch, sample) or, for the mixing of a batch, (seed, epoch, batch): independent
// of threads and order.
#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "train/data/set.h"

namespace tessera::data {

struct Augment {
  int crop = 0;               ///< pad by so many zero pixels on each side and cut a random window of the original size
  bool flip = false;          ///< left-right with probability 1/2
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
  bool mixes(int epoch) const { return (mixup > 0 || cutmix > 0) && (mix_off_epoch == 0 || epoch < mix_off_epoch); }
};

/// Throws Error if a value makes no sense or if an augmentation destroys the labels of `set`.
void check(const Augment& augment, const Set& set);

}  // namespace tessera::data
