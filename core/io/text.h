#pragma once
// Text from outside: names of files and classes, values of files. What is written into a file of ours has to be UTF-8
// (JSON and TOML know nothing else), and what is shown to a person must not steer the terminal. Free of `real`.
#include <cstddef>
#include <string>
#include <string_view>

namespace tessera::io {

/// Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, at most U+10FFFF.
bool is_utf8(std::string_view text);

/// One letter of a text.
struct Letter {
  char32_t code = 0;
  size_t bytes = 0;  ///< 0: no UTF-8 stands here, or the text is empty
};
Letter first_letter(std::string_view text);

/// Would this letter steer a terminal or change how the rest is read: control characters (of C1 too), marks that turn the
/// direction of writing, separators of lines.
bool steers(char32_t letter);

/// The text with everything that no person should meet written out: what steers() and bytes that are no UTF-8 become \n,
/// \x1b, \u202e, \xe9. The rest is as it was; line feeds and tabs too if `lines`.
std::string printable(std::string_view text, bool lines = false);

/// Throws Error "[where] what 'caf\xe9' ..." unless the text is UTF-8 without control characters, so that it can stand
/// in every file a run leaves and come back from it.
void check_text(std::string_view where, std::string_view what, std::string_view text);

}  // namespace tessera::io
