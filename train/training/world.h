#pragma once
// The processes that train one model together. Each of them sees every batch, runs the lanes that are its own, and after a step has the
// gradient of all: a run has the same bits whatever their number. Used by the sum of gradients, by evaluation and by decisions to stop, and
// nowhere else. One process alone is solo(), the only World so far.
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tessera/core/parallel.h"
#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

struct World {
  /// A piece of one parameter's gradient in every lane, and where its sum belongs.
  struct Piece {
    std::array<const real*, 64> from;  ///< null where the lane is another rank's
    real* to;
    int64_t count;
  };

  virtual ~World() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// The items of n that are rank r's: n r / R up to n (r + 1) / R. Of lanes as of all else.
  std::pair<int, int> part(int r, int n) const {
    return {static_cast<int>(int64_t{n} * r / size()), static_cast<int>(int64_t{n} * (r + 1) / size())};
  }
  std::pair<int, int> mine(int n) const { return part(rank(), n); }
  /// Writes the sums of pieces 0 to n - 1 in every rank, in the tree of kernels().sum_lanes: lane l + k joins l for k = 1, 2, 4, ... A rank adds
  /// up the nodes of that tree whose lanes are all its own, and hands those on that another rank's nodes need. `piece` may be called from
  /// any worker.
  virtual void sum(int64_t n, int lanes, parallel::Ref<Piece(int64_t)> piece) = 0;
  /// In an array of `items` items every rank has filled those that are mine(); afterwards every rank has all.
  virtual void share(void* array, int items, size_t bytes_of_item) = 0;
  /// Does any rank say so? The same answer in all of them, who must all ask.
  virtual bool any(bool here) = 0;
};

/// This process, alone.
World& solo();

}  // namespace TESSERA_NS
}  // namespace tessera
