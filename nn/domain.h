#pragma once
// The domain of an option: which values of its type it takes, and in which company it means anything. It stands beside the field, so
// that a value is looked at in one place wherever it comes from: a struct, the library's Options, TOML, key=value, a shortcut.
#include <array>
#include <limits>
#include <string>
#include <string_view>

#include "tessera/nn/value.h"

namespace tessera {

/// Reals are finite whatever else is said. A list's range is that of its entries.
struct Domain {
  static constexpr double huge = std::numeric_limits<double>::max();
  double low = -huge, high = huge;
  bool open_low = false, open_high = false;  ///< the end itself is outside
  bool zero = false;                         ///< 0 is inside, too: "off", or "the default"
  std::array<const char*, 8> words{};        ///< of a word: these and no others
  bool (*holds)(const Value&) = nullptr;     ///< what a range cannot say ...
  const char* rule = "";                     ///< ... in words: "two numbers in [0, 1) such as [0.9, 0.999]"
  const char* hint = "";                     ///< said beside a refusal: "the width is img_width"
  const char* with = nullptr;                ///< means something only when this field of the same struct ...
  std::array<const char*, 4> is{};           ///< ... has one of these values; none: when it is neither 0 nor false

  constexpr Domain or_zero() const {
    Domain d = *this;
    d.zero = true;
    return d;
  }
  constexpr Domain hinted(const char* words_of_it) const {
    Domain d = *this;
    d.hint = words_of_it;
    return d;
  }
  template <class... Values>
  constexpr Domain only_with(const char* field, Values... values) const {
    Domain d = *this;
    d.with = field, d.is = {values...};
    return d;
  }
};

constexpr Domain anything() { return {}; }
constexpr Domain within(double low, double high) { return {.low = low, .high = high}; }
constexpr Domain at_least(double low) { return {.low = low}; }
constexpr Domain at_most(double high) { return {.high = high}; }
/// (0, high]
constexpr Domain positive(double high) { return {.low = 0, .high = high, .open_low = true}; }
/// [0, 1), also as an fp32 number: 1 - 1e-9 is not in it, for 1 / (1 - p) would be infinite.
constexpr Domain below_one() { return {.low = 0, .high = 1, .open_high = true}; }
template <class... Words>
constexpr Domain one_of(const char* first, Words... others) {
  return {.words = {first, others...}};
}
constexpr Domain such_that(bool (*holds)(const Value&), const char* rule) { return {.holds = holds, .rule = rule}; }
/// An integer of [low, high] that is odd.
Domain odd(int low, int high);

/// The domain for people: "adamw | sgd", "[0, 1)", "1 to 64", "0 or [1e-06, 1000]"; "" when the type says all.
std::string text(const Domain& domain, const Value& like);
/// Throws Error "[where] key is v, expected ...; did you mean ...?" when v (of the option's type) lies outside.
void check_value(std::string_view where, std::string_view key, const Value& v, const Domain& domain);

}  // namespace tessera
