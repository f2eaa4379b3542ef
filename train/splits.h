#pragma once
// The sets of a run. Free of `real`.
#include "train/config.h"
#include "train/data/set.h"

namespace tessera {

struct Splits {
  data::Set train, val,
      test;          ///< val is empty unless data.val_size asks for one or a folder has one; test may be empty then
  std::string note;  ///< what data::open has to say of the set, or empty
};

/// Opens what `config` says, and writes into it which set that is. Throws Error when there are fewer images than asked for.
Splits open_splits(DataConfig& config);

}  // namespace tessera
