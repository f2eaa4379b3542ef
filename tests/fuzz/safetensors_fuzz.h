#pragma once
// What a fuzzer does with one input: open it as a safetensors file and read everything it promises. Any outcome but
// success or one clear Error is a bug.
#include <limits>
#include <string>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/io/safetensors.h"

namespace tessera::io {

/// Returns whether the file was taken.
inline bool fuzz_safetensors(std::string bytes) {
  const size_t size = bytes.size();
  try {
    const SafeTensors file = SafeTensors::from_bytes(std::move(bytes), "fuzz");
    std::vector<float> values;
    for (const auto& t : file.tensors()) {
      if (t.end > size) throw std::logic_error("a tensor outside of the file was taken");
      values.resize(static_cast<size_t>(t.size()));
      file.read(t, std::span<float>(values));
    }
    file.verify();
    return true;
  } catch (const Error& e) {
    const std::string_view line = e.what();
    if (line.find('\n') != std::string_view::npos || line.size() > 1000)
      throw std::logic_error("an error is not one short line");
    return false;
  }
}

}  // namespace tessera::io
