#pragma once
// What the program says and where: results to stdout, everything else to stderr, one clear line per error.
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "core/error.h"

namespace tessera::cli {

/// Exit codes that scripts rely on.
enum Exit : int { done = 0, failure = 1, wrong = 2, interrupted = 130 };

bool stderr_is_terminal();
/// Colours only on a terminal and unless NO_COLOR is set.
bool colour();
/// One line on stderr.
void say(std::string_view line);
template <class... A>
void say(fmt::format_string<A...> format, A&&... a) {
  say(std::string_view(fmt::format(format, std::forward<A>(a)...)));
}
/// "tessera: error: ..." on stderr, line breaks flattened.
void say_error(std::string_view facts);
void say_warning(std::string_view facts);

/// Text on stdout; throws Error when it cannot be written (a closed pipe, a full disk).
void print(std::string_view text);
/// Writes what is buffered and throws like print().
void flush_output();

/// "12.3 M", "4.1 G": a count for people.
std::string human(double n);

}  // namespace tessera::cli
