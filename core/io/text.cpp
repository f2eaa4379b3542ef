#include "core/io/text.h"

#include <cstdint>

#include "core/error.h"

namespace tessera::io {
namespace {

/// The length of the well-formed sequence at the start of `s`, and its code point; 0 if there is none.
size_t sequence(std::string_view s, uint32_t& code) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const unsigned first = byte(0);
  if (first < 0x80) return code = first, 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  code = first & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const uint32_t least = length == 3 ? 0x800 : length == 4 ? 0x10000 : 0x80;
  const bool good = code >= least && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
  return good ? length : 0;
}

bool steers(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

bool is_utf8(std::string_view text) {
  uint32_t code = 0;
  for (size_t n = 0; !text.empty(); text.remove_prefix(n))
    if (n = sequence(text, code); n == 0) return false;
  return true;
}

std::string printable(std::string_view text) {
  std::string out;
  uint32_t code = 0;
  for (size_t n = 0; !text.empty(); text.remove_prefix(n)) {
    n = sequence(text, code);
    if (n == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(text[n++])));
    } else if (!steers(code)) {
      out += text.substr(0, n);
    } else if (code == '\n' || code == '\t' || code == '\r') {
      out += code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r";
    } else {
      out += n == 1 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
    }
  }
  return out;
}

void check_text(std::string_view where, std::string_view what, std::string_view text) {
  if (!is_utf8(text)) fail(where, "{} '{}' is no UTF-8; rename it", what, printable(text));
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      fail(where, "{} '{}' holds a control character; rename it", what, printable(text));
}

}  // namespace tessera::io
