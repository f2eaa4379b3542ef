#pragma once
// A set whose pictures went through a function of your own.
#include <functional>
#include <memory>

#include "tessera/train/data/image.h"
#include "tessera/train/data/set.h"

namespace tessera::data {

/// `change` of every image of `set`, in its order, with the same labels and normalisation. All must come out at one size, with as many
/// channels as went in. Throws Error if they do not.
std::shared_ptr<const Set> changed(const Set& set, const std::function<Image(const Image&)>& change);

}  // namespace tessera::data
