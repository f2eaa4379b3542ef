#pragma once
// What tests of the report share: a run directory made by hand, and a reader that says what is wrong with a page.
#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/core/io/replace_file.h"
#include "tessera/train/training/report_data.h"

namespace tessera::report {

/// A small XML reader; returns what is wrong, or "".
inline std::string malformed(std::string_view s) {
  std::vector<std::string> open;
  const auto skip_past = [&](std::string_view end) {
    const size_t at = s.find(end);
    s.remove_prefix(at == std::string_view::npos ? s.size() : at + end.size());
    return at != std::string_view::npos;
  };
  if (s.starts_with("<!DOCTYPE html>")) skip_past(">");
  while (!s.empty()) {
    if (s[0] == '&') {
      const std::string_view entity = s.substr(0, s.find(';') + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;" && entity != "&#39;")
        return "a bare &";
      s.remove_prefix(entity.size());
    } else if (s[0] != '<') {
      if (static_cast<unsigned char>(s[0]) < 0x20 && s[0] != '\n') return "a control character";
      s.remove_prefix(1);
    } else if (s.starts_with("<![CDATA[")) {
      if (!skip_past("]]>")) return "character data that do not end";
    } else if (s.starts_with("</")) {
      const std::string name(s.substr(2, s.find('>') - 2));
      if (open.empty() || open.back() != name)
        return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
      skip_past(">");
    } else {
      size_t n = 1;
      while (n < s.size() && std::isalnum(static_cast<unsigned char>(s[n]))) ++n;
      const std::string name(s.substr(1, n - 1));
      if (name.empty()) return "a bare <";
      s.remove_prefix(n);
      while (!s.starts_with(">") && !s.starts_with("/>")) {  // attributes: name="value"
        if (s.empty()) return "an open tag " + name;
        if (s[0] == ' ' || s[0] == '\n') {
          s.remove_prefix(1);
          continue;
        }
        const size_t eq = s.find_first_of("= <>\"");
        if (eq == std::string_view::npos || s.substr(eq, 2) != "=\"") return "an unquoted attribute in " + name;
        s.remove_prefix(eq + 2);
        const size_t end = s.find('"');
        if (end == std::string_view::npos || s.substr(0, end).find('<') != std::string_view::npos)
          return "an open attribute in " + name;
        s.remove_prefix(end + 1);
      }
      if (s[0] == '>') open.push_back(name);
      skip_past(">");
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

inline Data example() {
  Data d;
  d.classes = {"cat", "<script>alert(1)</script>", "a&b\"'"};
  d.confusion = {{81, 7, 12}, {3, 95, 2}, {0, 1, 99}};
  d.samples = {{2, 2, 3, std::vector<uint8_t>(12, 200), 0, 0, 0.875}, {2, 1, 1, {0, 255}, 1, 2, 0.5}};
  d.tables = {{"pos_embed", "embedding", 2, 3, 4, 1, std::vector<float>(28, 0.25F)},
              {"bias<0>", "offsets", 3, 3, 2, 0, std::vector<float>(18, -0.5F)},
              {"matrix", "matrix", 2, 5, 1, 0, std::vector<float>(10, 1)}};
  return d;
}

/// A run directory of three epochs.
inline void make_run(const std::string& dir, const std::string& position, double accuracy) {
  std::filesystem::create_directories(dir);
  io::replace_file(dir + "/config.toml", "[position]\nname = \"" + position + "\"\n[train]\nepochs = 3\nseed = 1\n");
  std::string metrics;
  for (int e = 1; e <= 3; ++e) {
    metrics +=
        fmt::format(
            R"({{"epoch":{0},"step":{0}00,"split":"train","loss":{1},"acc1":0.5,"lr":0.001,"images_per_s":432.5,"seconds":{0}}})",
            e, 2.0 / e) +
        "\n";
    metrics += fmt::format(R"({{"epoch":{},"split":"val","loss":1.8125,"acc1":0.25}})", e) + "\n";
  }
  io::replace_file(dir + "/metrics.jsonl", metrics + R"({"epoch":4,"step":40)");  // the process died here
  io::replace_file(
      dir + "/summary.json",
      fmt::format(
          R"({{"model":"vit_<b>","position":"{}","params":811338,"test_acc1":{},"seconds":3723,"images_per_s":455.5,"data":{{"name":"cifar10"}}}})",
          position, accuracy));
  save(example(), dir + "/report_data.json");
}

}  // namespace tessera::report
