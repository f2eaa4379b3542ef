#pragma once
// JSON from outside. The parser itself bounds neither depth nor members, and what walks its documents does so by
// recursion: 100,000 brackets would overflow the stack. Free of `real`.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tessera::io {

using Json = nlohmann::ordered_json;

/// How deep brackets nest in a text, outside of double-quoted strings: a bound for any parser that recurses.
int nesting(std::string_view text);

/// A document. Throws Error "[where] source: ..." on malformed JSON (with the byte), on nesting beyond 64 brackets, and
/// on more than 20,000 members of objects, which our files never have.
Json parse_json(std::string_view text, const std::string& source, std::string_view where = "json");
/// Of a regular file of at most `most` bytes.
Json read_json(const std::string& path, uint64_t most, std::string_view where = "json");

/// The integer `value`; `what` names it. Throws Error when it is no integer, or not in [low, high]: 1e19 is no int.
int64_t integer(const Json& value, std::string_view what, int64_t low, int64_t high, std::string_view where = "json");
/// The finite number `value` within +-`most`. Throws Error.
double number(const Json& value, std::string_view what, double most = 1e300, std::string_view where = "json");

}  // namespace tessera::io
