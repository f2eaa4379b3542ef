#pragma once
// What a finished run shows in its report: confusion, sample predictions, learned position tables.
#include "tessera/nn/position_weights.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/report_data.h"

namespace tessera::report {

/// Of images up to `samples`: half of them spread over the set, half the surest mistakes.
Data collect(const Evaluation& evaluation, const data::Source& source, const Params& params,
             const PositionTables& positions, size_t samples = 24);

}  // namespace tessera::report
