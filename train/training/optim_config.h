#pragma once
// What the keys of [optim] say together, which the table of fields cannot know one by one.
#include <string_view>

#include "tessera/train/training/config.h"

namespace tessera {

/// Has the optimiser a use for this key of [optim]? Of sam it is its base that is asked.
bool optimiser_reads(std::string_view optimiser, std::string_view key);

/// Throws Error on keys that the chosen optimiser does not read, and on those that do not go with it.
void check_optim(const RunConfig& config);

}  // namespace tessera
