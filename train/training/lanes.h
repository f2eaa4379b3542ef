#pragma once
// Data parallelism inside one process, one fork-join a step. A batch is cut into shards of a fixed number of images;
// shard s of S goes to the lane l with S l / L <= s < S (l + 1) / L; a lane runs its shards in order on one worker,
// each on a tape of its own, and adds up their weight gradients; lanes are added in a fixed tree. Sizes and counts of
// shards and lanes are part of the arithmetic; threads are not: any number of them gives the same bits.
#include <vector>

#include "tessera/core/parallel.h"
#include "tessera/core/run.h"
#include "tessera/core/tape.h"
#include "tessera/train/data/batch.h"
#include "tessera/train/training/world.h"

namespace tessera {

struct LanesOptions {
  int lanes = 8;
  int shard_size = 8;        ///< images; of 2 to 32 the prototype ran fastest with 8
  double bn_momentum = 0.1;  ///< of BatchNorm's running statistics, moved once a step
};

inline namespace TESSERA_NS {

class Lanes {
 public:
  struct Step {
    double value;        ///< the sum of the shards' losses: the batch's mean if each divides by Batch::of
    const Grads& grads;  ///< of the whole batch; valid until the next step
  };
  /// Builds the loss of one shard, a single number, on the tape of its lane.
  using Loss = parallel::Ref<Tensor(const Run&, const Batch& shard)>;

  /// Throws Error unless there are 1 to 64 lanes, a shard has at least one image, and bn_momentum is from 0 to 1. `world` must outlive
  /// the lanes; each rank of it runs those that are its own.
  explicit Lanes(const LanesOptions& options = {}, World& world = solo());

  /// Value and gradient of a batch, of one Params or of several. Moves the running statistics of BatchNorm. What `loss` throws comes
  /// out here.
  Step operator()(const Run& run, const Batch& batch,
                  Loss loss) & {  // not of a temporary: the gradients are its memory
    add(run, batch, loss);
    return finish();
  }
  /// The same in parts, for steps of more than one batch: add() each of them, then finish(). Batch::of and Batch::first
  /// tell a part where it stands in the whole.
  void add(const Run& run, const Batch& part, Loss loss);
  Step finish() & { return finish(Statistics::move); }
  /// A second pass over a batch (SAM) leaves the running statistics where the first brought them.
  enum class Statistics { move, keep };
  Step finish(Statistics running) &;
  /// Forgets what add() gathered: a step that shall not happen.
  void discard();

  const LanesOptions& options() const { return options_; }
  /// Bytes of all gradient buffers so far.
  int64_t bytes() const;

 private:
  struct Lane {
    Grads grads;
    double value = 0;
  };
  void run_lane(Lane& lane, int first_shard, int last_shard, const Run& run, const Batch& part, Loss loss);
  void sum_gradients();
  void move_running_statistics();

  LanesOptions options_;
  World& world_;
  std::vector<Lane> lanes_;
  Grads sum_;
  bool over_ = true;                                      // what the lanes hold is of a step that has ended
  std::vector<std::vector<BatchStatistics>> statistics_;  // by shard of all parts
  std::vector<BatchStatistics> in_order_;
  size_t shards_ = 0;  // of the parts so far
  struct Chunk {       // a piece of one parameter in every lane that has a gradient of it
    LeafId leaf;
    int64_t begin, count;
  };
  std::vector<Chunk> chunks_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
