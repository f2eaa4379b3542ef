#pragma once
// What the keys of [optim] say together, which the table of fields cannot know one by one.
#include "tessera/train/training/config.h"

namespace tessera {

/// Throws Error on keys that the chosen optimiser does not read, and on those that do not go with it.
void check_optim(const RunConfig& config);

}  // namespace tessera
