#pragma once
// What a file of weights says of the model that it was made for, in its metadata: position tables depend on it.
#include <optional>

#include "tessera/models/model.h"

namespace tessera {
inline namespace TESSERA_NS {

/// All options of a model as "model.KEY", for io::save.
io::Metadata weights_metadata(const ModelRow& row, const Options& options);

/// The places of the model that a file's metadata says, with what it says of the row's keys and otherwise `options`;
/// none if it says nothing (files of other programs), or if it is of another family. The file's model may differ from
/// that of `options` in anything: its head, its depth. Throws Error on a value that its key does not take.
std::optional<Places> places_of(const io::Metadata& metadata, const ModelRow& row, const Options& options);

}  // namespace TESSERA_NS
}  // namespace tessera
