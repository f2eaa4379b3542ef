#pragma once
// A run's configuration and its data, brought together.
#include "tessera/train/data/set.h"
#include "tessera/train/training/config.h"

namespace tessera {

/// Fills in what the data and the registry decide. Throws Misfit when a model, its positions or augmentations do not fit the data, or
/// when a named configuration is made for images of another size and nobody said model.img_size.
void complete(RunConfig& config, const data::Set& set);

}  // namespace tessera
