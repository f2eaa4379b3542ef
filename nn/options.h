#pragma once
// Options by name: one table of fields per configuration struct feeds the command line, TOML recipes, key=value overrides, the
// library's Options and --help. Free of `real`.
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/nn/domain.h"
#include "tessera/nn/value.h"

namespace tessera {

/// A member of a configuration struct C, its name, its one line of help and the values it takes.
template <class C>
struct Field {
  const char* name;
  std::variant<bool C::*, int C::*, int64_t C::*, double C::*, std::string C::*, std::vector<int> C::*,
               std::vector<double> C::*>
      member;
  const char* help;
  Domain domain = {};
};
template <class C>
using Fields = std::span<const Field<C>>;

/// One table of several: rows that many structs share, and those of one. It is never destroyed: call it once a table.
template <class C>
Fields<C> joined(std::initializer_list<std::vector<Field<C>>> tables) {
  size_t n = 0;
  for (const auto& t : tables) n += t.size();
  auto* const all = new Field<C>[n];  // what it returns points to, so that it is no leak
  auto* to = all;
  for (const auto& t : tables)
    for (const Field<C>& f : t) *to++ = f;
  return {all, n};
}

/// By key.
using Domains = std::map<std::string, Domain, std::less<>>;

/// The value that `s` says, in the type of `like`; throws Error naming `key` and what was expected.
Value parse(std::string_view key, std::string_view s, const Value& like);
/// v in the type of `like` (an int may become a real, a string anything it parses as) and inside `domain`; throws Error
/// "[where] key is v, expected ...".
Value convert(std::string_view key, const Value& v, const Value& like, const Domain& domain = {},
              std::string_view where = "options");
/// The candidate nearest to `word` by edit distance, or "" if none is near.
std::string nearest(std::string_view word, std::span<const std::string> candidates);
[[noreturn]] void unknown(std::string_view what, std::string_view word, std::span<const std::string> candidates);
/// Throws Error when a value lies outside its domain, or says something that is in vain beside the others: one that differs from
/// `standard` although the field it depends on (Domain::with) has another value. `what` says whose they are: "vit", or "optim." where
/// messages are to name the keys in full, "optim.lr".
void check_options(std::string_view what, const Options& values, const Options& standard, const Domains& domains);

/// "optim" and "optim.lr" of ("optim.", "lr"); "vit" and "depth" of ("vit", "depth").
std::string_view where_of(std::string_view what);
std::string name_of(std::string_view what, std::string_view key);

// Kept out of line: inlined, GCC 12 warns of members that the configuration does not have.
template <class C, class T>
[[gnu::noinline]] Value get_member(const C& config, T C::*member) {
  return config.*member;
}
template <class C, class T>
[[gnu::noinline]] void set_member(C& config, T C::*member, std::string_view key, const Value& v, const Domain& domain,
                                  std::string_view what) {
  config.*member = std::get<T>(convert(name_of(what, key), v, Value(config.*member), domain, where_of(what)));
}

/// All fields of `config` with their values.
template <class C>
Options read(const C& config, Fields<C> fields) {
  Options o;
  for (const auto& f : fields) o[f.name] = std::visit([&](auto m) { return get_member(config, m); }, f.member);
  return o;
}
template <class C>
Domains domains(Fields<C> fields) {
  Domains d;
  for (const auto& f : fields) d[f.name] = f.domain;
  return d;
}
/// Sets the fields named in `options`. Unknown names, wrong types and values outside a domain throw Error; `what` as of check_options.
template <class C>
void assign(C& config, Fields<C> fields, const Options& options, std::string_view what) {
  for (const auto& [key, value] : options) {
    bool found = false;
    for (const auto& f : fields) {
      if (key != f.name) continue;
      found = true;
      std::visit([&, &v = value, &k = key](auto m) { set_member(config, m, k, v, f.domain, what); }, f.member);
    }
    if (found) continue;
    std::vector<std::string> names;
    for (const auto& f : fields) names.emplace_back(f.name);
    unknown(where_of(what), key, names);
  }
}
/// check_options of a struct, however its members came by their values.
template <class C>
void check_fields(const C& config, Fields<C> fields, std::string_view what, const C& standard = C()) {
  check_options(what, read(config, fields), read(standard, fields), domains(fields));
}

}  // namespace tessera
