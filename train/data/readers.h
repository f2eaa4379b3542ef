#pragma once
// For the files of this folder: what the readers share. Each reader returns a complete TrainTest or throws one clear Error.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tessera/core/io/read_file.h"
#include "tessera/train/data/memory.h"

namespace tessera::data {

/// A regular file's bytes. Throws Error: missing, not a file, empty, larger than `most`, unreadable.
std::vector<uint8_t> read_file(const std::string& path, uint64_t most = io::limit::any);

/// The files of one data set as they are read: collects their digest and asks whether they are the publisher's.
class Folder {
 public:
  explicit Folder(std::string path);
  const std::string& path() const { return path_; }
  bool has(const std::string& file) const;
  /// The bytes of a file; `size` >= 0: exactly that many, or an Error that says how many there are and should be.
  std::vector<uint8_t> read(const std::string& file, int64_t size = -1);
  /// SHA-256 over the SHA-256 of every file read so far.
  std::string digest() const;
  /// Has every file read so far a verified origin?
  bool official() const { return official_ && !digests_.empty(); }
  void note(const std::string& digest, bool official);

  static constexpr const char* verified = "tessera-verified.txt";  ///< written by get(): SHA-256 and name of each file

 private:
  std::string path_, known_;
  std::vector<std::string> digests_;
  bool official_ = true;
};

/// Makes the sets: shared pixels, stats of the training images, digest. Throws Error when there are no training images,
/// neither test nor validation images, sizes that differ, pixels or labels that do not fit each other, or names of
/// classes that cannot stand in a file (io::check_text).
TrainTest assemble(const std::string& name, Samples train, Samples test, std::vector<std::string> class_names,
                   const std::string& digest, bool official, Samples val = {});
/// The same without a word on missing test and validation images.
TrainTest put_together(const std::string& name, Samples train, Samples test, std::vector<std::string> class_names,
                       const std::string& digest, bool official, Samples val);
/// Throws Error unless there is a label for each of `samples` samples, all of them are classes, and those have names that can stand in a
/// file. `what`: "training image".
void check_labels(const std::string& name, const std::string& what, const Index& labels, size_t samples,
                  std::span<const std::string> class_names);
/// Marks the augmentations that destroy labels, and why ("the label says where things are").
void refuse(TrainTest& data, std::initializer_list<Augmentation> which, const std::string& why);

TrainTest read_cifar10(const std::string& folder);
TrainTest read_cifar100(const std::string& folder);
/// Files of the same format and names, or of names that add to these (data_batch_1_first4000.bin), that hold any number
/// of records (at least 1); not every training file need be there. Never official; the note says how many there are.
TrainTest read_part_of_cifar10(const std::string& folder);
TrainTest read_part_of_cifar100(const std::string& folder);
/// MNIST and its look-alikes: idx files, plain or .gz.
TrainTest read_mnist(const std::string& folder, const std::string& name, std::vector<std::string> class_names,
                     std::span<const char* const> official_md5_of_gz);
TrainTest read_imagefolder(const std::string& dir, const OpenOptions& options);
/// Recordings in class folders as imagefolder has pictures, as log-mel frames normalised by the training split; all at one rate.
Splits read_audiofolder(const std::string& dir, const OpenOptions& options);
/// The Free Spoken Digit Dataset, DIGIT_SPEAKER_N.wav in `dir` or its folder recordings: N from 0 to 4 is the test. `name`: of the SPEC.
Splits read_fsdd(const std::string& name, const std::string& dir, const OpenOptions& options);
/// Where read_fsdd() would find something.
bool is_fsdd(const std::string& dir);

/// A random order of 0..n-1.
Index permutation(size_t n, uint64_t seed);

}  // namespace tessera::data
