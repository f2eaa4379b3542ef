// Recordings from the command line: described, trained on, evaluated, asked about; and files that are none.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"
#include "tests/unit/data_wav.h"

namespace fs = std::filesystem;

namespace tessera::test {
namespace {

using nlohmann::json;

struct Tones {
  Folder folder;
  explicit Tones(int n = 12) { write_tones(*this, "tones", n); }
  void write(const std::string& name, const std::string& bytes) const {
    fs::create_directories(fs::path(folder / name).parent_path());
    test::write(folder / name, bytes);
  }
  std::string spec() const { return "audiofolder:" + folder / "tones"; }
  /// A small Conformer.
  std::vector<std::string> run(const std::string& name, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"train",
                                     "conformer_fsdd",
                                     "--data",
                                     spec(),
                                     "--model",
                                     "conformer",
                                     "--epochs",
                                     "6",
                                     "--batch-size",
                                     "8",
                                     "model.embed_dim=16",
                                     "model.num_layers=1",
                                     "model.num_heads=2",
                                     "optim.lr=0.01",
                                     "sched.warmup_epochs=0",
                                     "--out",
                                     folder / name};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

}  // namespace

TEST_CASE("data info of recordings: classes, lengths, padding, one rate") {
  const Tones tones(60);
  const Result r = tessera({"data", "info", tones.spec(), "--json"});
  REQUIRE(r.code == 0);
  const json info = json::parse(r.out);
  CHECK(info["sample_rate"] == 8000);
  CHECK(info["train"]["histogram"] == json({60, 60}));
  CHECK(info["train"]["lengths"]["min"] == 6);
  CHECK(info["train"]["mean"].size() == 40);
  CHECK(info["train"]["padding"]["drawn"] > info["train"]["padding"]["bucketed"]);
  CHECK(tessera({"data", "info", tones.spec()}).out.find("steps of 40 features") != std::string::npos);
  check_refused(tessera({"data", "info", "fsdd", "--data-dir", tones.folder.path()}, {.folder = tones.folder.path()}),
                1, {"fsdd was not found", "github.com/Jakobovski"});
  check_refused(tessera({"data", "get", "fsdd"}), 2, {"there is nothing to fetch"});
  check_refused(tessera({"data", "info", tones.spec(), "--img-size", "32"}), 2, {"--img-size"});
}

TEST_CASE("a run on recordings is trained, evaluated and asked, by the normalisation it was trained with") {
  const Tones tones;
  REQUIRE(tessera(tones.run("run")).code == 0);
  CHECK(read(tones.folder / "run/report.html").find("test") != std::string::npos);
  const std::string rundir = tones.folder / "run";
  const Result eval = tessera({"eval", "--run", rundir, "--json"});
  REQUIRE(eval.code == 0);
  const json result = json::parse(eval.out);
  CHECK(result["sequences"] == 6);
  CHECK(result["acc1"] == json::parse(read(rundir + "/summary.json"))["test_acc1"]);
  // a single recording is answered as it was in the test: other recordings change neither its frames nor their normalisation
  fs::rename(tones.folder / "tones/test", tones.folder / "test");
  const Result asked = tessera({"predict", "--run", rundir, tones.folder / "test", "--json"});
  REQUIRE(asked.code == 0);
  const json answers = json::parse(asked.out);
  REQUIRE(answers.size() == 6);
  int right = 0;
  for (const json& a : answers)
    right += a["recording"].get<std::string>().find("/" + a["classes"][0]["name"].get<std::string>() + "/") !=
             std::string::npos;
  CHECK(right == static_cast<int>(result["acc1"].get<double>() * 6 + 0.5));
  // and under other data it is normalised as it was trained
  tones.write("other/train/low/1.wav", Wav{}(tone(500, 700))),
      tones.write("other/train/high/1.wav", Wav{}(tone(2500, 900)));
  fs::copy(tones.folder / "test", tones.folder / "other/test", fs::copy_options::recursive);
  const Result other = tessera({"eval", "--run", rundir, "--data", "audiofolder:" + tones.folder / "other", "--json"});
  REQUIRE(other.code == 0);
  CHECK(json::parse(other.out)["loss"] == result["loss"]);
  check_refused(tessera({"eval", "--run", rundir, "--data", "where"}), 1, {"takes sequences of 40 features", "where"});
  check_refused(
      tessera({"eval", "--run", rundir, "--data", "audiofolder:" + tones.folder / "other", "--img-size", "8"}), 1,
      {"--img-size resizes pictures"});
}

TEST_CASE("a recording that is too short for a model is named by its file, before anything is trained") {
  const Tones tones(60);
  const Result r = tessera(tones.run("short", {"model.subsampling=4"}));
  check_refused(r, 1, {tones.folder / "tones/", ".wav", "6 frames", "subsampling=4"});
  CHECK(!exists(tones.folder / "short/metrics.jsonl"));
  CHECK(r.err.find("sample ") == std::string::npos);
}

TEST_CASE("predict goes on past what is no recording, with one line for each") {
  const Tones tones(3);
  REQUIRE(tessera(tones.run("run", {"--epochs", "1"})).code == 0);
  const std::string rundir = tones.folder / "run", good = Wav{}(tone(440, 900));
  const std::pair<const char*, std::string> bad[] = {{"empty", ""},
                                                     {"cut", good.substr(0, 700)},
                                                     {"huge", Wav{}.header(0xfffffff0) + good.substr(44)},
                                                     {"text", "hello, this is no sound"},
                                                     {"nan", Wav{.bits = 32}(std::vector<float>{0, NAN, 1})},
                                                     {"rate", Wav{.rate = 16000}(tone(440, 900, 16000))}};
  tones.write("ask/good.wav", good);
  for (const auto& [name, bytes] : bad) tones.write(std::string("ask/") + name + ".wav", bytes);
  const Result r = tessera({"predict", "--run", rundir, tones.folder / "ask", "--json"});
  CHECK(r.code == 1);
  CHECK(r.errors().size() == std::size(bad));
  for (const json& a : json::parse(r.out))
    CHECK(a.contains("classes") == (a["recording"].get<std::string>().find("good") != std::string::npos));
  for (const auto& [name, bytes] : bad) {
    check_refused(tessera({"predict", "--run", rundir, tones.folder / ("ask/" + std::string(name) + ".wav")}), 1,
                  {name});
    tones.write("tones/test/low/0.wav", bytes);
    check_refused(tessera({"data", "info", tones.spec()}), 1, {"low/0.wav"});
    check_refused(tessera(tones.run("never")), 1, {"low/0.wav"});
    CHECK_FALSE(exists(tones.folder / "never"));
  }
  check_refused(tessera({"predict", "--run", rundir, tones.folder / "none.wav"}), 1, {"none.wav"});
}

TEST_CASE(
    "options of recordings beside pictures, and of pictures beside recordings, are refused before anything is "
    "written") {
  const Tones tones(3);
  check_refused(tessera(tones.run("run", {"augment.flip=true"})), 2, {"flip works on images"});
  check_refused(tessera(tones.run("run", {"data.n_mels=500"})), 1, {"data.n_mels=500 are too many"});
  check_refused(tessera(tones.run("run", {"data.sample_rate=44100"})), 1, {"data.sample_rate is 44100"});
  check_refused(tessera(tiny_run(tones.folder / "run", {"data.n_mels=80"})), 2, {"data.n_mels does nothing"});
  check_refused(tessera(tiny_run(tones.folder / "run", {"data.bucket=2"})), 2, {"data.bucket is 2"});
  check_refused(tessera(tiny_run(tones.folder / "run", {"augment.time_masks=2"})), 2, {"time_masks masks frames"});
  CHECK_FALSE(exists(tones.folder / "run"));
}

}  // namespace tessera::test
