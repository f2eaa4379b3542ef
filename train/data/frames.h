#pragma once
// Labelled sequences of frames in memory, normalised when they are read.
#include "tessera/train/data/memory.h"

namespace tessera::data {

struct Frames final : Source {
  /// Checked as from_memory() says; `longest` of all splits, so that they have one form.
  Frames(std::shared_ptr<const Sequences> sequences, int longest);

  size_t size() const override { return data->lengths.size(); }
  InputShape form() const override {
    return {.kind = InputShape::Kind::frames, .T = longest, .features = data->features};
  }
  int label(size_t i) const override { return data->labels[i]; }
  int length(size_t i) const override { return data->lengths[i]; }
  std::unique_ptr<Reader> reader(const Augment& augment) const override;
  Normalisation normalisation() const override { return by; }
  std::shared_ptr<const Source> normalised_by(const Normalisation& other) const override;
  /// The first number of sample i, before it is normalised.
  const float* frames(size_t i) const { return data->values.data() + begins[i]; }

  std::shared_ptr<const Sequences> data;
  std::vector<std::string> files;  ///< that each sample comes from, for messages; or none
  std::vector<size_t> begins;      ///< of each sample in data->values
  int longest;
  Normalisation by;
};

/// Mean and deviation of each feature over all frames; a feature that is constant is not scaled.
Normalisation normalisation_of(const Sequences& sequences);

}  // namespace tessera::data
