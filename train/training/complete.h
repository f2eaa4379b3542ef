#pragma once
// A run's configuration and its data, brought together.
#include "tessera/train/data/source.h"
#include "tessera/train/training/config.h"

namespace tessera {

/// Fills in what the data and the registry decide. Throws Misfit when a model, its positions or augmentations do not
/// fit the data, when a named configuration is made for other data and nobody said otherwise, or when an option does
/// nothing with these data. What data.* says of data that were handed over, not opened, is not looked at.
void complete(RunConfig& config, const data::Source& source, bool handed_over = false);

}  // namespace tessera
