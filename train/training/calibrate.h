#pragma once
#include <string>
#include <vector>

#include "tessera/models/model.h"
#include "tessera/train/data/source.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Shows a model that asks for it (models/calibrated.h) its samples of `train`, evenly spaced over all of them, as they are in
/// evaluation, and adds a line about it to `said`. Other models stay as they are. To be called once, with fresh weights, before an
/// optimiser is made: it begins where the weights then are.
void calibrate(Model& model, const data::Source& train, std::vector<std::string>& said);

}  // namespace TESSERA_NS
}  // namespace tessera
