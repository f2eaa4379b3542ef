#include "tessera/train/data/named.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/train/data/public_sets.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/token_pairs.h"
#include "tessera/train/data/where.h"

namespace tessera::data {
namespace {

bool is_folder(const std::string& path) {
  std::error_code none;
  return std::filesystem::is_directory(path, none);
}

Splits splits_of(TrainTest t) {
  const auto share = [](Set& s) { return s.size() > 0 ? std::make_shared<const Set>(std::move(s)) : nullptr; };
  return {share(t.train), share(t.val), share(t.test), std::move(t.note)};
}

NamedData where_made_in_memory() {
  const auto task = [](const std::string& rest) -> const where::Task& {
    return where::task(rest.empty() ? "quadrant" : rest);
  };
  return {.name = "where",
          .written = "where[:TASK]",
          .recipe = "where",
          .most_made = 1 << 18,  // 0.8 GB
          .check = [=](const std::string& rest) { task(rest); },
          .available = [](const Spec&, const std::string&) { return true; },
          .open = [=](const Spec& s, const std::string&,
                      const OpenOptions& o) { return splits_of(where::make(task(s.rest), o)); }};
}

NamedData sequences_made_in_memory() {
  const auto task = [](const std::string& rest) { return made::parse(rest.empty() ? "reverse" : rest); };
  return {.name = "sequences",
          .written = "sequences[:TASK]",
          .recipe = "transformer_reverse",
          .most_made = 1 << 22,  // 1 GB
          .check = [=](const std::string& rest) { task(rest); },
          .available = [](const Spec&, const std::string&) { return true; },
          .open =
              [=](const Spec& s, const std::string&, const OpenOptions& o) {
                made::Options what = task(s.rest);
                what.train_size = o.train_size, what.test_size = o.test_size, what.seed = o.seed;
                const made::Pair pair = made::make(what);
                return Splits{pair.train, nullptr, pair.test, ""};
              }};
}

NamedData imagefolder() {
  return {.name = "imagefolder",
          .written = "imagefolder:DIR",
          .recipe = "vit_cifar10_small",
          .own_splits = true,
          .any_size = true,
          .available = [](const Spec& s, const std::string&) { return is_folder(s.rest); },
          .open =
              [](const Spec& s, const std::string&, const OpenOptions& o) {
                if (s.rest.empty()) fail("data", "imagefolder needs its folder: imagefolder:DIR");
                return splits_of(read_imagefolder(s.rest, o));
              }};
}

// The first place that holds the set, or "".
std::string locate(const PublicSet& set, const std::string& dir) {
  for (const std::string& place : places(set.folder, dir))
    if (const Folder folder(place); folder.has(set.landmark) || folder.has(set.landmark + ".gz")) return place;
  return "";
}

NamedData of_public(const PublicSet& set) {
  const auto open = [&set](const Spec& s, const std::string& dir, const OpenOptions&) {
    if (s.colon && set.read_part) {
      if (s.rest.empty()) fail("data", "{}: needs its folder: {}:DIR", s.name, s.name);
      return splits_of(set.read_part(s.rest));
    }
    if (s.colon)
      fail("data", "{} takes nothing after a colon; '{}' was given; --data-dir says where its files are", s.name,
           s.rest);
    const std::string place = locate(set, dir);
    if (place.empty())
      fail("data", "{} was not found in {}; fetch it with: tessera data get {}", s.name,
           fmt::join(places(set.folder, dir), ", "), s.name);
    return splits_of(set.read(place));
  };
  return {.name = set.name,
          .written = set.read_part ? set.name + ", " + set.name + ":DIR" : set.name,
          .recipe = "vit_cifar10_small",
          .available =
              [&set](const Spec& s, const std::string& dir) {
                return s.colon ? set.read_part && is_folder(s.rest) : !locate(set, dir).empty();
              },
          .open = open};
}

NamedData audiofolder() {
  return {.name = "audiofolder",
          .written = "audiofolder:DIR",
          .recipe = "conformer_fsdd",
          .own_splits = true,
          .sound = true,
          .available = [](const Spec& s, const std::string&) { return is_folder(s.rest); },
          .open =
              [](const Spec& s, const std::string&, const OpenOptions& o) {
                if (s.rest.empty()) fail("data", "audiofolder needs its folder: audiofolder:DIR");
                return read_audiofolder(s.rest, o);
              }};
}

std::string locate_fsdd(const std::string& dir) {
  for (const std::string& place : places("fsdd", dir))
    if (is_fsdd(place)) return place;
  return "";
}

NamedData fsdd() {
  const auto open = [](const Spec& s, const std::string& dir, const OpenOptions& o) {
    if (s.colon && s.rest.empty()) fail("data", "fsdd: needs its folder: fsdd:DIR");
    if (s.colon) return read_fsdd("fsdd:" + s.rest, s.rest, o);
    const std::string place = locate_fsdd(dir);
    if (place.empty())
      fail("data",
           "fsdd was not found in {}; it is the folder recordings of github.com/Jakobovski/free-spoken-digit-dataset",
           fmt::join(places("fsdd", dir), ", "));
    return read_fsdd("fsdd", place, o);
  };
  return {.name = "fsdd",
          .written = "fsdd, fsdd:DIR",
          .recipe = "conformer_fsdd",
          .sound = true,
          .available = [](const Spec& s,
                          const std::string& dir) { return s.colon ? is_folder(s.rest) : !locate_fsdd(dir).empty(); },
          .open = open};
}

}  // namespace

// ---- the table -------------------------------------------------------------------------------------------------------------

const std::vector<NamedData>& named_data() {
  static const auto all = [] {
    std::vector<NamedData> rows;
    for (const PublicSet& set : public_sets()) rows.push_back(of_public(set));
    rows.push_back(imagefolder());
    rows.push_back(fsdd());
    rows.push_back(audiofolder());
    rows.push_back(where_made_in_memory());
    rows.push_back(sequences_made_in_memory());
    return rows;
  }();
  return all;
}

// ---- what it is asked ------------------------------------------------------------------------------------------------------

Spec parse_spec(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return {std::string(text), ""};
  return {std::string(text.substr(0, colon)), std::string(text.substr(colon + 1)), true};
}

const NamedData* find_named(std::string_view spec) {
  const std::string_view name = spec.substr(0, spec.find(':'));
  for (const NamedData& row : named_data())
    if (row.name == name) return &row;
  return nullptr;
}

std::string written_specs() {
  std::vector<std::string> all;
  for (const NamedData& row : named_data()) all.push_back(row.written);
  return fmt::format("{}", fmt::join(all, ", "));
}

std::vector<std::string> places(const std::string& folder, const std::string& dir) {
  std::vector<std::string> all;
  if (!dir.empty()) all = {dir, dir + "/" + folder};
  if (const char* env = std::getenv("TESSERA_DATA"); env && *env) all.push_back(std::string(env) + "/" + folder);
  all.push_back("./data/" + folder);
  return all;
}

}  // namespace tessera::data
