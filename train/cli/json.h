#pragma once
// One JSON document on stdout; members keep the order in which they were added.
#include "core/io/json.h"
#include "train/cli/console.h"

namespace tessera::cli {

using io::Json;

/// The document and a line break; bytes that are no UTF-8 are replaced. Numbers print shortest-exact.
inline void print_json(const Json& document) {
  print(document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace tessera::cli
