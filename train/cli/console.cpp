#include "train/cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tessera::cli {
namespace {

void line(const char* mark, const char* colour_code, std::string_view facts) {
  std::string flat(facts);
  std::replace(flat.begin(), flat.end(), '\n', ' ');
  const std::string text = colour() ? fmt::format("tessera: \033[{}m{}:\033[0m {}\n", colour_code, mark, flat)
                                    : fmt::format("tessera: {}: {}\n", mark, flat);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

bool colour() {
  const char* off = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return stderr_is_terminal() && !(off && *off) && !(term && std::string_view(term) == "dumb");
}

void say(std::string_view text) {
  const std::string whole = std::string(text) + "\n";
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

void say_error(std::string_view facts) { line("error", "31", facts); }
void say_warning(std::string_view facts) { line("warning", "33", facts); }

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) flush_output();
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
