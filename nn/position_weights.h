#pragma once
// Weights of one grid or window in a model that is built for another: its position tables go through their encoding's own rule
// (PositionEncoding::resample) while io::load reads them.
#include <optional>

#include "tessera/nn/position.h"
#include "tessera/nn/weights.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The position encoding inside a model, as those see it who load weights into that model.
struct PositionTables {
  const PositionEncoding* encoding = nullptr;
  Places places;                   ///< of the model
  std::vector<std::string> names;  ///< its parameters and buffers
};

/// `make`, which also tells `tables` what it made. Both must outlive the building of the model.
MakePosition remember_tables(MakePosition make, PositionTables& tables);

}  // namespace TESSERA_NS
namespace io {
inline namespace TESSERA_NS {

/// Load options with a rule for position tables of another grid or window. `from`: the places of the model that wrote the file; without
/// them a square grid or window is inferred from a table's shape, and tables of the right shape are taken as they are. `tell` hears one
/// line for every tensor that was changed. `into` must outlive the loading. What cannot be done is a reason in io::load's Error.
LoadOptions resampling(const PositionTables& into, std::optional<Places> from,
                       std::function<void(const std::string&)> tell = nullptr, std::vector<Rename> dialect = {});

}  // namespace TESSERA_NS
}  // namespace io
}  // namespace tessera
