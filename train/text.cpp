#include "train/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tessera {
namespace {

struct Letter {
  char32_t code = 0;
  size_t bytes = 0;  ///< 0: no UTF-8
};

/// The first letter of s, by the table of well-formed sequences (Unicode 15, table 3-7): no overlong forms, no surrogates.
Letter first_letter(std::string_view s) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const unsigned b = byte(0);
  if (b < 0x80) return {b, 1};
  const size_t n = b >= 0xc2 && b < 0xe0 ? 2 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
  if (n == 0) return {};
  char32_t code = b & (0x7fu >> n);
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  if ((n == 3 && code < 0x800) || (n == 4 && code < 0x10000) || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
    return {};
  return {code, n};
}

bool shows_nothing_good(char32_t c) {
  return (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

std::string printable(std::string_view text, bool lines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Letter l = first_letter(text);
    if (l.bytes == 0 || (l.code < 0x20 && !(lines && (l.code == '\n' || l.code == '\t')))) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(text[0])));
    } else if (shows_nothing_good(l.code)) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(l.code));
    } else {
      out += text.substr(0, l.bytes);
    }
    text.remove_prefix(std::max<size_t>(l.bytes, 1));
  }
  return out;
}

std::string plural(int64_t n, std::string_view noun) { return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s"); }

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e12)));
  if (s < 100) return fmt::format("{} s", s);
  if (s < 6000) return fmt::format("{} min", (s + 30) / 60);
  return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

}  // namespace tessera
