#pragma once
// What the program says and where: results to stdout, everything else to stderr, one clear line per error. Text of the world outside
// (names of classes, files, what a file says) is in nearly all of it, so all of it goes through printable() here: nothing that is said
// can move the cursor or do anything else to a terminal.
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "tessera/core/error.h"

namespace tessera::cli {

/// Exit codes that scripts rely on.
enum Exit : int { done = 0, failure = 1, wrong = 2, interrupted = 130 };

bool stderr_is_terminal();
/// A terminal that understands a line that replaces itself.
bool stderr_is_lively();
/// The width of the terminal on stderr now; 80 where it does not tell.
int terminal_columns();
/// A line on the terminal that replaces the one before; whatever is said next takes its place.
void show_progress(std::string_view line);
/// Whoever read stderr has gone (a closed pipe, a terminal that was hung up): something could not be written there.
bool stderr_is_lost();
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

/// Text on stdout, lines and tabs as they are; throws Error when it cannot be written (a closed pipe, a full disk).
void print(std::string_view text);
/// Bytes on stdout as they are, for programs.
void print_bytes(std::string_view bytes);
/// Writes what is buffered and throws like print().
void flush_output();

/// "12.3 M", "4.1 G": a count for people.
std::string human(double n);

}  // namespace tessera::cli
