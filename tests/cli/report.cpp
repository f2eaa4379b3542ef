// tessera report on folders as they are: some runs good, some damaged, some repeated with other seeds.
#include <sys/stat.h>

#include <filesystem>

#include "tests/cli/program.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;

void make_run(const std::string& dir, const std::string& position, int seed, const std::string& accuracy) {
  fs::create_directories(dir);
  write(dir + "/config.toml",
        "[position]\nname = \"" + position + "\"\n[train]\nseed = " + std::to_string(seed) + "\n");
  write(dir + "/metrics.jsonl", "{\"epoch\":1,\"split\":\"train\",\"loss\":1.5,\"acc1\":0.5}\n");
  write(dir + "/summary.json", "{\"model\":\"vit\",\"position\":\"" + position + "\",\"seed\":" + std::to_string(seed) +
                                   ",\"test_acc1\":" + accuracy + ",\"seconds\":3.5,\"images_per_s\":10.5}");
}

size_t lines_with(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

}  // namespace

TEST_CASE("report: damaged runs of a folder cost a line each, the others get their page and tables") {
  const Folder folder;
  const std::string runs = folder / "runs";
  make_run(runs + "/good1", "rope", 1, "0.5");
  make_run(runs + "/good2", "rope", 2, "0.75");
  make_run(runs + "/deep/good3", "none", 1, "0.25");
  for (const char* bad : {"cut", "pipe", "link", "noconfig", "nometrics", "zero"})
    make_run(runs + "/bad_" + bad, "rope", 1, "0.5");
  write(runs + "/bad_cut/summary.json", "{\"model\": \"vi");
  fs::remove(runs + "/bad_pipe/metrics.jsonl");
  REQUIRE(::mkfifo((runs + "/bad_pipe/metrics.jsonl").c_str(), 0600) == 0);
  fs::remove(runs + "/bad_link/summary.json");
  fs::create_symlink("gone", runs + "/bad_link/summary.json");
  fs::remove(runs + "/bad_noconfig/config.toml");
  fs::remove(runs + "/bad_nometrics/metrics.jsonl");
  fs::remove(runs + "/bad_zero/metrics.jsonl");
  fs::create_symlink("/dev/zero", runs + "/bad_zero/metrics.jsonl");
  make_run(runs + "/diverged", "rope", 3, "1.0");
  write(runs + "/diverged/metrics.jsonl",
        "{\"epoch\":1,\"split\":\"test\",\"loss\":-nan,\"acc1\":1,\"lr\":0.1}\n");  // as versions before wrote it
  fs::create_directories(runs + "/notes");
  write(runs + "/notes/readme.txt", "no run");

  const Result r = tessera({"report", runs}, {.seconds = 30});
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(r.out.empty());
  CHECK(r.errors().empty());
  for (const char* bad : {"bad_cut/summary.json", "bad_pipe/metrics.jsonl", "bad_link/summary.json", "bad_noconfig",
                          "bad_nometrics", "bad_zero/metrics.jsonl"}) {
    CAPTURE(bad);
    CHECK(lines_with(r.err, bad) == 1);
  }
  CHECK(lines_with(r.err, "skipped\n") == 7);  // six and their sum
  CHECK(lines_with(r.err, "4 runs, 6 skipped") == 1);
  CHECK(lines_with(r.err, "diverged/metrics.jsonl:1") == 1);
  CHECK(read(runs + "/results.csv") ==
        "run,model,position,seed,group,group.test_acc1.mean,group.test_acc1.n,group.test_acc1.sd,test_acc1\n"
        "deep/good3,vit,none,1,1,0.25,1,,0.25\n"
        "diverged,vit,rope,3,2,0.625,2,0.1767766952966369,\n"
        "good1,vit,rope,1,2,0.625,2,0.1767766952966369,0.5\n"
        "good2,vit,rope,2,2,0.625,2,0.1767766952966369,0.75\n");
  CHECK(read(runs + "/timings.csv").starts_with("run,group,seconds,images_per_s,"));
  CHECK(lines_with(read(runs + "/timings.csv"), ",3.5,10.5,") == 4);
  CHECK(read(runs + "/report.html").find("4 runs compared") != std::string::npos);
  CHECK(read(runs + "/report.html").find("100.00 %") == std::string::npos);
}

TEST_CASE("report: when no run can be read it is an error and nothing is written") {
  const Folder folder;
  for (const char* name : {"a", "b"}) {
    make_run(folder / name, "rope", 1, "0.5");
    write(folder / name + "/summary.json", "{");
  }
  check_refused(tessera({"report", folder / "a"}), 1, {"a/summary.json"});
  check_refused(tessera({"report", folder.path()}), 1, {"summary.json"});
  CHECK_FALSE(exists(folder / "report.html"));
  CHECK_FALSE(exists(folder / "results.csv"));
  fs::remove(folder / "a/config.toml");
  check_refused(tessera({"report", folder / "a"}), 1, {"config.toml"});
  check_refused(tessera({"report", folder / "nothing"}), 1, {"nothing"});
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  check_refused(tessera({"report", folder / "pipe"}), 1, {"pipe"});
}

}  // namespace tessera::test
