#include "train/report/json.h"

#include <cctype>
#include <set>

#include "core/error.h"

namespace tessera::report {
namespace {

constexpr int deepest = 64;

bool too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > deepest) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

bool letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

}  // namespace

Json parse_json(std::string_view text, const std::string& file) {
  if (too_deep(text))
    fail("report", "{}: nested more than {} deep; train the run again or remove the file", file, deepest);
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& e) {
    fail("report", "{}: malformed JSON near byte {}; train the run again or remove the file", file, e.byte);
  } catch (const Json::exception&) {  // a number beyond every double
    fail("report", "{}: a number that no computer holds; train the run again or remove the file", file);
  }
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

int64_t whole(const Json& v, const char* name, int64_t low, int64_t high, const std::string& file) {
  const auto refuse = [&]() {
    const std::string text = v.dump(-1, ' ', false, Json::error_handler_t::replace);
    fail("report", "{}: {} is {} but must be a whole number from {} to {}; train the run again or remove the file",
         file, name, std::string_view(text).substr(0, 40), low, high);
  };
  if (v.is_number_unsigned()) {
    const auto n = v.get<uint64_t>();
    if (high < 0 || n > static_cast<uint64_t>(high) || (low > 0 && n < static_cast<uint64_t>(low))) refuse();
    return static_cast<int64_t>(n);
  }
  if (!v.is_number_integer() || v.get<int64_t>() < low || v.get<int64_t>() > high) refuse();
  return v.get<int64_t>();
}

}  // namespace tessera::report
