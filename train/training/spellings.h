#pragma once
// Other usual spellings of a value, which is stored under one: a digest, a table and a comparison of runs know no second name.
#include <string>
#include <string_view>

#include "tessera/core/error.h"
#include "tessera/core/precision.h"
#include "tessera/nn/value.h"

namespace tessera {

/// fp32 and float32 are f32, bfloat16 is bf16; any other word stays, to be refused by who reads it.
inline std::string canonical_precision(const std::string& word) try {
  return std::string(name(precision(word)));
} catch (const Error&) {
  return word;
}

/// The value of a key of a run ("train.precision") as it is stored.
inline Value canonical(std::string_view key, Value v) {
  if (key == "train.precision")
    if (std::string* word = std::get_if<std::string>(&v)) *word = canonical_precision(*word);
  return v;
}

}  // namespace tessera
