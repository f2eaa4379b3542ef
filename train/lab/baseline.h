#pragma once
// Whom a cell, or a group of cells, is compared with: one rule for the runs of a study (plan.cpp) and for its tables (results.cpp).
#include <cstddef>
#include <string>
#include <vector>

namespace tessera::lab {

/// Values of the grid's keys, in its order; "" where a key means nothing.
using KeyValues = std::vector<std::string>;

/// The same with "" also where a value is only the default of a key that has no use beside the others: the momentum of AdamW.
KeyValues in_use(const std::vector<std::string>& keys, KeyValues values);

/// How many keys other than `key` have the same value in both; -1 where one says something else. A key that only one of them has, an option
/// of its encoding, model or optimiser, tells it from nothing.
int likeness(const KeyValues& a, const KeyValues& b, size_t key);

/// The place, among candidates that have the baseline's value of `key`, of the one most like `of`; of several the first.
/// candidates.size(): none can be compared with it.
size_t baseline_among(const std::vector<KeyValues>& candidates, const KeyValues& of, size_t key);

}  // namespace tessera::lab
