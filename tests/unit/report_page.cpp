// What the page looks like, as far as its source says it: sizes of text, ticks, paper, phones, odd names.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <clocale>
#include <cmath>
#include <limits>
#include <regex>

#include "tessera/train/report/chart.h"
#include "tessera/train/report/confusion.h"
#include "tessera/train/report/picture.h"
#include "tessera/train/report/report.h"
#include "tests/unit/report_fixture.h"
#include "tests/unit/scratch.h"

namespace tessera::report {
namespace {

std::vector<std::string> all(const std::string& text, const char* pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), expression), end; i != end; ++i) found.push_back((*i)[1]);
  return found;
}

std::string page_of(const Data& data) {
  const Scratch dir;
  make_run(dir / "run", "learned", 0.5);
  save(data, dir / "run/report_data.json");
  write({dir / "run"}, dir / "report.html");
  return io::read_file(dir / "report.html");
}

std::vector<std::string> epochs_shown(int first, int last) {
  Chart chart{"loss", "epoch", {}, false, ""};
  chart.series.push_back({"training", {}, 0, ""});
  for (int e = first; e <= last; ++e) chart.series[0].points.emplace_back(e, 1.0 / e);
  const std::string html = line_chart(chart);
  CHECK(malformed(html) == "");
  return all(html.substr(html.find("class=\"xs\"")), ">([^<]*)</span>");
}

TEST_CASE("report: epochs are counted in whole numbers") {
  using Labels = std::vector<std::string>;
  CHECK(epochs_shown(1, 1) == Labels{"1"});
  CHECK(epochs_shown(1, 2) == Labels{"1", "2"});
  CHECK(epochs_shown(1, 3) == Labels{"1", "2", "3"});
  for (int last = 2; last < 400; last += 1 + last / 5) {
    CAPTURE(last);
    const Labels labels = epochs_shown(1, last);
    CHECK(labels.size() >= 2);
    CHECK(labels.size() <= 12);
    for (const std::string& label : labels) CHECK_MESSAGE(label.find('.') == std::string::npos, label);
  }
}

TEST_CASE("report: axes of any finite numbers have a few ticks, at once") {
  const double most = std::numeric_limits<double>::max(), least = std::numeric_limits<double>::denorm_min();
  const double values[] = {0,    1,     -1,        1e-300, least,
                           3e38, 1e17,  1e17 + 16, 1e300,  std::nextafter(1e300, most),
                           most, -most, 1 + 1e-15, 0.1,    1e6};
  for (const double low : values)
    for (const double high : values)
      for (const bool whole : {false, true}) {
        if (low > high) continue;
        CAPTURE(low);
        CAPTURE(high);
        const auto t = ticks(low, high, 5, whole);
        REQUIRE(t.size() >= 2);
        CHECK(t.size() <= 16);
        for (const double v : t) CHECK(std::isfinite(v));
        CHECK(t.front() < t.back());
      }
}

TEST_CASE("report: no text of the page is smaller than 9 pixels, whatever its width") {
  const std::string html = page_of(example());
  CHECK(malformed(html) == "");
  CHECK_FALSE(has(html, "<text"));  // text in a drawing shrinks with it
  const std::string style = html.substr(html.find("<style>"), html.find("</style>") - html.find("<style>"));
  const auto sizes = all(style, "font(?:-size)?: ([0-9.]+)px");
  CHECK(sizes.size() > 10);
  for (const std::string& size : sizes) CHECK_MESSAGE(std::stod(size) >= 9, size);
  CHECK(all(style, "font-size: ([0-9.]+[^p0-9.][a-z%]*)").empty());  // relative sizes would have to be multiplied out
  CHECK(has(html, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"));
}

TEST_CASE("report: on paper no card is cut, nothing scrolls, colours stay, and what is folded stays folded") {
  const std::string html = page_of(example());
  const size_t print = html.find("@media print {");
  REQUIRE(print != std::string::npos);
  const std::string rules = html.substr(print, html.find("</style>") - print);
  for (const char* rule :
       {"print-color-adjust: exact", ".scroll { overflow: visible; }", "pre-wrap", ".note { break-inside: avoid; }"}) {
    CAPTURE(rule);
    CHECK(has(rules, rule));
  }
  const size_t whole = rules.find("{ break-inside: avoid; }");
  REQUIRE(whole != std::string::npos);
  const std::string selectors = rules.substr(rules.rfind('}', whole), whole - rules.rfind('}', whole));
  for (const char* part : {".card", ".tile", ".sample", "tr", ".plot"}) CHECK_MESSAGE(has(selectors, part), part);
  CHECK(has(html, "<details class=\"card\"><summary>"));
  CHECK_FALSE(has(html, " open=\"open\""));
  // dark colours are for screens: paper is white
  size_t dark = 0;
  for (size_t at = 0; (at = html.find("prefers-color-scheme: dark", at)) != std::string::npos; ++at, ++dark)
    CHECK(html.substr(at - 12, 12) == "screen and (");
  CHECK(dark > 2);
}

TEST_CASE("report: the line under the title says what each word is") {
  const Scratch dir;
  make_run(dir / "where", "learned", 0.5);
  io::replace_file(dir / "where/summary.json",
                   R"({"model":"vit","position":"rope","epochs":2,"data":{"name":"where"}})");
  write({dir / "where"}, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK_FALSE(has(html, "where \u00b7 where"));
  CHECK(has(html, "run where \u00b7 data where \u00b7 epochs 2"));
}

TEST_CASE("report: without mistakes there is no list of them") {
  Data d = example();
  CHECK(has(confusion(d), "Most often confused"));
  CHECK(has(confusion(d), "<td class=\"n\">12</td>"));
  d.confusion = {{100, 0, 0}, {0, 100, 0}, {0, 0, 100}};
  CHECK_FALSE(has(confusion(d), "Most often confused"));
  CHECK(has(confusion(d), "300 of 300 samples"));
  CHECK(malformed(confusion(d)) == "");
  d.confusion = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
  CHECK(confusion(d) == "");
}

TEST_CASE("report: a confusion matrix of any number of classes is well-formed, with names up to 32") {
  for (const int K : {1, 2, 10, 20, 21, 32, 33, 100, 201}) {
    const int classes = K;
    CAPTURE(classes);
    Data d;
    std::vector<std::vector<int64_t>> rows;
    for (int k = 0; k < K; ++k) {
      d.classes.push_back(fmt::format("<class> of a very long name, number {}", k));
      rows.emplace_back(static_cast<size_t>(K), 1);
    }
    d.confusion = decltype(d.confusion)(rows);
    const std::string html = confusion(d);
    CHECK(malformed(html) == "");
    CHECK(has(html, "class=\"matrix") == (K <= 32));
    CHECK(has(html, "<svg") == (K > 32 && K <= 200));
    CHECK(has(html, "too many for a picture") == (K > 200));
    CHECK(has(html, "Most often confused") == (K > 1));
  }
  Data d;  // shortened by characters, not inside one
  d.classes = {"a name of kind 17",
               "\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc",
               "twelve chars"};
  d.confusion = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
  const std::string html = confusion(d);
  CHECK(has(html, ">a name\u2026nd 17<"));
  CHECK(has(html, ">\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u2026\u00f6\u00fc\u00e4\u00f6\u00fc<"));
  CHECK(has(html, ">twelve chars<"));
  // counts that do not fit into the cells of a screen or a phone are left to the titles
  const auto size = [&](int K, int64_t count) {
    Data m;
    const std::vector<std::vector<int64_t>> rows(static_cast<size_t>(K),
                                                 std::vector<int64_t>(static_cast<size_t>(K), count));
    for (int k = 0; k < K; ++k) m.classes.push_back(std::to_string(k));
    m.confusion = decltype(m.confusion)(rows);
    const std::string h = confusion(m);
    return has(h, "\"matrix bare\"") ? 2 : has(h, "\"matrix wide\"") ? 1 : 0;
  };
  CHECK(size(10, 1000) == 0);
  CHECK(size(20, 100) == 1);
  CHECK(size(20, 1'000'000) == 2);
}

TEST_CASE("report: names of classes, runs and keys are text everywhere") {
  const Scratch dir;
  const std::string evil = "\"><img src=x onerror=alert(1)>&'\x1b[31m\xff";
  Data d = example();
  d.classes = {evil, "=cmd|' /C calc'!A0", "</td></table><script>"};
  d.split = evil;
  d.tables[0].name = evil;
  make_run(dir / "a", "learned", 0.5);
  io::replace_file(dir / "a/report_data.json", to_json(d));
  const std::string b = dir / "b<script>alert(1)<";
  make_run(b, "none", 0.6);
  io::replace_file(b + "/config.toml", "[position]\nname = \"<script>\"\n[a]\n\"<img src=x>\" = 1\n");
  io::replace_file(b + "/report_data.json", to_json(d));
  for (const std::vector<std::string>& runs : {std::vector{dir / "a"}, std::vector{b}, std::vector{dir / "a", b}}) {
    write(runs, dir / "report.html");
    const std::string html = io::read_file(dir / "report.html");
    CHECK(malformed(html) == "");
    CHECK_FALSE(has(html, "<script"));
    CHECK_FALSE(has(html, "<img src=x"));
    CHECK_FALSE(has(html, "\x1b"));
  }
}

TEST_CASE("report: a dozen runs share one page, and pictures of many are folded") {
  const Scratch dir;
  std::vector<std::string> runs;
  for (int i = 0; i < 12; ++i) {
    runs.push_back(dir / fmt::format("run_with_a_rather_long_name_{}", i));
    make_run(runs.back(), fmt::format("position{}", i % 4), 0.05 * i);
    io::replace_file(runs.back() + "/config.toml",
                     fmt::format("[position]\nname = \"position{}\"\n[train]\nseed = {}\n", i % 4, i / 4));
  }
  write(runs, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK(malformed(html) == "");
  CHECK(has(html, "Over seeds"));
  CHECK(has(html, "<details class=\"run\"><summary>Run run_with_a_rather_long_name_0, the first of position0"));
  CHECK_FALSE(has(html, "<summary>Run run_with_a_rather_long_name_4"));  // seed 1 of the same
  const auto legends = all(html.substr(html.find("class=\"legend\"")), "</svg><i>(position[0-9])</i><b>");
  CHECK(legends.size() % 4 == 0);
  CHECK(legends.size() >= 4);
  write({runs[0], runs[1]}, dir / "report.html");
  CHECK_FALSE(has(io::read_file(dir / "report.html"), "<details class=\"run\""));
}

TEST_CASE("report: tables keep fractions and gaps, in any locale of the host program") {
  Data d;
  d.tables = {{"t", "matrix", 1, 4, 1, 0, {0.25F, -1.5e-7F, std::nanf(""), 3}}};
  const std::string before = std::setlocale(LC_NUMERIC, nullptr);
  for (const char* locale : {"C", "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8"}) {
    if (!std::setlocale(LC_NUMERIC, locale)) continue;
    const std::string text = to_json(d);
    const Data back = from_json(text, "f");
    std::setlocale(LC_NUMERIC, before.c_str());
    CAPTURE(text);
    CHECK(has(text, "[0.25,-1.5e-07,null,3.0]"));
    CHECK(back.tables[0].values[0] == 0.25F);
    CHECK(back.tables[0].values[1] == -1.5e-7F);
    CHECK(std::isnan(back.tables[0].values[2]));
    CHECK(malformed(table_card(back.tables[0])) == "");
  }
}

TEST_CASE("report: its sources read and write no number through the C locale") {
  namespace fs = std::filesystem;
  const fs::path train = fs::path(TESSERA_SOURCE_DIR) / "train";
  int files = 0;
  for (const fs::path& folder : {train, train / "report", train / "cli"})
    for (const auto& e : fs::directory_iterator(folder)) {
      const std::string name = e.path().filename().string();
      if (!e.is_regular_file() || (folder != train / "report" && !name.starts_with("report"))) continue;
      ++files;
      const std::string text = io::read_file(e.path().string());
      for (const char* call : {"stod(", "stof(", "stold(", "strtod", "strtof", "atof(", "printf(\"", "sscanf",
                               "stringstream", ":L}", "std::locale"})
        CHECK_MESSAGE(!has(text, call), name << " has " << call);
    }
  CHECK(files > 15);
}

}  // namespace
}  // namespace tessera::report
