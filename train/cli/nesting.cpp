#include "tessera/train/cli/nesting.h"

#include <algorithm>

#include "tessera/train/cli/config_file.h"

namespace tessera::cli {
namespace {

constexpr size_t most_text = 1 << 20;
constexpr int deepest = 64;

/// Behind the word in quotes that begins at `at`, or at the end of its line where it has no end. Three quotes begin a text of several lines,
/// which ends with three and may have up to two of its own before them.
size_t after_word(std::string_view text, size_t at) {
  const char quote = text[at];
  const auto quotes = [&](size_t i, size_t most) {
    size_t n = 0;
    while (n < most && i + n < text.size() && text[i + n] == quote) ++n;
    return n;
  };
  const bool lines = quotes(at, 3) == 3;
  const size_t ends = lines ? 3 : 1, most = lines ? 5 : 1;
  for (size_t i = at + ends; i < text.size();) {
    if (text[i] == '\n' && !lines) return i;
    const size_t n = quotes(i, most);
    if (n >= ends) return i + n;
    i += text[i] == '\\' && quote == '"' ? 2 : std::max<size_t>(n, 1);
  }
  return text.size();
}

}  // namespace

void check_nesting(std::string_view text, const std::string& source) {
  if (text.size() > most_text) wrong_usage("{} is larger than a megabyte: it is no recipe", source);
  int depth = 0, dots = 0;
  size_t end = 0;
  for (size_t i = 0; i < text.size(); i = end) {
    const char c = text[i];
    end = i + 1;
    if (c == '"' || c == '\'') end = after_word(text, i);  // what is in it does not count
    if (c == '#') end = std::min(text.find('\n', i), text.size());
    if (c == '[' || c == '{') ++depth, dots = 0;
    if (c == ']' || c == '}') depth = std::max(0, depth - 1);
    if (c == '\n' || c == '=' || c == ',') dots = 0;
    if (c == '.') ++dots;
    if (depth > deepest || dots > deepest)
      wrong_usage("{}:{}: more than {} levels of brackets or of dotted names: it is no recipe", source,
                  1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(i), '\n'), deepest);
  }
}

}  // namespace tessera::cli
