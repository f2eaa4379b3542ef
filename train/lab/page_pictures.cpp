#include "tessera/train/lab/page_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "tessera/core/error.h"
#include "tessera/core/io/json.h"
#include "tessera/train/lab/page_parts.h"
#include "tessera/train/report/html.h"
#include "tessera/train/report/picture.h"

namespace tessera::lab {
namespace {

using io::Json;
constexpr uint64_t largest_file = uint64_t{1} << 26;
constexpr int most = 1 << 20;       // cells of a picture
constexpr size_t most_blocks = 24;  // of attention that are drawn

/// -127 .. 127 of the largest size; -128: no number.
Raster raster(int h, int w, const std::vector<double>& values) {
  Raster r{h, w, 0, {}};
  for (const double v : values)
    if (std::isfinite(v)) r.scale = std::max(r.scale, std::abs(v));
  for (const double v : values)
    r.values.push_back(std::isfinite(v) ? static_cast<int8_t>(std::lround(127 * v / std::max(r.scale, 1e-300)))
                                        : int8_t{-128});
  return r;
}

std::string encoded(const std::vector<int8_t>& bytes) { return report::base64(bytes.data(), bytes.size()); }

std::vector<int8_t> decoded(const Json& text, size_t count, const std::string& file) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::string s = text.is_string() ? text.get<std::string>() : "";
  if (s.size() != (count + 2) / 3 * 4)
    fail("report", "{}: a picture of {} values has not as many; restore the file", file, count);
  std::vector<int8_t> bytes;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : s) {
    if (c == '=') break;
    const size_t at = letters.find(c);
    if (at == std::string_view::npos) fail("report", "{}: values of a picture are no base64; restore the file", file);
    bits = bits << 6 | static_cast<uint32_t>(at), have += 6;
    if (have >= 8) have -= 8, bytes.push_back(static_cast<int8_t>(static_cast<uint8_t>(bits >> have)));
  }
  if (bytes.size() != count)
    fail("report", "{}: a picture of {} values has {}; restore the file", file, count, bytes.size());
  return bytes;
}

const Json& member(const Json& of, const char* name, const std::string& file) {
  const auto it = of.is_object() ? of.find(name) : of.end();
  if (!of.is_object() || it == of.end()) fail("report", "{}: \"{}\" is missing; restore the file", file, name);
  return *it;
}

int count(const Json& of, const char* name, const std::string& file, int least = 0) {
  return static_cast<int>(io::integer(member(of, name, file), name, least, most, file));
}

std::string text(const Json& of, const char* name, const std::string& file) {
  const Json& value = member(of, name, file);
  if (!value.is_string()) fail("report", "{}: \"{}\" is no text; restore the file", file, name);
  return value.get<std::string>();
}

const Json& list(const Json& of, const char* name, const std::string& file) {
  const Json& value = member(of, name, file);
  if (!value.is_array()) fail("report", "{}: \"{}\" is no list; restore the file", file, name);
  return value;
}

std::vector<double> numbers(const Json& values, size_t wanted, const std::string& file) {
  if (!values.is_array() || values.size() != wanted)
    fail("report", "{}: a map of {} cells has another number of values; measure the run again", file, wanted);
  std::vector<double> all;
  for (const Json& v : values)
    all.push_back(v.is_number() ? v.get<double>() : std::numeric_limits<double>::quiet_NaN());
  return all;
}

/// What train/lab/measures.h says of a run's pictures.json.
std::vector<AttentionPicture> attention_in(const Json& j, const std::string& file) {
  std::vector<AttentionPicture> all;
  for (const Json& block : list(j, "blocks", file)) {
    if (all.size() == most_blocks) break;
    AttentionPicture& picture = all.emplace_back();
    picture.block = count(block, "block", file);
    const Json& k = list(block, "k", file);
    if (k.size() < 2) fail("report", "{}: \"k\" has no height and width; measure the run again", file);
    const int h = static_cast<int>(io::integer(k[0], "k", 0, 1000, file)),
              w = static_cast<int>(io::integer(k[1], "k", 0, 1000, file));
    if (const auto it = block.find("offsets"); it != block.end() && it->is_object()) {
      const int oh = count(*it, "h", file), ow = count(*it, "w", file);
      picture.offsets =
          raster(oh, ow, numbers(member(*it, "values", file), static_cast<size_t>(oh) * static_cast<size_t>(ow), file));
      if (picture.offsets.scale == 0) picture.offsets = {};
    }
    for (const Json& map : list(block, "maps", file)) {
      const Json& query = member(map, "query", file);
      const std::string which = query.is_string()                       ? query.get<std::string>()
                                : query.is_array() && query.size() == 2 ? query[0].dump() + "," + query[1].dump()
                                                                        : "";
      picture.maps.push_back(fmt::format("head {}, query {}", count(map, "head", file), which));
      picture.weights.push_back(
          raster(h, w, numbers(member(map, "values", file), static_cast<size_t>(h) * static_cast<size_t>(w), file)));
    }
  }
  return all;
}

Json to_json(const Raster& r) { return {{"h", r.h}, {"w", r.w}, {"scale", r.scale}, {"values", encoded(r.values)}}; }

Raster raster_in(const Json& j, const std::string& file) {
  Raster r{count(j, "h", file), count(j, "w", file), io::number(member(j, "scale", file), "scale", 1e300, file), {}};
  if (static_cast<int64_t>(r.h) * r.w > most) fail("report", "{}: a picture of {} x {} is too large", file, r.h, r.w);
  r.values = decoded(member(j, "values", file), static_cast<size_t>(r.h) * static_cast<size_t>(r.w), file);
  return r;
}

report::Table table_in(const Json& j, const std::string& file) {
  report::Table t{text(j, "name", file),
                  text(j, "kind", file),
                  count(j, "h", file, 1),
                  count(j, "w", file, 1),
                  count(j, "channels", file, 1),
                  count(j, "prefix", file),
                  {}};
  const int64_t cells = (t.prefix + static_cast<int64_t>(t.h) * t.w) * t.channels;
  if (cells > 64 * most) fail("report", "{}: the table {} is too large", file, t.name);
  const double scale = io::number(member(j, "scale", file), "scale", 1e300, file);
  for (const int8_t v : decoded(member(j, "values", file), static_cast<size_t>(cells), file))
    t.values.push_back(static_cast<float>(scale * v / 127));
  return t;
}

}  // namespace

double Raster::at(size_t i) const {
  return values[i] == -128 ? std::numeric_limits<double>::quiet_NaN() : values[i] / 127.0;
}

Scene read_scene(const std::vector<std::string>& keys, const std::string& seed, const std::string& rundir,
                 const report::RunFiles& run) {
  Scene scene{keys, seed, {}, {}};
  if (run.data) scene.tables = run.data->tables;
  const std::string file = rundir + "/pictures.json";
  std::error_code none;
  if (std::filesystem::exists(file, none))
    scene.attention = attention_in(io::read_json(file, largest_file, "report"), file);
  return scene;
}

std::string to_json(const std::vector<Scene>& scenes) {
  Json all = Json::array();
  for (const Scene& s : scenes) {
    Json tables = Json::array(), attention = Json::array();
    for (const report::Table& t : s.tables) {
      const Raster r = raster(1, static_cast<int>(t.values.size()), {t.values.begin(), t.values.end()});
      tables.push_back({{"name", t.name},
                        {"kind", t.kind},
                        {"h", t.h},
                        {"w", t.w},
                        {"channels", t.channels},
                        {"prefix", t.prefix},
                        {"scale", r.scale},
                        {"values", encoded(r.values)}});
    }
    for (const AttentionPicture& a : s.attention) {
      Json maps = Json::array();
      for (size_t i = 0; i < a.maps.size(); ++i) {
        maps.push_back({{"of", a.maps[i]}});
        maps.back().update(to_json(a.weights[i]));
      }
      attention.push_back(
          {{"block", a.block}, {"offsets", a.offsets.values.empty() ? Json() : to_json(a.offsets)}, {"maps", maps}});
    }
    all.push_back({{"keys", s.keys}, {"seed", s.seed}, {"tables", tables}, {"attention", attention}});
  }
  const Json document{{"format", 1}, {"scenes", all}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<Scene> scenes_in(const std::string& json, const std::string& file) {
  std::vector<Scene> scenes;
  const Json j = io::parse_json(json, file, "report");
  if (count(j, "format", file) != 1)
    fail("report", "{}: format {} is not known; use a newer version of tessera", file, count(j, "format", file));
  for (const Json& s : list(j, "scenes", file)) {
    Scene& scene = scenes.emplace_back();
    for (const Json& key : list(s, "keys", file)) scene.keys.push_back(key.is_string() ? key.get<std::string>() : "");
    scene.seed = text(s, "seed", file);
    for (const Json& t : list(s, "tables", file)) scene.tables.push_back(table_in(t, file));
    for (const Json& a : list(s, "attention", file)) {
      AttentionPicture& picture = scene.attention.emplace_back();
      picture.block = count(a, "block", file);
      if (member(a, "offsets", file).is_object()) picture.offsets = raster_in(a["offsets"], file);
      for (const Json& map : list(a, "maps", file))
        picture.maps.push_back(text(map, "of", file)), picture.weights.push_back(raster_in(map, file));
    }
  }
  return scenes;
}

}  // namespace tessera::lab
