#include "tessera/train/data/changed.h"

#include <numeric>

#include "tessera/core/error.h"

namespace tessera::data {

std::shared_ptr<const Set> changed(const Set& set, const std::function<Image(const Image&)>& change) {
  auto out = std::make_shared<Set>(set);
  auto pixels = std::make_shared<std::vector<uint8_t>>();
  auto labels = std::make_shared<Index>();
  for (size_t i = 0; i < set.size(); ++i) {
    const Image now = change({set.h, set.w, set.channels, {set.image(i), set.image(i) + set.bytes()}});
    if (i == 0) out->h = now.h, out->w = now.w, pixels->reserve(set.size() * now.pixels.size());
    if (now.h != out->h || now.w != out->w || now.channels != set.channels || now.pixels.size() != out->bytes())
      fail("data", "{}: image {} was changed to {}x{}x{} (height, width, channels), the first to {}x{}x{}", set.name, i,
           now.h, now.w, now.channels, out->h, out->w, set.channels);
    pixels->insert(pixels->end(), now.pixels.begin(), now.pixels.end());
    labels->push_back(set.label(i));
  }
  out->rows.resize(set.size());
  std::iota(out->rows.begin(), out->rows.end(), 0);
  out->pixels = std::move(pixels), out->labels = std::move(labels);
  return out;
}

}  // namespace tessera::data
