// The report is parsed here: every element closed, every attribute quoted, nothing but known entities; and it asks for
// nothing outside of itself.
#include "tessera/train/report/report.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/train/report/chart.h"
#include "tessera/train/report/html.h"
#include "tessera/train/report/picture.h"
#include "tessera/train/training/report_tables.h"
#include "tests/unit/report_fixture.h"
#include "tests/unit/scratch.h"

namespace tessera::report {
namespace {

TEST_CASE("report: text is escaped, invalid UTF-8 and control characters are replaced") {
  CHECK(escape("a<b> & \"c\" 'd'") == "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  CHECK(escape("zw\u00f6lf \u2713 \U0001f600") == "zw\u00f6lf \u2713 \U0001f600");
  CHECK(escape("\x01\x7f\x1b") == "\ufffd\ufffd\ufffd");
  CHECK(escape("a\xff\xc3(\xe2\x82") == "a\ufffd\ufffd(\ufffd\ufffd");
  CHECK(escape("\xc0\xaf\xed\xa0\x80") == "\ufffd\ufffd\ufffd\ufffd\ufffd");  // an overlong slash, a surrogate
}

TEST_CASE("report: numbers as people write them") {
  CHECK(si(950) == "950");
  CHECK(si(811'338) == "811 k");
  CHECK(si(5.72e6) == "5.72 M");
  CHECK(si(999.7) == "1.00 k");
  CHECK(duration(8.06) == "8.1 s");
  CHECK(duration(750) == "12 min 30 s");
  CHECK(duration(3723) == "1 h 2 min");
  CHECK(number(0.0005) == "0.0005");
  CHECK(ticks(0, 1, 5) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
  CHECK(ticks(3, 3, 5).front() < 3);
  CHECK(ticks(0, 0, 5).size() > 2);
  CHECK(si(1e300).size() < 12);
}

TEST_CASE("report: the page of a run is well-formed, complete and asks for nothing") {
  const Scratch dir;
  make_run(dir / "a", "learned", 0.7654);
  write({dir / "a"}, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK(malformed(html) == "");
  for (const char* part : {"76.54 %", "811 k", "1 h 2 min", "learned", "1.8125", "epoch 3: 0.66667", "432.5", "25 %",
                           "cat taken for &lt;script&gt;alert(1)&lt;/script&gt;: 7 of 100 (7.0 %)",
                           "275 of 300 samples", "91.67 %", "vit_&lt;b&gt;", "epochs = 3", "bias&lt;0&gt;", "88 %"}) {
    CAPTURE(part);
    CHECK(has(html, part));
  }
  for (const char* part : {"<script", "vit_<b>", "http://", "https://", "@import", "url("}) {
    CAPTURE(part);
    std::string rest = html;
    const std::string xmlns = "xmlns=\"http://www.w3.org/1999/xhtml\"";
    rest.erase(rest.find(xmlns), xmlns.size());  // a name, not an address that is asked
    CHECK(!has(rest, part));
  }
}

TEST_CASE("report: two runs on one page, with their differences") {
  const Scratch dir;
  make_run(dir / "a", "learned", 0.7654);
  make_run(dir / "b", "none", 0.6);
  write({dir / "a", dir / "b/"}, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK(malformed(html) == "");
  CHECK(has(html, "-16.54"));
  CHECK(has(html, "position.name"));
  CHECK(has(html, "&quot;none&quot;"));
  CHECK(!has(html, "<th class=\"key\">train.seed"));  // equal in both
  CHECK(has(html, "b, epoch 3: 0.66667"));
}

TEST_CASE("report: a run under way has no summary and no pictures yet") {
  const Scratch dir;
  make_run(dir / "a", "learned", 0.7654);
  std::filesystem::remove(dir / "a/summary.json");
  std::filesystem::remove(dir / "a/report_data.json");
  write({dir / "a"}, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK(malformed(html) == "");
  CHECK(has(html, "validation accuracy so far"));
  io::replace_file(dir / "a/metrics.jsonl", "");
  write({dir / "a"}, dir / "report.html");
  CHECK(malformed(io::read_file(dir / "report.html")) == "");
}

TEST_CASE("report: missing and malformed files are one clear error, and the old page stays") {
  const Scratch dir;
  const std::string out = dir / "report.html";
  io::replace_file(out, "old");
  CHECK_THROWS_WITH_AS(write({dir / "none"}, out), doctest::Contains("no such run directory"), Error);
  make_run(dir / "a", "learned", 0.5);
  const auto refused = [&](const std::string& file, const std::string& text, const std::string& part) {
    make_run(dir / "a", "learned", 0.5);
    io::replace_file(dir / ("a/" + file), text);
    CHECK_THROWS_WITH_AS(write({dir / "a"}, out), doctest::Contains(part.c_str()), Error);
  };
  refused("metrics.jsonl", "{\"epoch\":1}\nrubbish\n{\"epoch\":2}\n", "metrics.jsonl:2: not a JSON object");
  refused("summary.json", "[1]", "summary.json: not a JSON object");
  refused("report_data.json", "{\"classes\": [", "report_data.json: malformed JSON");
  refused("report_data.json", "{}", "'classes'");
  refused("report_data.json", R"({"classes":["a"],"confusion":[[1,2]]})", "has 2 numbers for 1 classes");
  refused("report_data.json", R"({"classes":["a"],"confusion":[[-1]]})", "is -1");
  refused(
      "report_data.json",
      R"({"classes":["a"],"tables":[{"name":"t","kind":"matrix","h":1000000,"w":1000000,"channels":1,"prefix":0,"values":[]}]})",
      "has 0 values");
  refused(
      "report_data.json",
      R"({"classes":["a"],"samples":[{"height":1,"width":1,"channels":3,"pixels":"AAA=","true":0,"predicted":0,"probability":1}]})",
      "2 bytes of pixels");
  refused(
      "report_data.json",
      R"({"classes":["a"],"samples":[{"height":1,"width":1,"channels":1,"pixels":"AA==","true":0,"predicted":7,"probability":1}]})",
      "beyond the 1");
  std::filesystem::remove(dir / "a/metrics.jsonl");
  CHECK_THROWS_WITH_AS(write({dir / "a"}, out), doctest::Contains("has no metrics.jsonl"), Error);
  CHECK(io::read_file(out) == "old");
}

TEST_CASE("report: what the trainer leaves comes back") {
  const Data a = example();
  const Data b = from_json(to_json(a), "f");
  CHECK(b.classes == a.classes);
  CHECK(b.confusion == a.confusion);
  CHECK(b.samples[1].pixels == a.samples[1].pixels);
  CHECK(b.samples[0].probability == 0.875);
  CHECK(b.tables[1].values == a.tables[1].values);
  CHECK(b.tables[0].prefix == 1);
  for (const char* text : {"", "f", "fo", "foo", "foob"}) {  // RFC 4648
    const std::string expected = text == std::string("")      ? ""
                                 : text == std::string("f")   ? "Zg=="
                                 : text == std::string("fo")  ? "Zm8="
                                 : text == std::string("foo") ? "Zm9v"
                                                              : "Zm9vYg==";
    CHECK(base64(text, std::string_view(text).size()) == expected);
  }
}

TEST_CASE("report: colours run from pole to pole through the page's surface") {
  for (const bool dark : {false, true}) {
    const Rgb low = diverging(-1, dark), middle = diverging(0, dark), high = diverging(1, dark),
              beyond = diverging(7, dark);
    CHECK(low.b > low.r);
    CHECK(high.r > high.b);
    CHECK(std::abs(int(middle.r) - int(middle.b)) < 8);
    CHECK(beyond.r == high.r);
  }
}

TEST_CASE("report: position tables know their geometry") {
  Params params(1);
  const Scope s(params);
  s.param("pos_embed", {1, 7, 8}, normal(1));
  (s / "blocks" / 0 / "attn").param("relative_position_bias_table", {15, 2}, normal(1));
  (s / "blocks" / 0 / "attn" / "position").param("key", {5, 4}, normal(1));
  (s / "blocks" / 0 / "attn" / "qkv").param("weight", {24, 8}, normal(1));
  (s / "blocks" / 0 / "attn" / "proj").param("weight", {8, 8}, normal(1));
  (s / "position" / "relative_attention_bias").param("weight", {32, 2}, normal(1));
  (s / "pos_block.0" / "proj").param("weight", {8, 1, 3, 3}, normal(1));   // a convolution, no table
  (s / "blocks" / 0 / "attn" / "position").param("bias", {4}, normal(1));  // makes no picture
  PositionTables positions;
  positions.names = {"pos_embed",
                     "blocks.0.attn.relative_position_bias_table",
                     "blocks.0.attn.position.key",
                     "blocks.0.attn.position.bias",
                     "position.relative_attention_bias.weight",
                     "pos_block.0.proj.weight"};
  Places& places = positions.places;
  places.tokens = {{0, 0, 0, 8, {2, 3, 1}, "pos_embed"}};
  Site site;
  site.heads = 2, site.path = "blocks.0.attn", site.trained.q = site.trained.k = {2, 3, 1};
  places.sites = {site};
  places.between = {{0, 0, 0, 8, {2, 3, 1}, "pos_block.0"}};
  const auto tables = position_tables(params, positions);
  REQUIRE(tables.size() == 4);
  CHECK(tables[0].kind == "embedding");
  CHECK(tables[0].prefix == 1);
  CHECK(tables[0].w == 3);
  CHECK(tables[1].kind == "offsets");
  CHECK(tables[1].h == 3);
  CHECK(tables[1].w == 5);
  CHECK(tables[1].channels == 2);
  CHECK(tables[2].kind == "matrix");
  CHECK(tables[2].h == 5);
  CHECK(tables[3].name == "position.relative_attention_bias.weight");
  CHECK(position_tables(params, positions, 2).size() == 2);
}

}  // namespace
}  // namespace tessera::report
