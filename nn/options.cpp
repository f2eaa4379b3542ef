#include "tessera/nn/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

namespace tessera {
namespace {

template <class... F>
struct Cases : F... {
  using F::operator()...;
};
template <class... F>
Cases(F...) -> Cases<F...>;  // clang before 17 does not derive it

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

template <class T>
std::optional<T> number(std::string_view s) {
  s = trim(s);
  if (s.size() > 1 && s.front() == '+' && s[1] != '-') s.remove_prefix(1);
  T v{};
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc() || end != s.data() + s.size()) return {};
  return v;
}

/// "[2, 4]", "2,4" or "2".
template <class T>
std::optional<std::vector<T>> list(std::string_view s) {
  s = trim(s);
  if (s.size() >= 2 && s.front() == '[' && s.back() == ']') s = trim(s.substr(1, s.size() - 2));
  std::vector<T> v;
  while (!s.empty()) {
    const size_t comma = std::min(s.find(','), s.size());
    const auto n = number<T>(s.substr(0, comma));
    if (!n || !std::isfinite(*n)) return {};
    v.push_back(*n);
    if (comma + 1 == s.size()) return {};  // nothing after the last comma
    s.remove_prefix(std::min(comma + 1, s.size()));
  }
  return v;
}

std::string expected(const Value& like) {
  return std::visit(Cases{[](bool) { return "true or false"; }, [](int) { return "an integer of 32 bits"; },
                          [](int64_t) { return "an integer of 64 bits"; }, [](double) { return "a number"; },
                          [](const std::string&) { return "a word"; },
                          [](const std::vector<int>&) { return "integers such as [2, 2, 6, 2]"; },
                          [](const std::vector<double>&) { return "a list of numbers"; }},
                    like);
}

[[noreturn]] void refuse(std::string_view where, std::string_view key, std::string_view got, const Value& like,
                         const Domain& domain = {}) {
  const std::string range = text(domain, like);
  fail(where, "{} is {}, expected {}{}{}{}", key, got.empty() ? "empty" : shown(got), expected(like),
       range.empty() ? "" : ": " + range, *domain.hint ? "; " : "", domain.hint);
}

/// Of 1 to 4 bytes, or 0 when there is none at the start of s (RFC 3629: no surrogates, nothing longer than needed).
size_t utf8_length(std::string_view s) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned a = byte(0), b = byte(1);
  if (a < 0x80) return s.empty() ? 0 : 1;
  if (a >= 0xC2 && a <= 0xDF) return tail(1) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF)
    return tail(1) && tail(2) && !(a == 0xE0 && b < 0xA0) && !(a == 0xED && b >= 0xA0) ? 3 : 0;
  if (a >= 0xF0 && a <= 0xF4)
    return tail(1) && tail(2) && tail(3) && !(a == 0xF0 && b < 0x90) && !(a == 0xF4 && b >= 0x90) ? 4 : 0;
  return 0;
}

/// Levenshtein distance, with two swapped neighbours counted as one edit.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last), std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string text(const Value& v) {
  return std::visit(Cases{[](bool b) { return std::string(b ? "true" : "false"); },
                          [](int i) { return std::to_string(i); }, [](int64_t i) { return std::to_string(i); },
                          [](double d) { return fmt::format("{}", d); }, [](const std::string& s) { return s; },
                          [](const auto& list) { return fmt::format("[{}]", fmt::join(list, ", ")); }},
                    v);
}

std::string shown(std::string_view word) {
  constexpr size_t most = 120;
  std::string s;
  for (size_t i = 0; i < word.size();) {
    if (s.size() > most) return fmt::format("{}... ({} characters)", s, word.size());
    const size_t n = utf8_length(word.substr(i));
    const auto c = static_cast<unsigned char>(word[i]);
    if (n == 0 || c < ' ' || c == 0x7F) {
      s += fmt::format("\\x{:02x}", c), ++i;
    } else {
      s += word.substr(i, n), i += n;
    }
  }
  return s;
}

namespace {

std::optional<Value> typed(std::string_view s, const Value& like) {
  const std::string_view t = trim(s);
  return std::visit(Cases{[&](bool) -> std::optional<Value> {
                            if (t == "true" || t == "on" || t == "yes" || t == "1") return true;
                            if (t == "false" || t == "off" || t == "no" || t == "0") return false;
                            return {};
                          },
                          [&](int) -> std::optional<Value> { return number<int>(t); },
                          [&](int64_t) -> std::optional<Value> { return number<int64_t>(t); },
                          [&](double) -> std::optional<Value> {
                            const auto n = number<double>(t);
                            return n && std::isfinite(*n) ? std::optional<Value>(*n) : std::nullopt;
                          },
                          [&](const std::string&) -> std::optional<Value> { return std::string(t); },
                          [&](const std::vector<int>&) -> std::optional<Value> { return list<int>(t); },
                          [&](const std::vector<double>&) -> std::optional<Value> { return list<double>(t); }},
                    like);
}

/// v in the type of `like`, or none.
std::optional<Value> converted(const Value& v, const Value& like) {
  if (v.index() == like.index()) return v;
  if (const auto* s = std::get_if<std::string>(&v)) return typed(*s, like);
  const bool reals = std::holds_alternative<std::vector<double>>(like);
  if (std::holds_alternative<std::vector<double>>(v) || (reals && !std::holds_alternative<bool>(v)))
    return typed(text(v), like);
  if (const auto* i = std::get_if<int>(&v)) {
    if (std::holds_alternative<double>(like)) return static_cast<double>(*i);
    if (std::holds_alternative<int64_t>(like)) return int64_t{*i};
    if (std::holds_alternative<std::vector<int>>(like)) return std::vector<int>{*i};
  }
  if (const auto* i = std::get_if<int64_t>(&v)) {
    if (std::holds_alternative<double>(like)) return static_cast<double>(*i);
    if (std::holds_alternative<int>(like) && std::in_range<int>(*i)) return static_cast<int>(*i);
  }
  if (const auto* d = std::get_if<double>(&v); d && *d == std::trunc(*d)) {
    if (std::holds_alternative<int>(like) && std::abs(*d) <= std::numeric_limits<int>::max())
      return static_cast<int>(*d);
    if (std::holds_alternative<int64_t>(like) && std::abs(*d) <= 1e15) return static_cast<int64_t>(*d);
  }
  return {};
}

}  // namespace

Value parse(std::string_view key, std::string_view s, const Value& like) {
  if (auto v = typed(s, like)) return *std::move(v);
  refuse("options", key, trim(s), like);
}

Value convert(std::string_view key, const Value& v, const Value& like, const Domain& domain, std::string_view where) {
  auto c = converted(v, like);
  if (!c) refuse(where, key, text(v), like, domain);
  check_value(where, key, *c, domain);
  return *std::move(c);
}

// ---- domains -------------------------------------------------------------------------------------------------------

Domain odd(int low, int high) {
  Domain d = such_that([](const Value& v) { return std::get<int>(v) % 2 != 0; }, "which must be odd");
  d.low = low, d.high = high;
  return d;
}

std::string text(const Domain& d, const Value& like) {
  std::string s;
  for (const char* word : d.words)
    if (word) s += (s.empty() ? "" : " | ") + std::string(word);
  const bool from = d.low > -Domain::huge, to = d.high < Domain::huge;
  const bool real = std::holds_alternative<double>(like) || std::holds_alternative<std::vector<double>>(like);
  if (real && (from || to)) {
    s = from && to ? fmt::format("{}{}, {}{}", d.open_low ? '(' : '[', d.low, d.high, d.open_high ? ')' : ']')
        : from     ? fmt::format("{} {}", d.open_low ? "above" : "at least", d.low)
                   : fmt::format("{} {}", d.open_high ? "below" : "at most", d.high);
  } else if (from || to) {
    s = from && to ? fmt::format("{:.0f} to {:.0f}", d.low, d.high)
        : from     ? fmt::format("{:.0f} or more", d.low)
                   : fmt::format("{:.0f} or less", d.high);
  }
  if (d.zero) s = "0 or " + s;
  if (*d.rule) s += (s.empty() ? "" : ", ") + std::string(d.rule);
  return s;
}

namespace {

bool in_range(double v, const Domain& d) {
  if (!std::isfinite(v)) return false;
  if (d.zero && v == 0) return true;
  if (v < d.low || v > d.high || (d.open_low && v == d.low)) return false;
  return !d.open_high || static_cast<float>(v) < static_cast<float>(d.high);
}

/// Paths and names of data go into config.toml, which is UTF-8, and to the system, which ends them at a NUL.
const char* fault_of(std::string_view word) {
  if (word.find('\0') != std::string_view::npos) return "a word without NUL";
  if (word.size() > 65536) return "at most 65536 bytes";
  for (size_t i = 0, n = 0; i < word.size(); i += n) {
    n = utf8_length(word.substr(i));
    if (n == 0) return "UTF-8: config.toml could not be read again";
  }
  return nullptr;
}

}  // namespace

void check_value(std::string_view where, std::string_view key, const Value& v, const Domain& d) {
  const auto outside = [&](double x) { return !in_range(x, d); };
  const bool bad = std::visit(
      Cases{[&](bool) { return false; }, [&](int i) { return outside(i); },
            [&](int64_t i) { return outside(static_cast<double>(i)); }, [&](double x) { return outside(x); },
            [&](const std::string& s) {
              return d.words[0] &&
                     std::none_of(d.words.begin(), d.words.end(), [&](const char* w) { return w && s == w; });
            },
            [&](const auto& list) { return list.size() > 1000 || std::any_of(list.begin(), list.end(), outside); }},
      v);
  const auto* word = std::get_if<std::string>(&v);
  if (const char* fault = word ? fault_of(*word) : nullptr)
    fail(where, "{} is {}, expected {}", key, shown(*word), fault);
  if (!bad && (!d.holds || d.holds(v))) return;
  std::string range = text(d, v), near;
  if (range.empty())
    range = std::holds_alternative<std::vector<int>>(v)      ? "at most 1000 integers"
            : std::holds_alternative<std::vector<double>>(v) ? "at most 1000 finite numbers"
                                                             : "a finite number";
  if (word && d.words[0]) {
    std::vector<std::string> words;
    for (const char* w : d.words)
      if (w) words.emplace_back(w);
    if (near = nearest(*word, words); !near.empty()) near = fmt::format("; did you mean \"{}\"?", near);
  }
  const std::string got = text(v);
  fail(where, "{} is {}, expected {}{}{}{}", key, got.empty() ? "empty" : shown(got), range, near, *d.hint ? "; " : "",
       d.hint);
}

std::string_view where_of(std::string_view what) {
  return what.ends_with('.') ? what.substr(0, what.size() - 1) : what;
}
std::string name_of(std::string_view what, std::string_view key) {
  return what.ends_with('.') ? fmt::format("{}{}", what, key) : std::string(key);
}

void check_options(std::string_view what, const Options& values, const Options& standard, const Domains& domains) {
  for (const auto& [key, v] : values) {
    const auto domain = domains.find(key);
    if (domain == domains.end()) continue;
    const Domain& d = domain->second;
    check_value(where_of(what), name_of(what, key), v, d);
    if (!d.with || standard.at(key) == v) continue;
    const std::string field = name_of(what, d.with), other = text(values.at(d.with));
    std::string wanted;
    for (const char* w : d.is)
      if (w) wanted += fmt::format("{}{}={}", wanted.empty() ? "" : " or ", field, w);
    const bool idle = wanted.empty()
                          ? other.empty() || other == "0" || other == "false"
                          : std::none_of(d.is.begin(), d.is.end(), [&](const char* w) { return w && other == w; });
    if (!idle) continue;
    fail(where_of(what), "{} is {} but does nothing with {}={}: leave it out, or set {}", name_of(what, key),
         shown(text(v)), field, other, wanted.empty() ? field : wanted);
  }
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  size_t fewest = std::max<size_t>(2, word.size() / 3) + 1;
  for (const auto& c : candidates) {
    // Words of very different lengths are not near; nor does one of a megabyte cost a table of distances.
    if (word.size() > c.size() + fewest) continue;
    // A word that begins another one is an abbreviation, however long the rest is.
    const size_t d = word.size() >= 3 && c.starts_with(word) ? 1 : distance(word, c);
    if (d < fewest && d < std::max(word.size(), c.size())) fewest = d, best = c;
  }
  return best;
}

void unknown(std::string_view what, std::string_view word, std::span<const std::string> candidates) {
  if (const std::string near = nearest(word, candidates); !near.empty()) {
    fail(what, "unknown name \"{}\"; did you mean \"{}\"?", shown(word), near);
  }
  if (candidates.empty()) fail(what, "unknown name \"{}\"; it takes none", shown(word));
  fail(what, "unknown name \"{}\"; known: {}", shown(word), fmt::join(candidates, ", "));
}

}  // namespace tessera
