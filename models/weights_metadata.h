#pragma once
// What a file of weights says of the geometry it was made for, in its metadata: position tables depend on it.
#include <optional>

#include "tessera/models/model.h"

namespace tessera {
inline namespace TESSERA_NS {

/// "model.img_size", "model.img_width", "model.patch_size" and "model.window_size" of a model, those that it has, for io::save.
io::Metadata geometry(const ModelRow& row, const Options& options);

/// The places of the model `options` at the geometry that a file's metadata says; none if it says nothing. Throws Error on a value that
/// is no size.
std::optional<Places> places_of(const io::Metadata& metadata, const ModelRow& row, const Options& options);

}  // namespace TESSERA_NS
}  // namespace tessera
