// Run directories as they are found: damaged, foreign, not finite, repeated with other seeds.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <map>

#include "tessera/core/error.h"
#include "tessera/train/report/groups.h"
#include "tessera/train/report/report.h"
#include "tessera/train/report/results.h"
#include "tessera/train/training/report_json.h"
#include "tests/unit/report_fixture.h"
#include "tests/unit/scratch.h"

namespace tessera::report {
namespace {

namespace fs = std::filesystem;

/// Without the fsync of replace_file: some tests write thousands of files.
void put(const std::string& path, std::string_view bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// A run with a seed in its configuration and a test accuracy; `more` are further lines of [train].
void seeded(const std::string& dir, const std::string& position, int seed, double accuracy,
            const std::string& more = "") {
  make_run(dir, position, accuracy);
  put(dir + "/config.toml",
      fmt::format("# written by a test\n[position]\nname = \"{}\"\n[train]\nepochs = 3\nseed = {}\n{}", position, seed,
                  more));
  put(dir + "/summary.json",
      fmt::format(R"({{"model":"vit","position":"{}","params":10,"seed":{},"test_acc1":{},"test_loss":1.5,)"
                  R"("best_val_acc1":0.5,"seconds":8.5,"images_per_s":100.25,"threads":2,"isa":"avx2",)"
                  R"("version":"1","environment":"here","data":{{"name":"where","digest":"d"}}}})",
                  position, seed, accuracy));
  fs::remove(dir + "/report_data.json");
}

TEST_CASE("report: a damaged run of a folder is skipped with a line that says which file and why") {
  const Scratch dir;
  make_run(dir / "a", "learned", 0.7654);
  make_run(dir / "c", "none", 0.6);
  const std::string b = dir / "b", out = dir / "report.html";
  const auto skipped = [&](const std::string& file, const std::string& why) {
    CAPTURE(file);
    CAPTURE(why);
    const auto lines = write({dir / "a", b, dir / "c"}, out);
    REQUIRE(lines.size() == 1);
    CHECK_MESSAGE(lines[0].find(why) != std::string::npos, lines[0]);
    CHECK_MESSAGE(lines[0].find(b) != std::string::npos, lines[0]);
    CHECK_MESSAGE(lines[0].find(file) != std::string::npos, lines[0]);
    CHECK(lines[0].find('\n') == std::string::npos);
    CHECK(lines[0].size() < 600);
    const std::string html = io::read_file(out);
    CHECK(malformed(html) == "");
    CHECK(has(html, "2 runs compared"));
    CHECK_THROWS_AS(write({b}, out), Error);  // alone it is the error
    CHECK(io::read_file(out) == html);
    fs::remove_all(b);
  };
  const auto damage = [&](const std::string& file, const std::string& bytes, const std::string& why) {
    make_run(b, "learned", 0.5);
    put(b + "/" + file, bytes);
    skipped(file, why);
  };
  const std::string deep(100'000, '['), nested = "{\"model\":" + deep + std::string(100'000, ']') + "}";
  damage("metrics.jsonl", "{\"epoch\":1}\nrubbish\n{\"epoch\":2}\n", "metrics.jsonl:2");
  damage("metrics.jsonl", "{\"epoch\":1}\n" + nested + "\n", "metrics.jsonl:2");
  damage("summary.json", "", "malformed JSON");
  damage("summary.json", "{\"model\": \"v", "malformed JSON");
  damage("summary.json", "[1]", "not a JSON object");
  damage("summary.json", nested, "nest");
  damage("summary.json", "{\"seed\":1e999}", "summary.json");
  damage("config.toml", "", "no key");
  damage("config.toml", "[train]\nepochs = 3\nname = \"cut o", "config.toml:3");
  damage("config.toml", "[train]\nepochs =\n", "config.toml:2");
  damage("config.toml", "[train]\nbetas = [0.9,\n", "config.toml:2");
  damage("config.toml",
         "\x7f"
         "ELF nonsense",
         "config.toml:1");
  damage("report_data.json", "{\"classes\": [", "malformed JSON");
  damage("report_data.json", "{}", "'classes'");
  damage("report_data.json", "[]", "report_data.json");
  damage("report_data.json", deep, "nest");
  for (const char* number : {"1e19", "10000000000000000000", "-1", "2.5", "null", "\"2\"", "4294967298", "true"}) {
    const std::string n = number;
    CAPTURE(n);
    const auto sample = [&](const std::string& key) {
      std::string s =
          R"({"classes":["a"],"samples":[{"height":1,"width":1,"channels":1,"pixels":"AA==","true":0,"predicted":0,"probability":1}]})";
      const size_t at = s.find("\"" + key + "\":") + key.size() + 3;
      return s.replace(at, 1, n);
    };
    for (const char* key : {"height", "width", "channels", "true", "predicted"})
      damage("report_data.json", sample(key), key);
    if (n != "4294967298")  // many images, but a count
      damage("report_data.json", R"({"classes":["a"],"confusion":[[)" + n + "]]}", "report_data.json");
    damage("report_data.json",
           R"({"classes":["a"],"tables":[{"name":"t","kind":"matrix","h":1,"w":1,"channels":1,"prefix":)" + n +
               R"(,"values":[1]}]})",
           "prefix");
  }

  for (const char* file : {"config.toml", "metrics.jsonl", "summary.json", "report_data.json"}) {
    const std::string path = b + "/" + file;
    const auto instead = [&](auto make, const char* why) {
      make_run(b, "learned", 0.5);
      fs::remove(path);
      make();
      skipped(file, why);
    };
    instead([&] { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }, "a pipe");
    instead([&] { fs::create_directory(path); }, "a folder");
    instead([&] { fs::create_symlink("/dev/zero", path); }, "a device");
    instead([&] { fs::create_symlink("nowhere", path); }, "to nothing");
    if (std::string_view(file) == "config.toml" || std::string_view(file) == "metrics.jsonl") instead([] {}, "has no");
  }
}

TEST_CASE("report: no cut and no flipped bit of a run's files does more than refuse it") {
  const Scratch dir;
  const std::string run = dir / "run", out = dir / "report.html";
  make_run(run, "learned", 0.7654);
  int refused = 0, read = 0;
  const auto check = [&](const std::string& file) {
    try {
      const RunFiles r = read_run(run);
      ++read;
      if (read % 16 == 0) {  // a page takes longer to write than a run to read
        write(Runs{r}, out);
        CHECK(malformed(io::read_file(out)) == "");
      }
    } catch (const Error& e) {
      ++refused;
      const std::string said = e.what();
      CHECK_MESSAGE(said.find(file) != std::string::npos, said);
      CHECK_MESSAGE(said.find('\n') == std::string::npos, said);
    }
  };
  for (const char* file : {"config.toml", "metrics.jsonl", "summary.json", "report_data.json"}) {
    CAPTURE(file);
    const std::string path = run + "/" + file, whole = io::read_file(path);
    for (size_t n = 0; n < whole.size(); n += 1 + whole.size() / 200) put(path, whole.substr(0, n)), check(file);
    for (size_t n = 0; n < whole.size(); n += 1 + whole.size() / 300)
      for (const int bit : {0, 3, 5, 7}) {
        std::string flipped = whole;
        flipped[n] = static_cast<char>(flipped[n] ^ (1 << bit));
        put(path, flipped), check(file);
      }
    put(path, whole);
  }
  CHECK(refused > 500);
  CHECK(read > 500);
}

TEST_CASE("report: nan and inf in metrics.jsonl are gaps, and their accuracies are none") {
  const Scratch dir;
  seeded(dir / "a", "rope", 1, 0.75);
  std::string metrics = R"({"epoch":1,"split":"train","loss":2,"acc1":0.25,"lr":0.1})"
                        "\n";
  for (const char* loss : {"nan", "-nan", "inf", "-inf", "NaN", "-Infinity", "null", "1e300"})
    metrics += fmt::format(R"({{"epoch":2,"split":"test","loss":{},"acc1":1,"lr":nan}})"
                           "\n",
                           loss);
  put(dir / "a/metrics.jsonl", metrics);
  put(dir / "a/summary.json",
      R"({"model":"vit","position":"rope","test_acc1":1.0,"test_loss":null,"note":"nan, -inf"})");
  const RunFiles run = read_run(dir / "a");
  REQUIRE(run.metrics.size() == 9);
  for (size_t i = 1; i < 9; ++i) {
    CAPTURE(i);
    CHECK(std::isnan(run.metrics[i].loss));
    CHECK(std::isnan(run.metrics[i].acc1));
  }
  CHECK(run.metrics[0].acc1 == doctest::Approx(25));
  CHECK(std::isnan(run.figure("test_acc1")));
  REQUIRE(run.notes.size() == 2);
  CHECK(has(run.notes[0], "metrics.jsonl:2"));
  CHECK(has(run.notes[1], "test_acc1"));
  CHECK(run.said("note") == "nan, -inf");
  write(Runs{run}, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK(malformed(html) == "");
  CHECK_FALSE(has(html, "100.00 %"));
  CHECK(has(html, "metrics.jsonl:2"));
  const std::string csv = results_csv({run}, dir.path());
  CHECK(csv == "run,model,position,seed,group,note,test_acc1,test_loss\na,vit,rope,,1,\"nan, -inf\",,\n");
  CHECK(without_infinities(R"({"nan":"-inf \" nan","a":-nan,"b":[inf,nano]})") ==
        R"({"nan":"-inf \" nan","a":null,"b":[null,nano]})");

  // the same of a validation that was not a number, in a run that has ended well
  seeded(dir / "b", "rope", 1, 0.75);
  put(dir / "b/metrics.jsonl", R"({"epoch":1,"split":"val","loss":nan,"acc1":1})"
                               "\n");
  const RunFiles b = read_run(dir / "b");
  CHECK(b.said("best_val_acc1") == "");
  CHECK(b.figure("test_acc1") == doctest::Approx(75));
}

TEST_CASE("report: mean, deviation and Student's interval") {
  const Statistics three = statistics({1, 2, 3});
  CHECK(three.count == 3);
  CHECK(three.mean == 2);
  CHECK(three.sd == 1);
  CHECK(three.half == doctest::Approx(4.302653 / std::sqrt(3.0)).epsilon(1e-6));
  CHECK(statistics({1, 2}).half == doctest::Approx(12.706205 * 0.5).epsilon(1e-6));
  for (const auto& [n, quantile] :
       {std::pair(11, 2.228139), {12, 2.200985}, {16, 2.131450}, {31, 2.042272}, {101, 1.983972}}) {
    std::vector<double> v(static_cast<size_t>(n), 0.0);
    v[0] = 1;
    const Statistics s = statistics(v);
    const int count = n;
    CAPTURE(count);
    CHECK(s.half == doctest::Approx(quantile * s.sd / std::sqrt(n)).epsilon(1e-6));
  }
  CHECK(std::isnan(statistics({1}).sd));
  CHECK(statistics({1}).mean == 1);
  CHECK(std::isnan(statistics({}).mean));
}

TEST_CASE("report: runs that differ only in seeds are one group, on the page and in results.csv") {
  const Scratch dir;
  seeded(dir / "l1", "learned", 1, 0.5);
  seeded(dir / "l2", "learned", 2, 0.75);
  seeded(dir / "l2again", "learned", 2, 0.75);  // the same seed once more is no new evidence
  seeded(dir / "r1", "rope", 1, 0.25);
  seeded(dir / "r9", "rope", 9, 0.5);
  seeded(dir / "r10", "rope", 10, 1);
  seeded(dir / "n1", "none", 1, 0.125);
  seeded(dir / "other", "none", 1, 0.25, "epochs_more = 4\n");
  fs::remove(dir / "n1/summary.json");  // under way
  const Readable all = read_runs(
      {dir / "l1", dir / "l2", dir / "l2again", dir / "r1", dir / "r9", dir / "r10", dir / "n1", dir / "other"});
  CHECK(all.skipped.empty());
  CHECK(differing(all.runs) == std::vector<std::string>{"position.name", "train.epochs_more"});
  const std::vector<Group> sets = groups(all.runs);
  REQUIRE(sets.size() == 4);
  CHECK(sets[0].label == "learned");
  CHECK(sets[0].runs == std::vector<size_t>{0, 1, 2});
  CHECK(sets[1].runs == std::vector<size_t>{3, 4, 5});
  CHECK(sets[3].label == "none, train.epochs_more = 4");

  write(all.runs, dir / "report.html");
  const std::string html = io::read_file(dir / "report.html");
  CHECK(malformed(html) == "");
  for (const char* part : {"Over seeds", "62.50 % \u00b1 158.83", ">17.68<", "58.33 % \u00b1 94.86", ">38.19<",
                           "4 configurations over seeds"}) {
    CAPTURE(part);
    CHECK(has(html, part));
  }

  CHECK(results_csv(all.runs, dir.path()) ==
        "run,model,position,seed,train.epochs_more,best_val_acc1,data.digest,data.name,group,group.best_val_acc1.mean,"
        "group.best_val_acc1.n,group.best_val_acc1.sd,group.test_acc1.mean,group.test_acc1.n,group.test_acc1.sd,params,"
        "test_acc1,test_loss\n"
        "l1,vit,learned,1,,0.5,d,where,1,0.5,2,0,0.625,2,0.1767766952966369,10,0.5,1.5\n"
        "l2,vit,learned,2,,0.5,d,where,1,0.5,2,0,0.625,2,0.1767766952966369,10,0.75,1.5\n"
        "l2again,vit,learned,2,,0.5,d,where,1,0.5,2,0,0.625,2,0.1767766952966369,10,0.75,1.5\n"
        "r1,vit,rope,1,,0.5,d,where,2,0.5,3,0,0.5833333333333334,3,0.38188130791298663,10,0.25,1.5\n"
        "r9,vit,rope,9,,0.5,d,where,2,0.5,3,0,0.5833333333333334,3,0.38188130791298663,10,0.5,1.5\n"
        "r10,vit,rope,10,,0.5,d,where,2,0.5,3,0,0.5833333333333334,3,0.38188130791298663,10,1,1.5\n"
        "other,vit,none,1,4,0.5,d,where,3,0.5,1,,0.25,1,,10,0.25,1.5\n");
  CHECK(timings_csv({all.runs[0]}, dir.path()) ==
        "run,group,seconds,images_per_s,threads,isa,version,environment\nl1,1,8.5,100.25,2,avx2,1,here\n");
}

TEST_CASE("report: options that come with a name are no differences of their own") {
  const auto run = [](const std::string& label, std::map<std::string, std::string> config) {
    RunFiles r;
    r.label = label, r.config = std::move(config);
    return r;
  };
  Runs runs = {
      run("a", {{"position.name", "\"learned\""}, {"position.std", "0.02"}, {"train.seed", "1"}}),
      run("b", {{"position.name", "\"rope\""}, {"position.base", "100"}, {"train.seed", "1"}}),
      run("c", {{"position.name", "\"rope\""}, {"position.base", "100"}, {"data.seed", "7"}, {"data.dir", "\"x\""}})};
  CHECK(differing(runs) == std::vector<std::string>{"position.name"});
  CHECK(groups(runs).size() == 2);
  CHECK(groups(runs)[1].label == "rope");
  runs.push_back(run("d", {{"position.name", "\"rope\""}, {"position.base", "10"}, {"train.seed", "1"}}));
  CHECK(differing(runs) == std::vector<std::string>{"position.base", "position.name"});
  CHECK(groups(runs).size() == 3);
  CHECK(groups(runs)[2].label == "position.base = 10, rope");
}

TEST_CASE("report: cells that a spreadsheet would run as formulas, and others that need quotes") {
  CHECK(csv_cell("plain") == "plain");
  CHECK(csv_cell("=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0");
  CHECK(csv_cell("+1+1") == "'+1+1");
  CHECK(csv_cell("-2+3") == "'-2+3");
  CHECK(csv_cell("@SUM(A1)") == "'@SUM(A1)");
  CHECK(csv_cell("\t=1") == "'\t=1");
  CHECK(csv_cell("-0.5") == "-0.5");
  CHECK(csv_cell("-1e-05") == "-1e-05");
  CHECK(csv_cell("=1,2") == "\"'=1,2\"");
  CHECK(csv_cell("a,b") == "\"a,b\"");
  CHECK(csv_cell("say \"a\"") == "\"say \"\"a\"\"\"");
  CHECK(csv_cell("two\nlines") == "\"two\nlines\"");
  CHECK(csv_cell("\x1b[2J\r\xff") == "\ufffd[2J\ufffd\ufffd");
  const Scratch dir;
  seeded(dir / "=cmd,1", "rope", 1, 0.5);
  CHECK(has(results_csv({read_run(dir / "=cmd,1")}, dir.path()), "\n\"'=cmd,1\",vit,rope,1,"));
}

TEST_CASE("report: the same directory twice is one run, and of the same name the paths tell") {
  const Scratch dir;
  fs::create_directory(dir / "x");
  fs::create_directory(dir / "y");
  make_run(dir / "x/run", "learned", 0.5);
  make_run(dir / "y/run", "none", 0.5);
  const Readable all = read_runs({dir / "x/run", dir / "y/run", dir / "x/../x/run/"});
  REQUIRE(all.runs.size() == 2);
  CHECK(all.runs[0].label == dir / "x/run");
  CHECK(all.runs[1].label == dir / "y/run");
}

}  // namespace
}  // namespace tessera::report
