#pragma once
// Text into HTML, and the frame of the page.
#include <string>
#include <string_view>

namespace tessera::report {

/// What io::steers() (but for line feeds and tabs) and bytes that are no UTF-8 become U+FFFD: on a page nobody wants \x1b.
std::string printable(std::string_view text);
/// printable(), and safe inside elements and quoted attributes: markup characters become entities.
std::string escape(std::string_view text);
/// escape(), and a line may end after every _ . / and - of the text: names of runs and keys have no spaces.
std::string breakable(std::string_view text);

/// 12345678 -> "12.3 M", 950 -> "950".
std::string si(double v);
/// 1.5 h, 12 min 30 s, 8.1 s.
std::string duration(double seconds);
/// At most `digits` significant digits, without trailing zeros: 0.0005, 1.25, 3e-07.
std::string number(double v, int digits = 4);

/// The whole document: well-formed XML syntax too; a content policy forbids every request, and every script but `script`, by its checksum.
/// `style` follows the page's own. Neither may hold "]]>".
std::string page(std::string_view title, std::string_view body, std::string_view style = "",
                 std::string_view script = "");
/// <section> with a heading, and a sentence under it unless `note` is empty. `body` is HTML, the rest is text.
std::string section(std::string_view heading, std::string_view note, std::string_view body);

}  // namespace tessera::report
