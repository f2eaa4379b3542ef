#pragma once
// What a sample is called in a message.
#include <string>

#include "tessera/train/data/source.h"

namespace tessera::data {

/// The file of sample i, where one is known, else "sample 7 of fsdd train".
std::string sample_name(const Source& source, size_t i);

}  // namespace tessera::data
