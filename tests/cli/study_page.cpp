// tessera report on the folder of an ablation: its page from the runs, from the tables alone, and in a browser.
#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/cli/browser.h"
#include "tests/cli/made_study.h"
#include "tests/cli/program.h"
#include "tests/unit/report_fixture.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> tables{"results.csv",  "timings.csv", "comparisons.csv", "pairwise.csv", "curves.csv",
                                      "settings.csv", "missing.csv", "pictures.json",   "plan.toml"};

void keep_tables(const std::string& from, const std::string& to) {
  fs::create_directories(to);
  for (const std::string& name : tables) fs::copy_file(from + "/" + name, to + "/" + name);
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

}  // namespace

TEST_CASE("study page: from the runs and from their tables alone it is the same, to the byte") {
  const Folder folder;
  const std::string study = folder / "study", kept = folder / "docs/kept";
  make_study(study, {"none", "learned", "rope", "=1+1", "a,b \"c\""}, 3);
  const Result r = tessera({"report", study});
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(r.errors().empty());
  keep_tables(study, kept);
  REQUIRE(tessera({"report", kept}).code == 0);
  CHECK(read(kept + "/report.html") == read(study + "/report.html"));
  for (const std::string& name : tables) CHECK(read(kept + "/" + name) == read(study + "/" + name));
  // and once more from the runs
  const std::string before = read(study + "/results.csv");
  REQUIRE(tessera({"report", study, "--output", folder / "page.html"}).code == 0);
  CHECK(read(folder / "page.html") == read(kept + "/report.html"));
  CHECK(read(study + "/results.csv") == before);
}

TEST_CASE("study page: those of docs/results are what their tables give, to the byte") {
  size_t studies = 0;
  for (const auto& plan : fs::recursive_directory_iterator(TESSERA_SOURCE_DIR "/docs/results")) {
    const std::string from = plan.path().parent_path().string();
    if (plan.path().filename() != "plan.toml" || !exists(from + "/results.csv") || !exists(from + "/report.html"))
      continue;
    CAPTURE(from);
    const Folder copied;
    const std::string to = copied / plan.path().parent_path().filename().string();
    fs::copy(from, to, fs::copy_options::recursive);
    const std::string drawn = to + "/report.html";
    fs::remove(drawn);
    const Result r = tessera({"report", to});
    INFO(r.err);
    REQUIRE(r.code == 0);
    const auto files = [](const std::string& dir) {
      std::vector<std::string> names;
      for (const auto& e : fs::recursive_directory_iterator(dir))
        if (e.is_regular_file()) names.push_back(fs::relative(e.path(), dir).string());
      std::ranges::sort(names);
      return names;
    };
    REQUIRE(files(to) == files(from));
    for (const std::string& name : files(from)) {
      const bool same = read(to + "/" + name) == read(from + "/" + name);  // of pages that nobody wants to see printed
      CHECK_MESSAGE(same,
                    name << " is not what `tessera report` writes: give that command again and look at the change");
    }
    ++studies;
  }
  CHECK(studies > 0);
}

TEST_CASE("study page: it is well-formed, holds what was measured and what is missing, and lets nothing in") {
  const Folder folder;
  const std::string study = folder / "study", hostile = "<script>alert(1)</script>";
  make_study(study, {"none", "learned", "rope", hostile}, 3);
  REQUIRE(tessera({"report", study}).code == 0);
  const std::string page = read(study + "/report.html");
  CHECK(report::malformed(page) == "");
  CHECK(page.find("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-") !=
        std::string::npos);
  CHECK(count(page, "<script>") == 1);
  CHECK(page.find(hostile) == std::string::npos);
  for (const char* part :
       {"[train] the loss of step 7 is nan", "its table is of 8 x 8 tokens", "Other resolutions", "32x48", "Shifts",
        "What answers hang on", "Cost", "Pictures of attention and tables", "tessera ablate plan.toml",
        "made by = tessera 0.1.0 on a machine / commit 0123456789ab", "better", "4 s, 2 threads"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  const size_t cost = page.find("<h2>Cost</h2>");
  const std::string heads = page.substr(cost, page.find("</thead>", cost) - cost);
  for (const char* once : {">samples a second", ">speed beside none", ">tensors at the peak, MB", ">beside none"})
    CHECK_MESSAGE(count(heads, once) == 1, once);
  // sorted by accuracy as it is written: the last of the plan is the best
  const size_t rows = page.find("<tbody>", page.find("id=\"accuracy\""));
  CHECK(page.find("data-e=\"3\"", rows) < page.find("data-e=\"2\"", rows));
  CHECK(page.find("data-e=\"2\"", rows) < page.find("data-e=\"0\"", rows));
}

TEST_CASE("study page: no runs, one run, no grid and numbers beyond all measure are a page, too") {
  const Folder folder;
  const auto drawn = [&](const std::string& results) {
    const std::string dir = folder / "kept";
    fs::create_directories(dir);
    write(dir + "/plan.toml", ""), write(dir + "/results.csv", results);
    const Result r = tessera({"report", dir});
    INFO(r.err);
    REQUIRE(r.code == 0);
    const std::string page = read(dir + "/report.html");
    CHECK(report::malformed(page) == "");
    return page.substr(page.find("<main>"), page.find("<script>") - page.find("<main>"));
  };
  CHECK(drawn("seed\n").find("No run has ended yet") != std::string::npos);
  CHECK(drawn("seed,last_acc1\n1,0.5\n2,0.6\n").find("all runs") != std::string::npos);
  CHECK(drawn("position.name,seed,last_acc1\nnone,1,0.5\n").find("50.00") != std::string::npos);
  std::string rows = "position.name,seed,last_acc1,resolution.32x32.acc1,shift.crop.1.consistency\n";
  for (const char* name : {"a", "b", "c"})
    for (int seed = 1; seed <= 2; ++seed)
      rows += std::string(name) + "," + std::to_string(seed) + ",1e300,1e308,-1e308\n";
  CHECK(drawn(rows).find("nan") == std::string::npos);
}

TEST_CASE("study page: answers of a probe are a section of it, or a page of their own") {
  const Folder folder;
  const std::string study = folder / "study", alone = folder / "alone";
  make_study(study, {"none", "rope"}, 2);
  fs::create_directories(alone);
  const std::string probe =
      "position,task,size,chance,seeds,accuracy,low,high,interval,standing,absent\n"
      "none,quadrant,32,0.25,1,0.26,0.23,0.29,pictures,chance,\nrope,quadrant,32,0.25,1,0.99,0.98,1,pictures,above "
      "chance,\n"
      "none,quadrant,48,0.25,1,0.25,0.22,0.28,pictures,chance,\nrope,quadrant,48,0.25,0,,,,,,rope is not asked at 48\n";
  write(study + "/probe.csv", probe), write(alone + "/probe.csv", probe);
  for (const std::string& dir : {study, alone}) {
    REQUIRE(tessera({"report", dir}).code == 0);
    const std::string page = read(dir + "/report.html");
    CHECK(report::malformed(page) == "");
    for (const char* part : {"What encodings can express", ">(26)<", ">99<", "48 \u00d7 48", "rope is not asked at 48"})
      CHECK_MESSAGE(page.find(part) != std::string::npos, part);
    CHECK(read(dir + "/probe.csv") == probe);
  }
}

TEST_CASE("study page: damaged tables are one line, and the page that was there stays") {
  const Folder folder;
  const std::string study = folder / "study", kept = folder / "kept";
  make_study(study, {"none", "learned", "rope"}, 2);
  REQUIRE(tessera({"report", study}).code == 0);
  keep_tables(study, kept);
  write(kept + "/report.html", "as it was");
  const auto refused = [&](const std::string& name, const std::string& bytes, const std::vector<std::string>& words) {
    const std::string good = read(kept + "/" + name);
    write(kept + "/" + name, bytes);
    check_refused(tessera({"report", kept}), 1, words);
    write(kept + "/" + name, good);
    CHECK(read(kept + "/report.html") == "as it was");
  };
  refused("results.csv", "position.name,seed\nnone,1,2\n", {"results.csv:2", "3 cells"});
  refused("results.csv", "position.name,seed\n\"none,1\n", {"results.csv:2", "quote"});
  refused("results.csv", "a,b\n1,2\n", {"results.csv", "no column seed"});
  refused("results.csv", "seed,seed\n1,2\n", {"results.csv:1", "two columns"});
  refused("comparisons.csv", "measure,n\nlast_acc1,2\n", {"comparisons.csv", "position.name"});
  refused("pictures.json", "{", {"pictures.json"});
  refused(
      "pictures.json",
      R"({"format":1,"scenes":[{"keys":[],"seed":"1","tables":[],"attention":[{"block":0,"offsets":{"h":9,"w":9,"scale":1,"values":"AAAA"},"maps":[]}]}]})",
      {"pictures.json", "81 values"});
  refused("pictures.json", R"({"format":2,"scenes":[]})", {"pictures.json", "format 2"});
  for (const char* kind : {"matrix", "embedding", "offsets", "x"})  // a table without cells
    for (const char* size :
         {R"("h":0,"w":0,"channels":1)", R"("h":0,"w":1000000,"channels":1)", R"("h":2,"w":2,"channels":0)"})
      refused("pictures.json",
              std::string(R"({"format":1,"scenes":[{"keys":["none"],"seed":"1","tables":[{"name":"x","kind":")") +
                  kind + "\"," + size + R"(,"prefix":0,"scale":1.0,"values":""}],"attention":[]}]})",
              {"pictures.json"});
  CHECK(tessera({"report", kept}).code == 0);
  // damage beside a run's measures costs the page its part of it, and the tables nothing
  const std::string table = read(study + "/results.csv"), cells = study + "/cells/";
  write(cells + "position=1,seed=1/metrics.jsonl", "{\"epoch\":\n{}\n");
  write(cells + "position=0,seed=1/pictures.json", "{");
  const Result r = tessera({"report", study});
  CHECK(r.code == 0);
  CHECK(r.err.find("metrics.jsonl:1") != std::string::npos);
  CHECK(r.err.find("without the curves, settings and pictures of this run") != std::string::npos);
  CHECK(r.err.find("without the pictures of this run") != std::string::npos);
  CHECK(r.err.find("skipped") == std::string::npos);
  CHECK(read(study + "/results.csv") == table);
  write(cells + "position=1,seed=2/measures.json", "{");
  CHECK(tessera({"report", study}).err.find("an ablation, 1 skipped") != std::string::npos);
}

TEST_CASE("study page: in a headless browser it sorts, filters, lights up and asks for nothing") {
  const Folder folder;
  const std::string study = folder / "study";
  make_study(study, {"none", "learned", "rope", "rope_axial", "alibi"}, 3);
  REQUIRE(tessera({"report", study}).code == 0);
  const std::string url = "file://" + study + "/report.html";
  Browser browser(TESSERA_BROWSER);
  const std::string rows =
      "[...document.querySelectorAll('#accuracy tbody tr')].filter(r => r.offsetHeight > 0).map(r => "
      "r.cells[0].innerText).join(' ')";
  browser.look(1280, 900);
  browser.open(url);
  CHECK(browser.value(rows) == "\"alibi rope_axial rope learned none\"");

  // a click on a head sorts, the next one turns it round
  const auto head = [](const std::string& name) {
    return "document.querySelector('[data-sort=" + name + "]').click()";
  };
  browser.value(head("encoding"));
  CHECK(browser.value(rows) == "\"alibi learned none rope rope_axial\"");
  browser.value(head("encoding"));
  CHECK(browser.value(rows) == "\"rope_axial rope none learned alibi\"");
  browser.value(head("accuracy"));
  CHECK(browser.value(rows) == "\"alibi rope_axial rope learned none\"");
  CHECK(browser.value("location.hash") == "\"#sort=accuracy,down\"");

  // the filter hides rows, and curves with them
  const auto filter = [](const std::string& words) {
    return "{ const f = document.getElementById('filter'); f.value = '" + words +
           "'; f.dispatchEvent(new Event('input')); }";
  };
  browser.value(filter("rope -axial"));
  CHECK(browser.value(rows) == "\"rope\"");
  CHECK(browser.value(
            "[...document.querySelectorAll('.chart svg')].every(c => [...c.querySelectorAll('g[data-e]')].filter(g => "
            "getComputedStyle(g).display !== 'none').length < 2)") == "true");
  CHECK(browser.value("document.getElementById('shown').innerText") == "\"1 of 5 shown\"");
  browser.value("document.getElementById('clear').click()");
  CHECK(browser.value(rows) == "\"alibi rope_axial rope learned none\"");

  // a name lights its curves; a view can be sent as an address
  browser.value("document.querySelector('.keys [data-e=\"2\"]').click()");
  CHECK(browser.value("document.body.classList.contains('picked') && document.querySelectorAll('.chart g.hot').length "
                      "=== document.querySelectorAll('.chart g[data-e=\"2\"]').length") == "true");
  browser.open(url + "#sort=encoding,up&filter=o&pick=3");
  CHECK(browser.value(rows) == "\"none rope rope_axial\"");
  CHECK(browser.value("document.querySelector('.keys .hot').innerText.trim()") == "\"rope_axial\"");
  // a link to a folded part unfolds it
  browser.open(url + "#group-2");
  CHECK(browser.value("document.getElementById('group-2').closest('details').open") == "true");
  browser.open(url + "#sort=%zz&nonsense=1&=&sort");  // nothing to be done about, and nothing to complain of
  CHECK(browser.value(rows) == "\"alibi rope_axial rope learned none\"");

  // on a phone nothing sticks out; in the dark it is dark
  browser.look(390, 844);
  browser.open(url);
  CHECK(browser.value("document.scrollingElement.scrollWidth") == "390");
  browser.look(1280, 900, true);
  CHECK(browser.value("getComputedStyle(document.body).backgroundColor") == "\"rgb(14, 14, 13)\"");
  for (const std::string& complaint : browser.complaints) FAIL_CHECK(complaint);
  for (const std::string& request : browser.requests) FAIL_CHECK(request);
  // the policy holds: a script that somebody got into the page does not run, a picture is not fetched
  browser.value(
      "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); new "
      "Image().src = 'http://127.0.0.1:9/x.png'; }");
  CHECK(browser.value("window.ran") == "undefined");
  CHECK(!browser.complaints.empty());
  // without scripts the table is there, and nothing that would not work
  browser.open(url, false);
  CHECK(browser.value(rows) == "\"alibi rope_axial rope learned none\"");
  CHECK(browser.value("document.getElementById('tools').offsetHeight") == "0");
}

TEST_CASE("study page: in print, by a headless browser, nothing sticks out and what only works on a screen is gone") {
  const Folder folder;
  const std::string study = folder / "study";
  make_study(study, {"none", "learned", "rope_axial", "relative_position_bias", "shaw_axial_kv", "sincos2d", "alibi"},
             3);
  REQUIRE(tessera({"report", study}).code == 0);
  Browser browser(TESSERA_BROWSER);
  const std::string shown = "getComputedStyle(document.getElementById('tools')).display !== 'none'",
                    fits = "document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth",
                    widest =
                        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > "
                        "innerWidth + 1).map(e => e.tagName + '.' + e.getAttribute('class')).join(' ')";
  browser.look(1280, 900);
  browser.open("file://" + study + "/report.html");
  CHECK(browser.value(shown) == "true");
  browser.paper();
  INFO(browser.value(widest));
  CHECK(browser.value("matchMedia('print').matches") == "true");
  CHECK(browser.value(shown) == "false");
  CHECK(browser.value(fits) == "true");
  CHECK(browser.value("document.querySelectorAll('#accuracy tbody tr').length") == "7");
  browser.look(1280, 900);
  CHECK(browser.value(shown) == "true");
}

}  // namespace tessera::test
