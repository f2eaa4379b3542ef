#include "tessera/core/io/text.h"

#include "tessera/core/error.h"

namespace tessera::io {

Letter first_letter(std::string_view s) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, s.empty() ? size_t{0} : 1};
  if (first < 0xc2 || first > 0xf4) return {};
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  char32_t code = first & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  const char32_t least = length == 3 ? 0x800 : length == 4 ? 0x10000 : 0x80;
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, length};
}

bool steers(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Letter l = first_letter(text);
    if (l.bytes == 0) return false;
    text.remove_prefix(l.bytes);
  }
  return true;
}

std::string printable(std::string_view text, bool lines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto [code, bytes] = first_letter(text);
    const size_t n = bytes > 0 ? bytes : 1;
    if (bytes == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(text[0])));
    } else if (!steers(code) || (lines && (code == '\n' || code == '\t'))) {
      out += text.substr(0, n);
    } else if (code == '\n' || code == '\t' || code == '\r') {
      out += code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r";
    } else {
      const auto c = static_cast<unsigned>(code);
      out += n == 1 ? fmt::format("\\x{:02x}", c) : fmt::format("\\u{:04x}", c);
    }
    text.remove_prefix(n);
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
