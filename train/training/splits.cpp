#include "tessera/train/training/splits.h"

#include <filesystem>

#include "tessera/core/io/text.h"
#include "tessera/train/data/named.h"
#include "tessera/train/data/subset.h"

namespace tessera {

std::string without_folder(const std::string& spec) {
  const size_t colon = spec.find(':');
  const data::NamedData* named = data::find_named(spec);
  const bool made = named && named->most_made > 0;  // then a task is named after the colon
  return colon == std::string::npos || made ? spec : spec.substr(0, colon + 1);
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

data::LogMelOptions sound_of(const DataConfig& c) {
  return {.sample_rate = c.sample_rate, .n_mels = c.n_mels, .window_ms = c.window_ms, .hop_ms = c.hop_ms};
}

data::Splits open_splits(DataConfig& c) {
  if (c.name.empty()) c.name = data::available("cifar10", c.dir) ? "cifar10" : "where";
  io::check_text("data", "data.name", c.name), io::check_text("data", "data.dir", c.dir);  // they stand in config.toml
  const std::string moved = follow(c);
  const auto size = [](int n) { return static_cast<size_t>(n); };
  const auto seed = static_cast<uint64_t>(c.seed);
  data::OpenOptions options{.seed = seed, .img_size = c.img_size};
  if (c.train_size > 0) options.train_size = size(c.train_size) + size(c.val_size);  // what is made is as asked for
  if (c.test_size > 0) options.test_size = size(c.test_size);
  options.sound = sound_of(c);
  data::Splits d = data::open_splits(c.name, c.dir, options);
  if (d.sample_rate > 0) c.sample_rate = d.sample_rate;
  d.note = moved.empty() || d.note.empty() ? moved + d.note : moved + "; " + d.note;
  const char* unit = d.train->form().unit();
  if (d.val && c.val_size > 0)
    fail("data", "{} has a val folder of {} {}s, which is the validation split: data.val_size={} must be 0", c.name,
         d.val->size(), unit, c.val_size);
  if (c.train_size > 0 || c.val_size > 0) {
    const size_t all = d.train->size();
    if (size(c.val_size) >= all || size(c.train_size) + size(c.val_size) > all) {
      fail("data", "{} has {} {}s: not enough for data.train_size={} and data.val_size={}", d.train->name, all, unit,
           c.train_size, c.val_size);
    }
    auto [train, held_out] =
        data::split(d.train, c.train_size > 0 ? size(c.train_size) : all - size(c.val_size), size(c.val_size), seed);
    d.train = std::move(train);
    if (c.val_size > 0) d.val = std::move(held_out);
  }
  if (c.fraction < 1) d.train = data::fraction(d.train, c.fraction, seed);
  return d;
}

}  // namespace tessera
