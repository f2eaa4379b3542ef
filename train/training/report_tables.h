#pragma once
// The position tables of a model, as pictures want them.
#include <vector>

#include "tessera/nn/position.h"
#include "tessera/train/training/report_data.h"

namespace tessera::report {
inline namespace TESSERA_NS {

/// The learned tables among `params`: those of the model's token spots, what belongs to one of its attentions and is no projection or
/// norm, and what an encoding keeps under "position". Their kind follows from their shape and the geometry in `places`. At most
/// `limit` tables, evenly chosen over the depth, each of at most 2^16 numbers; what has one dimension makes no picture.
std::vector<Table> position_tables(const Params& params, const Places& places, size_t limit = 12);

}  // namespace TESSERA_NS
}  // namespace tessera::report
