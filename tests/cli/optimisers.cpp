// The optimisers, schedules and sizes of images from the command line: runs that end, go on after a kill, and words that are refused.
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>
#include <tuple>

#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;
bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

std::vector<std::string> plus(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Every word that makes a run of its own kind.
const std::vector<std::vector<std::string>>& kinds() {
  static const std::vector<std::vector<std::string>> all = {
      {"optim.opt=lion", "sched.sched=linear", "optim.lr_scale=head.*=3, pos_embed=0.5"},
      {"optim.opt=muon", "sched.sched=triangular", "sched.warmup_epochs=0", "sched.peak=0.25", "optim.layer_decay=0.9"},
      {"optim.opt=schedule_free_adamw", "sched.sched=constant"},
      {"optim.opt=sam", "optim.rho=0.1"},
      {"optim.opt=sam", "optim.base_optimizer=sgd", "optim.momentum=0.8", "optim.lr=0.05"},
      {"data.progressive=16@0, 24@1.5, 32@3"}};
  return all;
}

using WordsOf = std::function<std::vector<std::string>(const std::string& out)>;

/// Runs `words` to the end, and once more until it is killed behind its first checkpoint, to go on with so many threads: equal weights.
void same_after_a_kill(const WordsOf& words, const std::string& run, const std::string& killed, const char* threads) {
  const Result whole = tessera(words(run));
  INFO(whole.err);
  REQUIRE(whole.code == 0);
  int code = 0;
  for (int tries = 0; tries < 20 && code != 128 + SIGKILL; ++tries) {  // until one was alive when it was killed
    std::filesystem::remove_all(killed);
    Process p(words(killed));
    for (int i = 0; i < 6000 && p.running() && !exists(killed + "/last.ckpt"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    p.signal(SIGKILL);
    code = p.wait().code;
  }
  REQUIRE(code == 128 + SIGKILL);
  REQUIRE(exists(killed + "/last.ckpt"));
  const Result resumed = tessera({"train", "--resume", killed, "--threads", threads});
  INFO(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(read(killed + "/weights.safetensors") == read(run + "/weights.safetensors"));
}

}  // namespace

TEST_CASE("train: every optimiser ends, has the same bits from its config.toml, and goes on after a kill") {
  for (const auto& kind : kinds()) {
    CAPTURE(kind[0]);
    const Folder folder;
    const std::string run = folder / "run", killed = folder / "killed", again = folder / "again";
    const auto words = [&](const std::string& out) {
      return plus(tiny_run(out, {"--epochs", "6", "data.train_size=200", "train.checkpoint_steps=3"}), kind);
    };
    same_after_a_kill(words, run, killed, "3");
    CHECK(json::parse(read(run + "/summary.json")).at("ended") == "epochs");
    REQUIRE(tessera({"train", run + "/config.toml", "--out", again, "--threads", "1"}).code == 0);
    CHECK(read(again + "/weights.safetensors") == read(run + "/weights.safetensors"));
    const Result e = tessera({"eval", "--run", run, "--json"});
    REQUIRE(e.code == 0);
    CHECK(json::parse(e.out).at("acc1").get<double>() ==
          doctest::Approx(json::parse(read(run + "/summary.json")).at("test_acc1").get<double>()));
  }
}

TEST_CASE(
    "train: after a kill more threads than shards go on with the same bits, in bf16 and with BatchNorm over a batch") {
  const std::vector<std::string> net = {"--model", "resnet20", "model.depths=[1,1]", "model.widths=[8,12]"};
  const std::vector<std::string> whole = plus(net, {"train.batchnorm=batch"});
  for (const auto& [kind, precision, threads] : {std::tuple{std::vector<std::string>{}, "bf16", "16"},
                                                 {std::vector<std::string>{"train.shard_size=16"}, "f32", "5"},
                                                 {net, "bf16", "5"},
                                                 {whole, "f32", "16"},
                                                 {whole, "bf16", "2"}}) {
    CAPTURE(precision);
    CAPTURE(threads);
    const Folder folder;
    const WordsOf words = [&, kind = kind, precision = precision](const std::string& out) {
      std::vector<std::string> some = tiny_run(out, {});
      if (!kind.empty() && kind[0] == "--model")  // a network of another family has none of the Transformer's sizes
        std::erase_if(some, [](const std::string& w) { return w.starts_with("model."); });
      return plus(plus(some, {"--epochs", "6", "data.train_size=200", "train.checkpoint_steps=3", "--threads", "1",
                              "--precision", precision}),
                  kind);
    };
    same_after_a_kill(words, folder / "run", folder / "killed", threads);
  }
}

TEST_CASE("train: an optimiser named on the command line has values of its own, not those of the recipe") {
  const Folder folder;
  write(folder / "r.toml", "[optim]\nopt = \"adamw\"\nlr = 0.003\nclip_grad = 1.0\n");
  const auto help = [&](const std::vector<std::string>& more) {
    return tessera(plus({"train", folder / "r.toml", "--help"}, more)).out;
  };
  const std::string muon = help({"optim.opt=muon"});
  for (const char* said : {"optim.lr=0.02", "optim.momentum=0.95", "optim.nesterov=true", "optim.clip_grad=1"})
    CHECK_MESSAGE(has(muon, said), said);
  CHECK(has(help({"optim.opt=muon", "optim.lr=0.1"}), "optim.lr=0.1"));
  CHECK(has(help({"optim.opt=sam"}), "optim.lr=0.003"));  // it is AdamW that takes its steps
  CHECK(has(help({}), "optim.lr=0.003"));
  const Result r = tessera(plus({"train", folder / "r.toml", "--data", "where", "--max-steps", "1",
                                 "data.train_size=32", "data.test_size=16", "--out", folder / "run"},
                                {"optim.opt=lion"}));
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(has(r.err, "replaces the learning rate"));
  CHECK(has(read(folder / "run/config.toml"), "lr = 0.0001\n"));
}

TEST_CASE("train: what an optimiser, a schedule or a size does not take is one line and leaves no run") {
  const Folder folder;
  const auto refused = [&](int code, const std::vector<std::string>& more, const std::vector<std::string>& words) {
    check_refused(tessera(tiny_run(folder / "run", more)), code, words);
    CHECK(!exists(folder / "run/metrics.jsonl"));
  };
  refused(2, {"optim.opt=adam"}, {"optim.opt", "adamw"});
  refused(2, {"optim.opt=muonn"}, {"muon"});
  refused(2, {"optim.ns_step=3"}, {"optim.ns_steps"});
  refused(2, {"optim.opt=lion", "optim.eps=1e-6"}, {"optim.eps", "does nothing", "optim.opt=lion"});
  refused(2, {"optim.opt=muon", "optim.rho=0.1"}, {"optim.rho", "optim.opt=sam"});
  refused(2, {"optim.opt=sam", "optim.base_optimizer=muon"}, {"base_optimizer", "adamw | sgd"});
  refused(2, {"optim.opt=schedule_free_adamw"}, {"sched.sched=constant"});
  refused(2, {"optim.lr_scale=head"}, {"optim.lr_scale", "PATTERN=FACTOR"});
  refused(1, {"optim.lr_scale=heat.*=2"}, {"optim.lr_scale", "heat.*"});
  refused(2, {"sched.peak=0.3"}, {"sched.peak", "triangular"});
  refused(2, {"data.progressive=16"}, {"data.progressive", "SIZE@EPOCH"});
  refused(2, {"data.progressive=16@1"}, {"data.progressive"});
  refused(2, {"data.progressive=16@0,24@0"}, {"data.progressive"});
  refused(1, {"data.progressive=64@0"}, {"data.progressive", "larger"});
  refused(2, {"data.progressive=13@0"}, {"data.progressive", "13 x 13"});
}

}  // namespace tessera::test
