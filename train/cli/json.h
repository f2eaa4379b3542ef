#pragma once
// One JSON document on stdout; members keep the order in which they were added.
#include "tessera/core/io/json.h"
#include "tessera/train/cli/console.h"

namespace tessera::cli {

using io::Json;

/// The document and a line break; bytes that are no UTF-8 are replaced. Numbers print shortest-exact. DEL and the control characters
/// above it, which JSON would let through to a terminal, are written as \u007f to \u009f.
inline void print_json(const Json& document) {
  const std::string text = document.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    if (text[i] == '\x7f') {
      out += "\\u007f";
    } else if (text[i] == '\xc2' && next < 0xa0) {
      out += fmt::format("\\u{:04x}", next), ++i;
    } else {
      out += text[i];
    }
  }
  print_bytes(out + "\n");
}

}  // namespace tessera::cli
