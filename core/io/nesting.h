#pragma once
// JSON of other programs before it is parsed: a tree of 100,000 brackets is read, copied and written by functions that call themselves.
#include <string>
#include <string_view>

#include "core/error.h"

namespace tessera::io {

/// Throws Error when brackets (outside of strings) stand more than `most` deep.
inline void check_nesting(std::string_view json, const std::string& file, int most = 64) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string && c == '\\') ++i;
    if (c == '"') in_string = !in_string;
    if (in_string) continue;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > most) fail("json", "{}: brackets more than {} deep; it is no file of this program", file, most);
  }
}

}  // namespace tessera::io
