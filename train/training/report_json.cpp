#include "tessera/train/training/report_json.h"

#include <cctype>
#include <set>

#include "tessera/core/error.h"
#include "tessera/core/io/json.h"

namespace tessera::report {
namespace {

/// What went wrong, and what whoever finds such a file in a run directory can do.
[[noreturn]] void advise(const Error& e) {
  throw Error(std::string(e.what()) + "; train the run again or remove the file");
}

bool letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

}  // namespace

Json parse_json(std::string_view text, const std::string& file) try {
  return io::parse_json(text, file, "report");
} catch (const Error& e) {
  advise(e);
}

std::string without_infinities(std::string_view json) {
  static const std::set<std::string_view> words = {"nan", "NaN", "NAN", "inf", "Inf", "INF", "infinity", "Infinity"};
  std::string out;
  out.reserve(json.size());
  bool quoted = false;
  for (size_t i = 0; i < json.size();) {
    size_t n = 1;
    if (quoted) {
      if (json[i] == '\\' && i + 1 < json.size()) n = 2;
      if (json[i] == '"') quoted = false;
    } else if (json[i] == '"') {
      quoted = true;
    } else if (letter(json[i])) {
      while (i + n < json.size() && letter(json[i + n])) ++n;
      if (words.contains(json.substr(i, n))) {
        if (!out.empty() && (out.back() == '-' || out.back() == '+')) out.pop_back();
        out += "null";
        i += n;
        continue;
      }
    }
    out += json.substr(i, n);
    i += n;
  }
  return out;
}

int64_t whole(const Json& v, const char* name, int64_t low, int64_t high, const std::string& file) try {
  return io::integer(v, file + ": " + name, low, high, "report");
} catch (const Error& e) {
  advise(e);
}

}  // namespace tessera::report
