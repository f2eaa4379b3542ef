// Other programs' names: see Rename in nn/weights.h.
#include <algorithm>
#include <array>

#include "tessera/nn/weights.h"

namespace tessera::io {
namespace {

using Wilds = std::vector<std::string_view>;

/// Each * takes as little as it can, the first one first; the last one takes what is left before the pattern's end. A word between two of
/// them is right where it is found first: if the rest fits behind a later one, it fits behind that. So nothing is tried twice, and a
/// name of any length, which a file may have, costs its length.
bool match(std::string_view pattern, std::string_view name, Wilds& wilds) {
  size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  while (true) {
    name.remove_prefix(star), pattern.remove_prefix(star + 1);
    star = pattern.find('*');
    const std::string_view word = pattern.substr(0, star);
    const bool last = star == std::string_view::npos;
    if (last && !name.ends_with(word)) return false;
    const size_t at = last ? name.size() - word.size() : name.find(word);
    if (at == std::string_view::npos) return false;
    wilds.push_back(name.substr(0, at));
    if (last) return true;
    name.remove_prefix(at);
  }
}

std::string fill(std::string_view pattern, const Wilds& wilds) {
  std::string s;
  size_t next = 0;
  for (char c : pattern) {
    if (c != '*') {
      s += c;
    } else if (next < wilds.size()) {
      s += wilds[next++];
    }
  }
  return s;
}

}  // namespace

Rename renamed(const std::string& name, const std::vector<Rename>& rows) {
  for (const Rename& row : rows) {
    Wilds wilds;
    if (match(row.from, name, wilds)) return {name, fill(row.to, wilds), row.part, row.parts, row.given};
  }
  return {name, name};
}

bool matches(std::string_view pattern, std::string_view name) {
  Wilds wilds;
  return match(pattern, name, wilds);
}

std::vector<Rename> rows_for(const std::vector<std::string>& names, const std::vector<Rename>& rows) {
  std::vector<Rename> all;
  for (const Rename& row : rows) {
    const bool holds = row.given.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
                         return matches(row.given, name);
                       });
    if (holds) all.push_back(row);
  }
  return all;
}

bool derived_buffer(std::string_view name) {
  static constexpr std::array<std::string_view, 5> known = {"relative_position_index", "attn_mask",
                                                            "num_batches_tracked", "relative_coords_table", "k_bias"};
  const std::string_view last = name.substr(name.rfind('.') + 1);  // npos + 1 = 0: the whole name
  return std::find(known.begin(), known.end(), last) != known.end();
}

}  // namespace tessera::io
