#pragma once
// The sets of a run. Free of `real`.
#include "tessera/train/data/set.h"
#include "tessera/train/training/config.h"

namespace tessera {

/// A SPEC that names a folder (imagefolder:DIR, cifar10:DIR) without it: "imagefolder:". Others stay as they are.
std::string without_folder(const std::string& spec);

/// The data of a SPEC that names a folder may have moved since it was written: with data.dir said they are in data.dir/DIR, in
/// the folder of DIR's name below data.dir, or else in data.dir itself. Changes config.name to that, empties config.dir, and returns
/// a line that says so; does nothing and returns "" for every other SPEC.
std::string follow(DataConfig& config);

/// How recordings become frames. The sample rate is 0 until open_splits() has seen them.
data::LogMelOptions sound_of(const DataConfig& config);

/// Opens what `config` says, by follow(), and writes into it which set that is. There is a val if data.val_size asks for one or the set
/// brings one; there may be no test then. Throws Error when there are fewer samples than asked for.
data::Splits open_splits(DataConfig& config);

}  // namespace tessera
