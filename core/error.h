#pragma once
// One kind of exception with one clear line: "[where] facts; what to do". The command line prints it and exits with 1.
#include "tessera/core/cxx20.h"
#if __cplusplus >= 202002L

#include <fmt/core.h>

#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tessera {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The layer that is running on this thread ("blocks.3.attn"), kept by Crumb; part of every error message and observation.
class Crumb {
 public:
  /// Appends `name` to the thread's breadcrumb while this object lives. `name` must outlive it, so a string made on the spot does not
  /// compile.
  explicit Crumb(std::string_view name) : name_(name), up_(top) { top = this; }
  template <class S>
  requires std::same_as<S, std::string>
  explicit Crumb(S&& made_on_the_spot) = delete;
  ~Crumb() { top = up_; }
  Crumb(const Crumb&) = delete;
  Crumb& operator=(const Crumb&) = delete;
  /// The whole path, outermost first, joined by dots; empty outside of any layer.
  static std::string path();

 private:
  std::string_view name_;
  const Crumb* up_;
  static thread_local const Crumb* top;
};

[[noreturn]] void throw_error(std::string_view where, std::string facts);

/// Throws Error "[where path] facts". `where` is the op ("linear") or the op and its parameter ("linear blocks.3.mlp.fc1").
template <class... A>
[[noreturn]] void fail(std::string_view where, fmt::format_string<A...> facts, A&&... a) {
  throw_error(where, fmt::format(facts, std::forward<A>(a)...));
}

}  // namespace tessera

#endif
