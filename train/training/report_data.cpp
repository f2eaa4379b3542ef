#include "tessera/train/training/report_data.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/safetensors.h"
#include "tessera/train/training/report_json.h"

namespace tessera::report {
namespace {

constexpr size_t most_dense = 200;  // classes; more are written by pairs
constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::vector<uint8_t> unbase64(std::string_view text, const std::string& file) {
  std::vector<uint8_t> bytes;
  uint32_t bits = 0;
  int count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (char c : text) {
    const size_t digit = digits.find(c);
    if (digit == std::string_view::npos)
      fail("report", "{}: pixels are not base64; train the run again or remove the file", file);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if ((count += 6) >= 8) bytes.push_back(static_cast<uint8_t>(bits >> (count -= 8)));
  }
  return bytes;
}

/// Everything that has to agree; `file` is for the message.
void check(const Data& data, const std::string& file) {
  const size_t K = data.classes.size();
  const auto refuse = [&](const std::string& facts) { fail("report", "{}: {}", file, facts); };
  if (!data.confusion.empty() && data.confusion.size() != K) {
    refuse(fmt::format("the confusion matrix has {} rows for {} classes", data.confusion.size(), K));
  }
  const auto is_class = [&](int c) { return c >= 0 && static_cast<size_t>(c) < K; };
  for (const auto& s : data.samples) {
    const bool sized =
        s.height > 0 && s.width > 0 && s.height <= 4096 && s.width <= 4096 && (s.channels == 1 || s.channels == 3);
    if (!sized || s.pixels.size() != size_t(s.height) * size_t(s.width) * size_t(s.channels)) {
      refuse(fmt::format("a sample of {} x {} x {} has {} bytes of pixels", s.height, s.width, s.channels,
                         s.pixels.size()));
    }
    if (s.probability < 0 || s.probability > 1.001) refuse(fmt::format("a probability is {}", s.probability));
    if (!is_class(s.truth) || !is_class(s.predicted))
      refuse(fmt::format("a sample names a class beyond the {} there are", K));
  }
  for (const auto& t : data.tables) {
    if (t.kind != "embedding" && t.kind != "offsets" && t.kind != "matrix") {
      refuse(fmt::format("table {} is of the unknown kind {}", io::shown(t.name), io::shown(t.kind)));
    }
    const bool sized = t.h > 0 && t.w > 0 && t.channels > 0 && t.prefix >= 0 && t.h <= 1 << 20 && t.w <= 1 << 20 &&
                       t.channels <= 1 << 20 && t.prefix <= 1 << 20;
    const double size = (double(t.prefix) + double(t.h) * double(t.w)) * double(t.channels);
    if (!sized || size != static_cast<double>(t.values.size())) {
      refuse(fmt::format("table {} of ({} + {} x {}) x {} has {} values", io::shown(t.name), t.prefix, t.h, t.w,
                         t.channels, t.values.size()));
    }
  }
}

/// The confusion matrix in either form; `classes` of the form by pairs.
Confusion confusion_from(const Json& j, size_t classes, const std::string& file) {
  constexpr int64_t most_images = int64_t{1} << 40;  // sums of counts stay far from the end of their type
  const auto count = [&](const Json& v) { return whole(v, "a count", 0, most_images, file); };
  const auto class_of = [&](const Json& v) {
    const int64_t n = whole(v, "a class", 0, std::numeric_limits<int32_t>::max(), file);
    if (static_cast<size_t>(n) >= classes)
      fail("report", "{}: a class is {}, but there are {} classes", file, n, classes);
    return static_cast<int32_t>(n);
  };
  if (const auto pairs = j.find("confused"); pairs != j.end()) {
    std::vector<Confusion::Cell> cells;
    for (const Json& p : *pairs) cells.push_back({class_of(p.at(0)), class_of(p.at(1)), count(p.at(2))});
    return {classes, std::move(cells)};
  }
  std::vector<std::vector<int64_t>> rows;
  for (const Json& row : j.value("confusion", Json::array())) {
    for (auto& counts = rows.emplace_back(); const Json& n : row) counts.push_back(count(n));
  }
  for (const auto& row : rows)
    if (row.size() != rows.size())
      fail("report", "{}: a row of the confusion matrix has {} numbers for {} classes", file, row.size(), rows.size());
  return Confusion(rows);
}

/// Five digits are more than a picture shows, and keep the file small; JSON knows neither infinities nor NaN: null.
Json rounded(float v) {
  if (!std::isfinite(v)) return {};
  const std::string text = fmt::format("{:.5g}", v);
  double r = 0;  // not by the C library, whose decimal point is that of the host program's locale
  std::from_chars(text.data(), text.data() + text.size(), r);
  return r;
}

/// A number of a picture; null is none, and what no float holds is the largest.
float value(const Json& v) {
  if (v.is_null()) return std::numeric_limits<float>::quiet_NaN();
  constexpr double most = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(v.get<double>(), -most, most));
}

}  // namespace

std::string base64(const void* bytes, size_t count) {
  const auto* p = static_cast<const uint8_t*>(bytes);
  std::string s;
  s.reserve((count + 2) / 3 * 4);
  for (size_t i = 0; i < count; i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (i + j < count ? p[i + j] : 0U);
    for (size_t j = 0; j < 4; ++j) s += i + j <= count ? digits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return s;
}

std::string to_json(const Data& data) {
  check(data, "report data");
  Json j = {{"split", data.split}, {"classes", data.classes}};
  if (data.confusion.size() <= most_dense) {
    j["confusion"] = data.confusion.dense();
  } else {
    for (auto& cells = j["confused"] = Json::array(); const Confusion::Cell& c : data.confusion.cells())
      cells.push_back({c.label, c.prediction, c.count});
  }
  j["samples"] = Json::array(), j["tables"] = Json::array();
  for (const auto& s : data.samples) {
    j["samples"].push_back({{"height", s.height},
                            {"width", s.width},
                            {"channels", s.channels},
                            {"pixels", base64(s.pixels.data(), s.pixels.size())},
                            {"true", s.truth},
                            {"predicted", s.predicted},
                            {"probability", s.probability}});
  }
  for (const auto& t : data.tables) {
    Json values = Json::array();
    for (float v : t.values) values.push_back(rounded(v));
    j["tables"].push_back({{"name", t.name},
                           {"kind", t.kind},
                           {"h", t.h},
                           {"w", t.w},
                           {"channels", t.channels},
                           {"prefix", t.prefix},
                           {"values", std::move(values)}});
  }
  return j.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Data from_json(std::string_view text, const std::string& file) {
  Data data;
  const Json j = parse_json(text, file);
  const auto number = [&](const Json& of, const char* key, int64_t high) {
    return static_cast<int>(whole(of.at(key), key, 0, high, file));
  };
  try {
    data.split = j.value("split", "test");
    j.at("classes").get_to(data.classes);
    data.confusion = confusion_from(j, data.classes.size(), file);
    for (const auto& s : j.value("samples", Json::array())) {
      Sample sample;
      sample.height = number(s, "height", 4096), sample.width = number(s, "width", 4096);
      sample.channels = number(s, "channels", 3);
      sample.truth = number(s, "true", std::numeric_limits<int>::max());
      sample.predicted = number(s, "predicted", std::numeric_limits<int>::max());
      const Json& p = s.at("probability");
      sample.probability = p.is_null() ? std::numeric_limits<double>::quiet_NaN() : p.get<double>();
      sample.pixels = unbase64(s.at("pixels").get_ref<const std::string&>(), file);
      data.samples.push_back(std::move(sample));
    }
    for (const auto& t : j.value("tables", Json::array())) {
      Table& table = data.tables.emplace_back();
      t.at("name").get_to(table.name), t.at("kind").get_to(table.kind);
      constexpr int64_t most = 1 << 20;
      table.h = number(t, "h", most), table.w = number(t, "w", most);
      table.channels = number(t, "channels", most), table.prefix = number(t, "prefix", most);
      for (const auto& v : t.at("values")) table.values.push_back(value(v));
    }
  } catch (const Json::exception& e) {
    fail("report", "{}: {}; train the run again or remove the file", file, std::string_view(e.what()).substr(0, 200));
  }
  check(data, file);
  return data;
}

void save(const Data& data, const std::string& path) { io::replace_file(path, to_json(data)); }
Data load(const std::string& path) { return from_json(io::read_file(path, uint64_t{1} << 30), path); }

}  // namespace tessera::report
