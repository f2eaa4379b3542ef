#include "nn/options.h"

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
std::optional<std::vector<int>> list(std::string_view s) {
  s = trim(s);
  if (s.size() >= 2 && s.front() == '[' && s.back() == ']') s = trim(s.substr(1, s.size() - 2));
  std::vector<int> v;
  while (!s.empty()) {
    const size_t comma = std::min(s.find(','), s.size());
    const auto n = number<int>(s.substr(0, comma));
    if (!n) return {};
    v.push_back(*n);
    if (comma + 1 == s.size()) return {};  // nothing behind the last comma
    s.remove_prefix(std::min(comma + 1, s.size()));
  }
  return v;
}

std::string expected(const Value& like) {
  return std::visit(Cases{[](bool) { return "true or false"; }, [](int) { return "an integer of 32 bits"; },
                          [](double) { return "a number"; }, [](const std::string&) { return "a word"; },
                          [](const std::vector<int>&) { return "integers such as [2, 2, 6, 2]"; }},
                    like);
}

[[noreturn]] void refuse(std::string_view key, std::string_view got, const Value& like) {
  fail("options", "{} is {}, expected {}", key, got.empty() ? "empty" : got, expected(like));
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
  return std::visit(
      Cases{[](bool b) { return std::string(b ? "true" : "false"); }, [](int i) { return std::to_string(i); },
            [](double d) { return fmt::format("{}", d); }, [](const std::string& s) { return s; },
            [](const std::vector<int>& l) { return fmt::format("[{}]", fmt::join(l, ", ")); }},
      v);
}

Value parse(std::string_view key, std::string_view s, const Value& like) {
  const std::string_view t = trim(s);
  return std::visit(Cases{[&](bool) -> Value {
                            if (t == "true" || t == "on" || t == "yes" || t == "1") return true;
                            if (t == "false" || t == "off" || t == "no" || t == "0") return false;
                            refuse(key, t, like);
                          },
                          [&](int) -> Value {
                            if (const auto n = number<int>(t)) return *n;
                            refuse(key, t, like);
                          },
                          [&](double) -> Value {
                            if (const auto n = number<double>(t); n && std::isfinite(*n)) return *n;
                            refuse(key, t, like);
                          },
                          [&](const std::string&) -> Value { return std::string(t); },
                          [&](const std::vector<int>&) -> Value {
                            if (auto l = list(t)) return std::move(*l);
                            refuse(key, t, like);
                          }},
                    like);
}

Value convert(std::string_view key, const Value& v, const Value& like) {
  if (v.index() == like.index()) return v;
  if (const auto* s = std::get_if<std::string>(&v)) return parse(key, *s, like);
  if (const auto* i = std::get_if<int>(&v)) {
    if (std::holds_alternative<double>(like)) return static_cast<double>(*i);
    if (std::holds_alternative<std::vector<int>>(like)) return std::vector<int>{*i};
  }
  if (const auto* d = std::get_if<double>(&v); d && std::holds_alternative<int>(like)) {
    if (*d == std::trunc(*d) && std::abs(*d) <= std::numeric_limits<int>::max()) return static_cast<int>(*d);
  }
  refuse(key, text(v), like);
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  size_t fewest = std::max<size_t>(2, word.size() / 3) + 1;
  for (const auto& c : candidates) {
    // A word that begins another one is an abbreviation, however long the rest is.
    const size_t d = word.size() >= 3 && c.starts_with(word) ? 1 : distance(word, c);
    if (d < fewest && d < std::max(word.size(), c.size())) fewest = d, best = c;
  }
  return best;
}

void unknown(std::string_view what, std::string_view word, std::span<const std::string> candidates) {
  if (const std::string near = nearest(word, candidates); !near.empty()) {
    fail(what, "unknown name \"{}\"; did you mean \"{}\"?", word, near);
  }
  if (candidates.empty()) fail(what, "unknown name \"{}\"; it takes none", word);
  fail(what, "unknown name \"{}\"; known: {}", word, fmt::join(candidates, ", "));
}

}  // namespace tessera
