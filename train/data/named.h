#pragma once
// The data sets that have a name. One row makes a set known to everything that takes a SPEC: train, eval, `tessera data`, the checks of a
// configuration, the messages on a name that is none.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/data/set.h"

namespace tessera::data {

/// "imagefolder:DIR": a name, and what stands after its colon.
struct Spec {
  std::string name, rest;
  bool colon = false;  ///< "cifar10:" has one, and nothing after it
};
Spec parse_spec(std::string_view text);

struct NamedData {
  std::string name;     ///< what its SPEC begins with
  std::string written;  ///< how a SPEC of it looks, for help: "where[:TASK]"
  std::string recipe;   ///< the embedded recipe that trains on it when nobody names one
  /// Of what is made in memory, from data.seed and as many as data.train_size and data.test_size say: the most samples there can be. What
  /// stands after the colon is no folder then. 0: it is read from files.
  int64_t most_made = 0;
  bool own_splits = false;  ///< it may bring a validation split, or none at all and be cut by data.seed
  bool any_size = false;    ///< of pictures that data.img_size brings to one size
  bool sound = false;       ///< recordings: data.n_mels, data.sample_rate and the like are for it
  /// Throws Error on what cannot stand after the colon; empty: anything may.
  std::function<void(const std::string& rest)> check{};
  /// Are the files there? `dir`: where they are looked for first.
  std::function<bool(const Spec&, const std::string& dir)> available;
  std::function<Splits(const Spec&, const std::string& dir, const OpenOptions&)> open;
};

const std::vector<NamedData>& named_data();
/// The row of a SPEC, or null.
const NamedData* find_named(std::string_view spec);
/// "cifar10, cifar10:DIR, imagefolder:DIR, where[:TASK]"
std::string written_specs();

/// The places where a set that lies in `folder` of a data directory may be, best first.
std::vector<std::string> places(const std::string& folder, const std::string& dir);

}  // namespace tessera::data
