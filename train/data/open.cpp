#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/nn/options.h"
#include "tessera/train/data/public_sets.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/where.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

struct Spec {
  std::string name, rest;  // "imagefolder:DIR" -> name, rest
  bool colon = false;      // "cifar10:" has one, and nothing after it
};
Spec parse_spec(std::string_view spec) {
  const size_t colon = spec.find(':');
  if (colon == std::string_view::npos) return {std::string(spec), ""};
  return {std::string(spec.substr(0, colon)), std::string(spec.substr(colon + 1)), true};
}

const PublicSet* find_source(std::string_view name) {
  for (const PublicSet& s : public_sets())
    if (s.name == name) return &s;
  return nullptr;
}

bool holds(const std::string& dir, const PublicSet& source) {
  const Folder folder(dir);
  return folder.has(source.landmark) || folder.has(source.landmark + ".gz");
}

// The places where a named set may be, best first.
std::vector<std::string> places(const PublicSet& source, const std::string& dir) {
  std::vector<std::string> all;
  if (!dir.empty()) all = {dir, dir + "/" + source.folder};
  if (const char* env = std::getenv("TESSERA_DATA"); env && *env) all.push_back(std::string(env) + "/" + source.folder);
  all.push_back("./data/" + source.folder);
  return all;
}

// The first place that holds the set, or "".
std::string locate(const PublicSet& source, const std::string& dir) {
  for (const std::string& place : places(source, dir))
    if (holds(place, source)) return place;
  return "";
}

}  // namespace

TrainTest open(std::string_view text, const std::string& dir, const OpenOptions& options) {
  const Spec spec = parse_spec(text);
  if (spec.name == "where") return where::make(where::task(spec.rest.empty() ? "quadrant" : spec.rest), options);
  if (spec.name == "imagefolder") {
    if (spec.rest.empty()) fail("data", "imagefolder needs its folder: imagefolder:DIR");
    return read_imagefolder(spec.rest, options);
  }
  const PublicSet* source = find_source(spec.name);
  if (!source) {
    std::vector<std::string> names = {"where", "imagefolder"};
    for (const PublicSet& s : public_sets()) names.push_back(s.name);
    unknown("data set", spec.name, names);
  }
  if (spec.colon && source->read_part) {
    if (spec.rest.empty()) fail("data", "{}: needs its folder: {}:DIR", spec.name, spec.name);
    return source->read_part(spec.rest);
  }
  if (spec.colon)
    fail("data", "{} takes nothing after a colon; '{}' was given; --data-dir says where its files are", spec.name,
         spec.rest);
  const std::string place = locate(*source, dir);
  if (place.empty()) {
    const auto all = places(*source, dir);
    fail("data", "{} was not found in {}; fetch it with: tessera data get {}", spec.name, fmt::join(all, ", "),
         spec.name);
  }
  return source->read(place);
}

bool available(std::string_view text, const std::string& dir) {
  const Spec spec = parse_spec(text);
  if (spec.name == "where") return true;
  std::error_code none;
  if (spec.name == "imagefolder") return fs::is_directory(spec.rest, none);
  const PublicSet* source = find_source(spec.name);
  if (source && spec.colon) return source->read_part && fs::is_directory(spec.rest, none);
  return source && !locate(*source, dir).empty();
}

}  // namespace tessera::data
