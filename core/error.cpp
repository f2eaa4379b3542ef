#include "tessera/core/error.h"

namespace tessera {

thread_local const Crumb* Crumb::top = nullptr;

std::string Crumb::path() {
  std::string path;
  for (const Crumb* c = top; c; c = c->up_) {
    if (c->name_.empty()) continue;
    path = path.empty() ? std::string(c->name_) : fmt::format("{}.{}", c->name_, path);
  }
  return path;
}

void throw_error(std::string_view where, std::string facts) {
  const std::string path = Crumb::path();
  // an op that already names its parameter needs no breadcrumb
  const bool named = path.empty() || where.find(' ') != std::string_view::npos;
  throw Error(named ? fmt::format("[{}] {}", where, facts) : fmt::format("[{} {}] {}", where, path, facts));
}

}  // namespace tessera
