#include "tessera/train/cli/image_size.h"

#include <fmt/format.h>

#include <charconv>

#include "tessera/train/cli/config_file.h"
#include "tessera/train/data/changed.h"

namespace tessera::cli {

std::string str(const ImageSize& size) { return fmt::format("{}x{}", size.h, size.w); }

ImageSize image_size(std::string_view text, std::string_view what) {
  const auto number = [&](std::string_view digits) {
    int n = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (error != std::errc() || end != digits.data() + digits.size() || n < 1 || n > 4096)
      wrong_usage("{} {}: expected N or HxW (height x width), 1 to 4096", what, text);
    return n;
  };
  const size_t x = text.find('x');
  if (x == std::string_view::npos) return {number(text), number(text)};
  return {number(text.substr(0, x)), number(text.substr(x + 1))};
}

std::shared_ptr<const data::Set> resized(const std::shared_ptr<const data::Set>& set, const ImageSize& size) {
  if (set->h == size.h && set->w == size.w) return set;
  return data::changed(*set, [&](const data::Image& image) { return data::fit(image, size.h, size.w); });
}

}  // namespace tessera::cli
