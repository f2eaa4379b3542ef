#include "train/report_data.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/nesting.h"
#include "core/io/replace_file.h"
#include "core/io/safetensors.h"

namespace tessera::report {
namespace {

using nlohmann::json;

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
  for (const auto& row : data.confusion) {
    if (row.size() != K)
      refuse(fmt::format("a row of the confusion matrix has {} numbers for {} classes", row.size(), K));
    for (int64_t n : row)
      if (n < 0) refuse(fmt::format("a count of the confusion matrix is {}", n));
  }
  const auto is_class = [&](int c) { return c >= 0 && static_cast<size_t>(c) < K; };
  for (const auto& s : data.samples) {
    const bool sized =
        s.height > 0 && s.width > 0 && s.height <= 4096 && s.width <= 4096 && (s.channels == 1 || s.channels == 3);
    if (!sized || s.pixels.size() != size_t(s.height) * size_t(s.width) * size_t(s.channels)) {
      refuse(fmt::format("a sample of {} x {} x {} has {} bytes of pixels", s.height, s.width, s.channels,
                         s.pixels.size()));
    }
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

/// Five digits are more than a picture shows, and keep the file small; JSON knows no infinity.
double rounded(float v) {
  if (!std::isfinite(v)) return 0;
  const std::string s = fmt::format("{:.5g}", v);
  double d = 0;  // not std::stod, which stops at the point where the locale writes a comma
  std::from_chars(s.data(), s.data() + s.size(), d);
  return d;
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
  json j = {{"split", data.split},
            {"classes", data.classes},
            {"confusion", data.confusion},
            {"samples", json::array()},
            {"tables", json::array()}};
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
    json values = json::array();
    for (float v : t.values) values.push_back(rounded(v));
    j["tables"].push_back({{"name", t.name},
                           {"kind", t.kind},
                           {"h", t.h},
                           {"w", t.w},
                           {"channels", t.channels},
                           {"prefix", t.prefix},
                           {"values", std::move(values)}});
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Data from_json(std::string_view text, const std::string& file) {
  Data data;
  try {
    io::check_nesting(text, file);
    const json j = json::parse(text.begin(), text.end());
    data.split = j.value("split", "test");
    j.at("classes").get_to(data.classes);
    data.confusion = j.value("confusion", data.confusion);
    for (const auto& s : j.value("samples", json::array())) {
      Sample sample{s.at("height"), s.at("width"),     s.at("channels"),   {},
                    s.at("true"),   s.at("predicted"), s.at("probability")};
      sample.pixels = unbase64(s.at("pixels").get_ref<const std::string&>(), file);
      data.samples.push_back(std::move(sample));
    }
    for (const auto& t : j.value("tables", json::array())) {
      data.tables.push_back(
          {t.at("name"), t.at("kind"), t.at("h"), t.at("w"), t.at("channels"), t.at("prefix"), t.at("values")});
    }
  } catch (const json::parse_error& e) {
    fail("report", "{}: malformed JSON near byte {}; train the run again or remove the file", file, e.byte);
  } catch (const json::exception& e) {
    fail("report", "{}: {}; train the run again or remove the file", file, std::string_view(e.what()).substr(0, 200));
  }
  check(data, file);
  return data;
}

void save(const Data& data, const std::string& path) { io::replace_file(path, to_json(data)); }
Data load(const std::string& path) { return from_json(io::read_file(path, uint64_t{1} << 30), path); }

}  // namespace tessera::report
