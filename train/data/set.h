#pragma once
// Labelled images in memory, 8 bits a channel, channels last; subsets share the pixels.
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/train/data/log_mel.h"
#include "tessera/train/data/source.h"

namespace tessera::data {

/// Ways to change an image that may or may not keep its label (train/data/augment.h).
enum class Augmentation { crop, flip, randaug, erase, mixup, cutmix };
std::string_view name(Augmentation a);

/// Mean and standard deviation per channel of pixels scaled to [0, 1].
struct Stats {
  std::array<float, 4> mean{}, std{1, 1, 1, 1};
};

struct Set final : Source {
  int h = 0, w = 0, channels = 0;
  Stats stats;              ///< of the training set this set was opened with: what its images are normalised by
  std::string why_refused;  ///< why some augmentations are refused, as half a sentence, or empty

  size_t size() const override { return rows.size(); }
  InputShape form() const override { return {.h = h, .w = w, .channels = channels}; }
  const uint8_t* image(size_t i) const { return pixels->data() + static_cast<size_t>(rows[i]) * bytes(); }
  int label(size_t i) const override { return (*labels)[static_cast<size_t>(rows[i])]; }
  size_t bytes() const { return static_cast<size_t>(h) * static_cast<size_t>(w) * static_cast<size_t>(channels); }
  bool keeps_label(Augmentation a) const { return (breaks >> static_cast<unsigned>(a) & 1u) == 0; }
  std::unique_ptr<Reader> reader(const Augment& augment) const override;
  Normalisation normalisation() const override;
  std::shared_ptr<const Source> normalised_by(const Normalisation& by) const override;
  /// Samples per class.
  std::vector<int64_t> histogram() const;
  /// Images `which` as a normalised (n, h, w, channels) tensor.
  Tensor tensor(std::span<const size_t> which) const;

  std::shared_ptr<const std::vector<uint8_t>> pixels;  ///< of the whole file; image i of this set is number rows[i]
  std::shared_ptr<const Index> labels;
  Index rows;
  unsigned breaks = 0;  ///< bit per Augmentation that destroys labels
};

struct TrainTest {
  Set train, test;  ///< test is empty only where a folder has a validation split instead
  Set val;          ///< of an imagefolder with a val folder; else empty
  int classes = 0;
  std::string note;  ///< a sentence worth printing ("no train/ folder: ..."), or empty; open()'s caller prints it
};

struct OpenOptions {
  uint64_t seed = 0;  ///< of what is made in memory (`where`), and of the split of a one-level folder
  int img_size = 0;   ///< imagefolder: resize the shorter side and cut the middle; 0: all images must have one size
  size_t train_size = 4000;  ///< of what is made in memory
  size_t test_size = 1000;   ///< of what is made in memory
  LogMelOptions sound = {};  ///< of recordings; sample_rate 0: that of the first file
};

/// Opens any SPEC of the table in train/data/named.h: cifar10, cifar100, mnist, fashion-mnist, cifar10:DIR, cifar100:DIR (any number of
/// records in files of the official names), imagefolder:DIR, where[:quadrant|relation|distance|border], ...
/// An imagefolder's `val` is the validation split, its `test` the test split; either may be missing.
/// A named set is looked for in `dir` (the files themselves or their folder), then $TESSERA_DATA, then ./data. Throws
/// Error: an unknown name with the nearest known one, a missing set with the places searched, and whatever is wrong
/// with the files.
Splits open_splits(std::string_view spec, const std::string& dir = "", const OpenOptions& options = {});
/// The same for a SPEC of pictures, as Sets; any other throws Error.
TrainTest open(std::string_view spec, const std::string& dir = "", const OpenOptions& options = {});
/// Would open() find the files? (true for `where`)
bool available(std::string_view spec, const std::string& dir = "");

/// Two disjoint random subsets of the given sizes.
std::pair<Set, Set> split(const Set& set, size_t first, size_t second, uint64_t seed);
/// A random subset with `share` (0, 1] of every class, at least one sample of each.
Set fraction(const Set& set, double share, uint64_t seed);
/// The samples of `set` with these numbers, in this order.
Set subset(const Set& set, const Index& which);

/// Writes DIR/train/CLASS/N.png and DIR/test/CLASS/N.png, which imagefolder:DIR reads. Throws Error if DIR exists and
/// is not empty, or when `stop` returns true; DIR then is as before, as it is after any other failure.
void write_folder(const TrainTest& data, const std::string& dir, const std::function<bool()>& stop = {});

}  // namespace tessera::data
