#pragma once
// Pictures of another size than their own, for whoever evaluates a model at another resolution.
#include <memory>
#include <string>
#include <string_view>

#include "tessera/train/data/set.h"

namespace tessera::cli {

struct ImageSize {
  int h = 0, w = 0;
  auto operator<=>(const ImageSize&) const = default;
};
/// "48x64": height x width.
std::string str(const ImageSize& size);
/// "48", or "40x56": height x width, each from 1 to 4096. Throws Usage that begins with `what`, which names the option.
ImageSize image_size(std::string_view text, std::string_view what);

/// Every image resized until it covers `size` (bilinear with antialiasing: data::fit) and cut to its middle. The set itself at its own size.
std::shared_ptr<const data::Set> resized(const std::shared_ptr<const data::Set>& set, const ImageSize& size);

}  // namespace tessera::cli
