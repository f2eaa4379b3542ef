#pragma once
// The position tables of a model, as pictures want them.
#include <vector>

#include "tessera/nn/position_weights.h"
#include "tessera/train/training/report_data.h"

namespace tessera::report {
inline namespace TESSERA_NS {

/// The learned tables among `params` that the encoding made: what it made less buffers, vectors and the convolutions between blocks. Their
/// kind follows from their shape and the geometry of their place. At most `limit` tables, evenly chosen over the depth, each of at most 2^16
/// numbers.
std::vector<Table> position_tables(const Params& params, const PositionTables& positions, size_t limit = 12);

}  // namespace TESSERA_NS
}  // namespace tessera::report
