#pragma once
// Where the samples of a batch come from: pictures in memory (train/data/set.h), a user's own frames (train/data/memory.h), or a struct of
// your own. Loader, trainer and evaluation see no more of data than this.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/core/rng.h"
#include "tessera/train/data/batch.h"

namespace tessera::data {

struct Augment;

/// Where a sample is written: h w channels numbers, or length(i) frames, into x; or length(i) tokens.
struct Slot {
  real* x = nullptr;
  int32_t* tokens = nullptr;
};

/// Makes samples. Holds scratch memory: one a thread.
struct Reader {
  virtual ~Reader() = default;
  /// What comes next is of this epoch of a run with this seed: for what follows from the epoch and is not drawn anew in each.
  virtual void begin(uint64_t /*seed*/, int /*epoch*/) {}
  /// Writes sample i, augmented by the numbers of `stream` and of nothing else.
  virtual void fill(size_t i, rng::Stream stream, const Slot& slot) = 0;
  /// Changes a whole batch, mixup and CutMix for one: Batch::targets (B, classes) is there to be filled. Called where Augment::mixes().
  virtual void mix(Batch&, rng::Stream) {}
};

/// What the numbers of a sample are normalised by, (x - mean) / std: one of each a channel of a picture or a feature of a frame, measured
/// on the training split. Empty: samples are taken as they are.
struct Normalisation {
  std::vector<float> mean, std;
};

struct Source {
  std::string name;  ///< "cifar10 train"
  int classes = 0;   ///< 0: there are no labels
  std::vector<std::string> class_names;
  std::string
      digest;  ///< SHA-256 of the files' contents (or of what is in memory), hexadecimal: a run resumes on no other data
  bool official = false;  ///< the files are, by checksum, those of the publisher

  virtual ~Source() = default;
  virtual size_t size() const = 0;
  /// What a sample is; T is the length of the longest.
  virtual InputShape form() const = 0;
  /// Class of sample i. Asked only if there are classes.
  virtual int label(size_t i) const = 0;
  /// Frames or tokens of sample i, from 1 to form().T.
  virtual int length(size_t) const { return form().T; }
  /// The answer to sample i, whole numbers below form().target. Asked only if that is not 0; it lives as long as the source.
  virtual std::span<const int32_t> answer(size_t) const { return {}; }
  /// Throws Error on an augmentation that makes no sense or that the labels do not survive.
  virtual std::unique_ptr<Reader> reader(const Augment&) const = 0;
  virtual Normalisation normalisation() const { return {}; }
  /// The same samples under another normalisation, that of the data a model was trained on. Throws Error where these are taken as they
  /// are, and where there is not one number for each channel or feature.
  virtual std::shared_ptr<const Source> normalised_by(const Normalisation&) const;
};

/// What a SPEC names, opened: pictures (then each is a Set), frames or tokens. val and test are null where there are none.
struct Splits {
  std::shared_ptr<const Source> train, val, test;
  std::string note;  ///< a sentence worth printing ("no train/ folder: ..."), or empty; whoever opened them prints it
  int sample_rate = 0;  ///< of recordings, samples a second
};
inline size_t size_of(const std::shared_ptr<const Source>& source) { return source ? source->size() : 0; }
/// Samples per class.
std::vector<int64_t> histogram(const Source& source);

/// Memory of batches, used again unless somebody kept a copy of one: a steady step then neither allocates nor faults a page.
class BatchMemory {
 public:
  /// The samples `which`, each with the numbers of Stream(mix(key + i)); sequences are padded with zeros to the longest of them. The batch
  /// made before must be gone.
  Batch gather(const Source& source, Reader& reader, std::span<const int32_t> which, uint64_t key);
  /// Room for the targets of `samples` samples.
  Tensor targets(int samples, int classes) { return floats(targets_, samples, classes); }

 private:
  static Tensor floats(Tensor& memory, int64_t rows, int width);
  static Ints numbers(Ints& memory, int64_t count);
  void gather_answers(const Source& source, std::span<const int32_t> which, Batch& batch);
  Tensor x_, targets_;
  Ints labels_, lengths_, tokens_, answers_, answer_lengths_;
};

/// The samples `which` as they are, without augmentation. Throws Error if there is no such sample.
Batch gather(const Source& source, std::span<const int32_t> which);

}  // namespace tessera::data
