#pragma once
#include <string>

#include "tessera/train/training/report_data.h"

namespace tessera::report {

/// The section with the confusion matrix and the pairs most often confused; empty without counts.
std::string confusion(const Data& data);

}  // namespace tessera::report
