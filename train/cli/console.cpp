#include "tessera/train/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tessera/core/io/text.h"

namespace tessera::cli {
namespace {

std::atomic<bool> lost{false}, bar{false};  // bar: a progress line is on the screen

/// stderr has no buffer, so a failure shows at once.
void to_stderr(std::string_view text) {
  const std::string whole = (bar.exchange(false) ? "\r\033[K" : "") + std::string(text);
  if (std::fwrite(whole.data(), 1, whole.size(), stderr) == whole.size()) return;
  std::clearerr(stderr);
  lost = true;
}

void line(const char* mark, const char* colour_code, std::string_view facts) {
  std::string flat(facts);
  std::replace(flat.begin(), flat.end(), '\n', ' ');
  flat = io::printable(flat);
  to_stderr(colour() ? fmt::format("tessera: \033[{}m{}:\033[0m {}\n", colour_code, mark, flat)
                     : fmt::format("tessera: {}: {}\n", mark, flat));
}

bool dumb() {
  const char* term = std::getenv("TERM");
  return term && std::string_view(term) == "dumb";
}

}  // namespace

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

bool stderr_is_lively() { return stderr_is_terminal() && !dumb(); }
bool stderr_is_lost() { return lost; }

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void show_progress(std::string_view text) {
  to_stderr("\r" + io::printable(text) + "\033[K");
  bar = true;
}

bool colour() {
  const char* off = std::getenv("NO_COLOR");
  return stderr_is_lively() && !(off && *off);
}

void say(std::string_view text) { to_stderr(io::printable(text, true) + "\n"); }

void say_error(std::string_view facts) { line("error", "31", facts); }
void say_warning(std::string_view facts) { line("warning", "33", facts); }

void print(std::string_view text) { print_bytes(io::printable(text, true)); }

void print_bytes(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) flush_output();
}

void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    fail("output", "standard output cannot be written: {}", std::strerror(errno));
}

std::string human(double n) {
  for (const auto& [unit, name] : {std::pair{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}})
    if (n >= unit) return fmt::format("{:.2f}{}", n / unit, name);
  return fmt::format("{:.0f}", n);
}

}  // namespace tessera::cli
