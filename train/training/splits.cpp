#include "tessera/train/training/splits.h"

#include <filesystem>

#include "tessera/core/io/text.h"

namespace tessera {

std::string without_folder(const std::string& spec) {
  const size_t colon = spec.find(':');
  return colon == std::string::npos || spec.starts_with("where:") ? spec : spec.substr(0, colon + 1);
}

std::string follow(DataConfig& c) {
  namespace fs = std::filesystem;
  const std::string kind = without_folder(c.name);
  if (c.dir.empty() || kind.size() == c.name.size() || !kind.ends_with(":")) return "";
  const fs::path dir(c.dir);
  fs::path was(c.name.substr(kind.size()));
  if (!was.has_filename()) was = was.parent_path();  // DIR/
  fs::path found = dir;
  std::error_code none;
  for (const fs::path& inside : {was.filename(), was})
    if (!inside.empty() && inside.is_relative() && fs::is_directory(dir / inside, none)) found = dir / inside;
  c.name = kind + found.string();
  c.dir.clear();
  return fmt::format("data: {} (by data.dir)", c.name);
}

Splits open_splits(DataConfig& c) {
  if (c.name.empty()) c.name = data::available("cifar10", c.dir) ? "cifar10" : "where";
  io::check_text("data", "data.name", c.name), io::check_text("data", "data.dir", c.dir);  // they stand in config.toml
  const std::string moved = follow(c);
  const auto size = [](int n) { return static_cast<size_t>(n); };
  const auto seed = static_cast<uint64_t>(c.seed);
  data::OpenOptions options{.seed = seed, .img_size = c.img_size};
  if (c.train_size > 0) options.train_size = size(c.train_size) + size(c.val_size);  // `where` makes what is asked for
  if (c.test_size > 0) options.test_size = size(c.test_size);
  const data::TrainTest named = data::open(c.name, c.dir, options);
  Splits d{named.train, named.val, named.test,
           moved.empty() || named.note.empty() ? moved + named.note : moved + "; " + named.note};
  if (named.val.size() > 0 && c.val_size > 0)
    fail("data", "{} has a val folder of {} images, which is the validation split: data.val_size={} must be 0", c.name,
         named.val.size(), c.val_size);
  if (c.train_size > 0 || c.val_size > 0) {
    if (size(c.val_size) >= named.train.size() || size(c.train_size) + size(c.val_size) > named.train.size()) {
      fail("data", "{} has {} images: not enough for data.train_size={} and data.val_size={}", named.train.name,
           named.train.size(), c.train_size, c.val_size);
    }
    const size_t first = c.train_size > 0 ? size(c.train_size) : named.train.size() - size(c.val_size);
    auto [train, held_out] = data::split(named.train, first, size(c.val_size), seed);
    d.train = std::move(train);
    if (c.val_size > 0) d.val = std::move(held_out);
  }
  if (c.fraction < 1) d.train = data::fraction(d.train, c.fraction, seed);
  return d;
}

}  // namespace tessera
