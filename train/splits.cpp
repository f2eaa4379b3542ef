#include "train/splits.h"

namespace tessera {

Splits open_splits(DataConfig& c) {
  if (c.name.empty()) c.name = data::available("cifar10", c.dir) ? "cifar10" : "where";
  const auto size = [](int n) { return static_cast<size_t>(n); };
  const auto seed = static_cast<uint64_t>(c.seed);
  data::OpenOptions options{.seed = seed, .img_size = c.img_size};
  if (c.train_size > 0) options.train_size = size(c.train_size) + size(c.val_size);  // `where` makes what is asked for
  if (c.test_size > 0) options.test_size = size(c.test_size);
  const data::Named named = data::open(c.name, c.dir, options);
  Splits d{named.train, {}, named.test, named.note};
  if (c.train_size > 0 || c.val_size > 0) {
    if (size(c.val_size) >= named.train.size() || size(c.train_size) + size(c.val_size) > named.train.size()) {
      fail("data", "{} has {} images: not enough for data.train_size={} and data.val_size={}", named.train.name,
           named.train.size(), c.train_size, c.val_size);
    }
    const size_t first = c.train_size > 0 ? size(c.train_size) : named.train.size() - size(c.val_size);
    std::tie(d.train, d.val) = data::split(named.train, first, size(c.val_size), seed);
  }
  if (c.fraction < 1) d.train = data::fraction(d.train, c.fraction, seed);
  return d;
}

}  // namespace tessera
