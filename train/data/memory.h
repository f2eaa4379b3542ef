#pragma once
// Data of your own, which is in memory already: checked, as files are, and then as good as any other.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/train/data/set.h"

namespace tessera::data {

constexpr size_t most_classes =
    100'000;  ///< so many names of 255 bytes each fit into a summary.json that can be read back

/// Pictures of one size: h x w x channels bytes each, channels last, and a label for each.
struct Samples {
  int h = 0, w = 0, channels = 0;
  std::vector<uint8_t> pixels;
  Index labels;
};

/// Sequences of frames, features numbers each.
struct Sequences {
  int features = 0;
  std::vector<float> values;  ///< the frames of the first, then those of the second, ...
  Index lengths;              ///< frames of each
  Index labels;               ///< of each; or none, and no names of classes
};
/// From one vector a sequence, frame by frame. Throws Error if one is not made of whole frames.
Sequences sequences(std::span<const std::vector<float>> samples, int features, Index labels = {});

/// Pictures as sets that are normalised by the mean and deviation of `train`; test and val may have none. Throws Error, one line that says
/// what is wrong and where: without training pictures, on pixels that are too few or too many for the labels, sizes that differ, labels
/// outside of the classes, more than most_classes of them, and names that cannot stand in a file.
TrainTest from_memory(Samples train, std::vector<std::string> class_names, Samples test = {}, Samples val = {},
                      const std::string& name = "memory");
/// Sequences as a source, taken as they are. Throws Error on a sequence without frames, lengths that do not add up to the values, a value
/// that is not finite, and labels and names as above.
std::shared_ptr<const Source> from_memory(Sequences sequences, std::vector<std::string> class_names = {},
                                          const std::string& name = "memory");

}  // namespace tessera::data
