#include "tessera/train/training/lanes.h"

#include <algorithm>
#include <array>

#include "tessera/core/ops/batchnorm.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr int64_t chunk_size = 16384;
alignas(64) const real
    no_gradient[chunk_size] = {};  // stands for a lane that had no shard, or a weight it did not reach

}  // namespace

Lanes::Lanes(const LanesOptions& options, World& world) : options_(options), world_(world) {
  if (options.lanes < 1 || options.lanes > 64) fail("lanes", "{} lanes; expected 1 to 64", options.lanes);
  if (options.shard_size < 1) fail("lanes", "a shard of {} images; expected at least 1", options.shard_size);
  if (!(options.bn_momentum >= 0 && options.bn_momentum <= 1))
    fail("lanes", "bn_momentum is {}; expected from 0 to 1", options.bn_momentum);
  lanes_.resize(static_cast<size_t>(options.lanes));
}

void Lanes::discard() {
  for (Lane& lane : lanes_) lane.grads.next_step(), lane.value = 0;
  for (auto& s : statistics_) s.clear();
  shards_ = 0;
  over_ = true;
}

void Lanes::add(const Run& run, const Batch& part, Loss loss) {
  if (part.size() < 1) fail("lanes", "an empty batch");
  const int S = (part.size() - 1) / options_.shard_size + 1, L = options_.lanes;
  for (int r = 0; r < world_.size(); ++r) {  // a rank without a shard would not know which parameters there are
    const auto [first, last] = world_.part(r, L);
    if (int64_t{S} * first / L == int64_t{S} * last / L)
      fail("lanes", "a batch of {} shards leaves nothing to rank {} of {}: larger batches, smaller shards or drop_last",
           S, r, world_.size());
  }
  if (over_) discard();
  over_ = false;
  if (statistics_.size() < shards_ + static_cast<size_t>(S)) statistics_.resize(shards_ + static_cast<size_t>(S));
  try {
    const auto [first, last] = world_.mine(L);
    parallel::shards(last - first, [&, first = first](int i) {
      const int l = first + i;
      run_lane(lanes_[static_cast<size_t>(l)], static_cast<int>(int64_t{S} * l / L),
               static_cast<int>(int64_t{S} * (l + 1) / L), run, part, loss);
    });
  } catch (...) {
    discard();
    throw;
  }
  shards_ += static_cast<size_t>(S);
}

void Lanes::run_lane(Lane& lane, int first_shard, int last_shard, const Run& run, const Batch& part, Loss loss) {
  for (int s = first_shard; s < last_shard; ++s) {
    const int begin = s * options_.shard_size, end = begin + std::min(part.size() - begin, options_.shard_size);
    const Batch shard = part.rows(begin, end);
    Run here = run;
    here.first = shard.first;
    const Collecting collecting(statistics_[shards_ + static_cast<size_t>(s)]);
    Tape tape;
    const Tensor value = loss(here, shard);
    if (value.size() != 1) fail("lanes", "the loss of a shard is {}, expected a single number", value.shape().str());
    lane.value += static_cast<double>(value[0]);
    tape.backward(value, lane.grads);
  }
}

Lanes::Step Lanes::finish(Statistics running) & {
  if (over_) fail("lanes", "finish() without a batch");
  sum_gradients();
  if (running == Statistics::move) move_running_statistics();
  std::array<double, 64> value;
  for (size_t l = 0; l < lanes_.size(); ++l) value[l] = lanes_[l].value;
  world_.share(value.data(), options_.lanes, sizeof(double));
  for (size_t k = 1; k < lanes_.size(); k *= 2)
    for (size_t l = 0; l + k < lanes_.size(); l += 2 * k) value[l] += value[l + k];
  over_ = true;
  return {value[0], sum_};
}

// All lanes are read once and the sum is written once, in parallel over fixed chunks; the tree is the kernel's.
void Lanes::sum_gradients() {
  sum_.next_step();
  chunks_.clear();
  for (const Lane& lane : lanes_) {
    lane.grads.each([&](LeafId leaf, const Tensor& g) {
      if (sum_.at(leaf)) return;  // an earlier lane has it
      sum_.into(leaf, g.shape());
      for (int64_t a = 0; a < g.size(); a += chunk_size)
        chunks_.push_back({leaf, a, std::min(chunk_size, g.size() - a)});
    });
  }
  const auto [first, last] = world_.mine(options_.lanes);
  world_.sum(static_cast<int64_t>(chunks_.size()), options_.lanes, [&, first = first, last = last](int64_t i) {
    const Chunk& c = chunks_[static_cast<size_t>(i)];
    World::Piece piece{{}, sum_.at(c.leaf).data() + c.begin, c.count};
    for (int l = first; l < last; ++l) {
      const auto lane = static_cast<size_t>(l);
      const Tensor g = lanes_[lane].grads.at(c.leaf);
      piece.from[lane] = g ? g.data() + c.begin : no_gradient;
    }
    return piece;
  });
}

void Lanes::move_running_statistics() {
  in_order_.clear();
  for (size_t s = 0; s < shards_; ++s) {
    for (BatchStatistics& b : statistics_[s]) in_order_.push_back(std::move(b));
    statistics_[s].clear();
  }
  if (in_order_.empty()) return;
  if (world_.size() > 1)
    fail("lanes", "the running statistics of BatchNorm are not shared between processes yet: train it in one");
  update_running(in_order_, options_.bn_momentum);
  in_order_.clear();
}

int64_t Lanes::bytes() const {
  int64_t n = 0;
  const auto count = [&](LeafId, const Tensor& g) { n += g.size(); };
  for (const Lane& lane : lanes_) lane.grads.each(count);
  sum_.each(count);
  return n * static_cast<int64_t>(sizeof(real));
}

}  // namespace TESSERA_NS
}  // namespace tessera
