#pragma once
// Options by name: one table of fields per configuration struct feeds the command line, TOML recipes, key=value overrides, the
// library's Options and --help. Free of `real`.
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"

namespace tessera {

using Value = std::variant<bool, int, double, std::string, std::vector<int>>;
using Options = std::map<std::string, Value, std::less<>>;

/// A member of a configuration struct C, its name and its one line of help.
template <class C>
struct Field {
  const char* name;
  std::variant<bool C::*, int C::*, double C::*, std::string C::*, std::vector<int> C::*> member;
  const char* help;
};
template <class C>
using Fields = std::span<const Field<C>>;

/// A value as its text: "true", "4", "0.05", "rope", "[2, 4]". Reals print shortest-exact.
std::string text(const Value& v);
/// The value that `s` says, in the type of `like`; throws Error naming `key` and what was expected.
Value parse(std::string_view key, std::string_view s, const Value& like);
/// v in the type of `like` (an int may become a real, a string anything it parses as); throws Error naming `key`.
Value convert(std::string_view key, const Value& v, const Value& like);
/// The candidate nearest to `word` by edit distance, or "" if none is near.
std::string nearest(std::string_view word, std::span<const std::string> candidates);
[[noreturn]] void unknown(std::string_view what, std::string_view word, std::span<const std::string> candidates);

// Kept out of line: inlined, GCC 12 warns of members that the configuration does not have.
template <class C, class T>
[[gnu::noinline]] Value get_member(const C& config, T C::*member) {
  return config.*member;
}
template <class C, class T>
[[gnu::noinline]] void set_member(C& config, T C::*member, std::string_view key, const Value& v) {
  config.*member = std::get<T>(convert(key, v, Value(config.*member)));
}

/// All fields of `config` with their values.
template <class C>
Options read(const C& config, Fields<C> fields) {
  Options o;
  for (const auto& f : fields) o[f.name] = std::visit([&](auto m) { return get_member(config, m); }, f.member);
  return o;
}
/// Sets the fields named in `options`. Unknown names and wrong types throw Error; `what` says whose they are ("vit").
template <class C>
void assign(C& config, Fields<C> fields, const Options& options, std::string_view what) {
  for (const auto& [key, value] : options) {
    bool found = false;
    for (const auto& f : fields) {
      if (key != f.name) continue;
      found = true;
      std::visit([&, &v = value, &k = key](auto m) { set_member(config, m, k, v); }, f.member);
    }
    if (found) continue;
    std::vector<std::string> names;
    for (const auto& f : fields) names.emplace_back(f.name);
    unknown(what, key, names);
  }
}

}  // namespace tessera
