#include "tessera/core/io/json.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/core/io/read_file.h"
#include "tessera/core/io/text.h"

namespace tessera::io {
namespace {

constexpr int deepest = 64;
// a document keeps the order of its members in a list, which it searches for every new one
constexpr size_t most_members = 20'000;

struct Shape {
  int depth = 0;
  size_t members = 0;
};

Shape shape_of(std::string_view text) {
  Shape s;
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      quoted = !quoted;
    } else if (quoted) {
      i += c == '\\';
    } else if (c == '[' || c == '{') {
      s.depth = std::max(s.depth, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    } else {
      s.members += c == ':';
    }
  }
  return s;
}

std::string shortened(const Json& value) {
  const std::string text = printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

}  // namespace

int nesting(std::string_view text) { return shape_of(text).depth; }

Json parse_json(std::string_view text, const std::string& source, std::string_view where) {
  const Shape shape = shape_of(text);
  if (shape.depth > deepest) fail(where, "{}: brackets nest {} deep, {} is the most", source, shape.depth, deepest);
  if (shape.members > most_members)
    fail(where, "{}: {} members of objects, {} are the most", source, shape.members, most_members);
  // the parser would take a NUL for the end of its input
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail(where, "{}: malformed JSON near byte {}: it holds a NUL", source, nul);
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& e) {
    fail(where, "{}: malformed JSON near byte {}", source, e.byte);
  } catch (const Json::exception&) {  // 1e999
    fail(where, "{}: JSON with a number beyond all numbers", source);
  }
}

Json read_json(const std::string& path, uint64_t most, std::string_view where) {
  return parse_json(read_file(path, most, where), path, where);
}

int64_t integer(const Json& value, std::string_view what, int64_t low, int64_t high, std::string_view where) {
  const bool above = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (value.is_number_integer() && !above)
    if (const auto n = value.get<int64_t>(); n >= low && n <= high) return n;
  fail(where, "{} is {}, expected an integer from {} to {}", what, shortened(value), low, high);
}

double number(const Json& value, std::string_view what, double most, std::string_view where) {
  if (value.is_number())
    if (const auto v = value.get<double>(); std::isfinite(v) && std::abs(v) <= most) return v;
  fail(where, "{} is {}, expected a finite number", what, shortened(value));
}

}  // namespace tessera::io
