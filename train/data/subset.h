#pragma once
// Parts of any source: a few of its samples, or its classes under other numbers. Pictures stay Sets; all else is looked at through a view.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tessera/train/data/source.h"

namespace tessera::data {

/// Two disjoint random subsets of the given sizes. Throws Error if there are fewer samples than that.
std::pair<std::shared_ptr<const Source>, std::shared_ptr<const Source>> split(
    const std::shared_ptr<const Source>& source, size_t first, size_t second, uint64_t seed);
/// A random subset with `share` (0, 1] of every class, at least one sample of each; of all samples where there are no classes.
std::shared_ptr<const Source> fraction(const std::shared_ptr<const Source>& source, double share, uint64_t seed);
/// The source with its classes under the numbers they have in `names`, or itself where those are its own. Throws Error on a class that
/// `names` does not have.
std::shared_ptr<const Source> under_names(const std::shared_ptr<const Source>& source,
                                          const std::vector<std::string>& names);

constexpr const char* held_out = " (held out)";  ///< what the name of the second part of a split ends with
/// The numbers of those samples.
std::pair<Index, Index> split_rows(const Source& source, size_t first, size_t second, uint64_t seed);
Index fraction_rows(const Source& source, double share, uint64_t seed);

}  // namespace tessera::data
