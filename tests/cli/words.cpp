// Words that were taken for something else, options that did nothing, and messages that sent one the wrong way.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tessera/core/sanitizer.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;

/// A run of a second, at the end of every command that is to be taken.
const std::vector<std::string> tiny = {"model.embed_dim=8",  "model.depth=1",    "model.num_heads=2",
                                       "data.train_size=16", "data.test_size=8", "train.batch_size=8",
                                       "train.epochs=1",     "data.name=where",  "train.max_steps=1"};
const char* recipe = "[data]\nname = \"where\"\n[train]\nepochs = 3\n";

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more = tiny) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("words: a precision's usual spellings are one value, stored as one") {
  const Folder folder;
  write(folder / "recipe.toml", "[data]\nname = \"where\"\n[train]\nprecision = \"float32\"\n");
  for (const auto& [said, stored] : {std::pair("fp32", "f32"), {"float32", "f32"}, {"bfloat16", "bf16"}}) {
    const std::string a = folder / said, line = fmt::format("precision = \"{}\"", stored);
    REQUIRE(tessera(with({"train", "--precision", said, "--out", a})).code == 0);
    CHECK(read(a + "/config.toml").find(line) != std::string::npos);
    REQUIRE(tessera(with({"train", std::string("train.precision=") + said, "--out", a + "k"})).code == 0);
    CHECK(read(a + "k/config.toml") == read(a + "/config.toml"));
    CHECK(nlohmann::json::parse(read(a + "k/summary.json")).at("precision") == stored);
    const Result bench = tessera({"bench", "infer", "--json", "--steps", "1", "--warmup", "0", "--precision", said,
                                  "--batch-size", "1", "--model", "vit", "embed_dim=8", "depth=1", "num_heads=2"});
    INFO(bench.err);
    REQUIRE(bench.code == 0);
    CHECK(nlohmann::json::parse(bench.out).at("precision") == stored);
  }
  REQUIRE(tessera(with({"train", folder / "recipe.toml", "--out", folder / "r"})).code == 0);
  CHECK(read(folder / "r/config.toml").find("precision = \"f32\"") != std::string::npos);
  for (const char* wrong : {"fp16", "float64", "FP32"})
    check_refused(tessera(with({"train", "--precision", wrong, "--out", folder / "no"})), 2, {wrong, "f32 | bf16"});
  const Result study = tessera(with({"ablate", "--dry-run", "--precision", "fp32,bfloat16", "--seeds", "1"}));
  INFO(study.err);
  CHECK(study.out.find("precision=bf16") != std::string::npos);
}

TEST_CASE("words: a key without its section is the model's, and no other") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  for (const auto& [word, full] : {std::pair("lr=3", "optim.lr"),
                                   {"epochs=3", "train.epochs"},
                                   {"batch_size=3", "train.batch_size"},
                                   {"batch-size=3", "train.batch_size"},
                                   {"weight_decay=0.1", "optim.weight_decay"},
                                   {"flip=true", "augment.flip"},
                                   {"seed=3", "train.seed"},
                                   {"std=0.1", "position.std"},
                                   {"data=where", "data.name"},
                                   {"img_size=64", "data.img_size"}})
    check_refused(tessera({"train", word}, here), 2, {full});
  write(folder / "r.toml", "epochs = 3\n");
  check_refused(tessera({"train", "r.toml"}, here), 2, {"r.toml:1", "train.epochs"});
  CHECK(folder.list() == std::vector<std::string>{"r.toml"});
  CHECK(tessera({"inspect", "--model", "vit", "depth=1", "img_size=16"}).code == 0);
}

TEST_CASE("words: an option with an empty value is wrong usage, in every subcommand") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  for (const char* option :
       {"--lr", "--out", "--seed", "--model", "--position", "--data", "--data-dir", "--epochs", "--batch-size",
        "--precision", "--resume", "--threads", "--max-steps", "--max-minutes", "--accumulate"}) {
    check_refused(tessera({"train", option, ""}, here), 2, {option, "empty"});
    check_refused(tessera({"train", std::string(option) + "="}, here), 2, {option});
  }
  check_refused(tessera({"train", ""}, here), 2, {"empty"});
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"inspect", "--model", ""},
           {"inspect", "--model", "vit", "--position", ""},
           {"init", "--model", "vit", "--output", ""},
           {"forward", "--model", "vit", "--weights", "", "--input", "x", "--output", "y"},
           {"eval", "--run", ""},
           {"eval", "--run", "x", "--split", ""},
           {"predict", "--run", "x", ""},
           {"report", ""},
           {"data", "info", ""},
           {"data", "make", "where", "--out", ""},
           {"positions", "--draw", ""},
           {"bench", "infer", "--precision", ""}})
    check_refused(tessera(words, here), 2, {"empty"});
  CHECK(folder.list().empty());
}

TEST_CASE("words: what is a path stays a path") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  fs::create_directories(folder / "runs/lr=0.1");
  for (const char* name : {"runs/lr=0.1/config.toml", "lr=0.1.toml", "./lr=0.2", "[x].toml", "[y]", "data.name=x.toml"})
    write(folder / name, recipe);
  int n = 0;
  for (const char* name :
       {"runs/lr=0.1/config.toml", "lr=0.1.toml", "./lr=0.2", "[x].toml", "[y]", "data.name=x.toml"}) {
    const std::string out = "out" + std::to_string(n++);
    const Result r = tessera(with({"train", name, "--out", out}), here);
    CAPTURE(r.err);
    CHECK(r.code == 0);
    CHECK(fs::exists(folder / (out + "/summary.json")));
  }
  const Result bracketed = tessera(with({"train", "where", "--out", "[z]"}), here);
  CHECK(bracketed.code == 0);
  CHECK(fs::exists(folder / "[z]/summary.json"));
  check_refused(tessera({"train", "{}"}, here), 2, {"{}"});
  check_refused(tessera({"train", "[a,b]"}, here), 2, {"[a,b]"});
  check_refused(tessera({"predict", "--run", "[z]", "[no].png"}, here), 1, {"[no].png"});
  check_refused(tessera({"train", "runs/lr=0.3/config.toml"}, here), 2, {"runs/lr=0.3/config.toml"});
  check_refused(tessera({"train", "[z]"}, here), 2, {"[z]/config.toml"});  // a folder
}

TEST_CASE("recipes that are none: empty, endless, deeply nested") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  const auto refused = [&](const std::string& text, const std::vector<std::string>& words) {
    write(folder / "r.toml", text);
    check_refused(tessera({"train", "r.toml"}, here), 2, words);
  };
  refused("", {"r.toml", "empty"});
  refused("# nothing\n\n[model]\n", {"r.toml", "empty"});
  refused("x = " + std::string(100'000, '['), {"r.toml:1", "64"});
  refused("x = " + std::string(100'000, '{'), {"r.toml:1", "64"});
  std::string dots = "a";
  for (int i = 0; i < 100'000; ++i) dots += ".a";
  refused(dots + " = 1\n", {"r.toml:1", "64"});
  refused("[" + dots + "]\nx = 1\n", {"r.toml:1", "64"});
  refused("x = \"" + std::string(2'000'000, 'x') + "\"\n", {"r.toml"});
  check_refused(tessera({"train", "/dev/zero"}, here), 2, {"/dev/zero"});
  check_refused(tessera({"train", folder.path()}, here), 2, {folder.path()});
  write(folder / "good.toml", "# [ and [0, 1) and ((( and timm's\n" + std::string(recipe));
  CHECK(tessera(with({"train", "good.toml", "--out", "run"}), here).code == 0);
}

TEST_CASE("train: of a key that is said twice the last one counts, in whichever form") {
  const auto rate = [](const std::vector<std::string>& words) {
    std::vector<std::string> all{"train", "where"};
    all.insert(all.end(), words.begin(), words.end());
    all.emplace_back("--help");
    const std::string out = tessera(all).out;
    const size_t at = out.find("  optim.lr=");
    return at == std::string::npos ? std::string() : out.substr(at + 11, out.find(' ', at + 11) - at - 11);
  };
  CHECK(rate({"optim.lr=0.5", "--lr", "0.001"}) == "0.001");
  CHECK(rate({"optim.lr=0.5", "--lr=0.001"}) == "0.001");
  CHECK(rate({"--lr", "0.001", "optim.lr=0.5"}) == "0.5");
  CHECK(rate({"optim.lr=0.5", "--lr", "0.001", "--seed", "3", "train.epochs=2", "optim.lr=0.25"}) == "0.25");
  CHECK(rate({"--lr", "0.001"}) == "0.001");
  check_refused(tessera({"inspect", "--model", "vit", "model.name=swin"}), 2, {"--model vit", "model.name=swin"});
  CHECK(tessera({"inspect", "--model", "vit", "model.name=vit"}).code == 0);
}

TEST_CASE("train: --out beside --resume may be another word for the same folder") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  REQUIRE(tessera(tiny_run("run"), here).code == 0);
  CHECK(tessera({"train", "--resume", "run", "--out", "run/"}, here).code == 0);
  CHECK(tessera({"train", "--resume", "run/", "--out", folder / "run"}, here).code == 0);
  check_refused(tessera({"train", "--resume", "run", "--out", "other"}, here), 2, {"different folders"});
}

TEST_CASE("options that do nothing are refused") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  for (const char* command : {"inspect", "init", "forward"}) {
    std::vector<std::string> words = {command, "--model", "vit"};
    if (command == std::string("init")) words.insert(words.end(), {"--output", "w.safetensors"});
    if (command == std::string("forward"))
      words.insert(words.end(), {"--weights", "w", "--input", "x", "--output", "y"});
    for (const char* key :
         {"optim.lr=3", "train.epochs=2", "data.fraction=0.5", "augment.flip=true", "sched.sched=step"})
      check_refused(tessera(with(words, {key}), here), 2, {"does nothing"});
  }
  check_refused(tessera({"bench", "infer", "train.lanes=3"}), 2, {"train.lanes", "train.shard_size"});
  check_refused(tessera({"bench", "train", "train.batch_size=3"}), 2, {"train.batch_size"});
  check_refused(tessera({"bench", "ops", "--position", "alibi"}), 2, {"--position"});
  check_refused(tessera({"bench", "ops", "--threads", "2"}), 2, {"--threads"});
  check_refused(tessera({"train", "--data", "where", "optim.momentum=0.5"}, here), 2,
                {"optim.momentum", "optim.opt=sgd"});
  check_refused(tessera({"train", "--data", "cifar10", "data.img_size=64"}, here), 2, {"data.img_size", "cifar10"});
  check_refused(tessera(with({"train", "train.eval_every=2", "--out", "run"}), here), 2,
                {"train.eval_every is 2", "data.val_size"});
  CHECK(folder.list().empty());
}

TEST_CASE("a named model does not follow data of another size in silence") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  check_refused(
      tessera({"train", "--data", "where", "--model", "vit_tiny_patch16_224", "--out", "run", "data.train_size=16"},
              here),
      2, {"224 x 224", "model.img_size=32", "vit_tiny_patch4_32", "2 x 2"});
  check_refused(tessera({"train", "--data", "where", "--model", "swin_tiny_patch4_window7_224", "--out", "run",
                         "data.train_size=16"},
                        here),
                2, {"224 x 224", "swin_cifar_small"});
  CHECK(folder.list().empty());
}

TEST_CASE("position options that make no sense exit with 2 everywhere") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  const std::vector<std::vector<std::string>> commands = {
      {"train", "--data", "where", "--out", "run"},
      {"inspect"},
      {"init", "--output", "w.safetensors"},
      {"forward", "--weights", "w", "--input", "x", "--output", "y"},
      {"bench", "infer"},
      {"bench", "train"}};
  for (const auto& command : commands) {
    const auto bad = [&](const char* position, const char* key, const std::vector<std::string>& facts) {
      check_refused(tessera(with(command, {"--model", "vit", "--position", position, key}), here), 2, facts);
    };
    bad("rope_axial", "position.theta=-1", {"position.theta"});
    bad("shaw", "position.max_distance=2147483647", {"position.max_distance", "65536"});
    bad("t5", "position.max_distance=3", {"max_distance"});
    bad("peg", "position.after=[40]", {"block 40"});
    bad("huang4+learned", "position.learned.std=nan", {"std"});
  }
  CHECK(folder.list().empty());
}

TEST_CASE("messages that name what to say instead") {
  const auto swin = [](const char* key, const std::vector<std::string>& facts) {
    check_refused(tessera({"inspect", "--model", "swin", key}), 2, facts);
  };
  swin("model.ape=true", {"learned+relative_position_bias"});
  swin("model.img_size=[24,40]", {"model.img_width"});
  swin("model.patch_sise=2", {"model.patch_size"});
  swin("model.quux=2", {"swin", "model.quux", "window_size"});  // the keys it has
  swin("model.qk_scale=-1", {"model.qk_scale"});
  CHECK(tessera({"inspect", "--model", "swin", "model.global_pool=avg"}).code == 0);
  check_refused(tessera({"inspect", "--model", "vit", "model.lr=3"}), 2, {"model.lr"});
  const Folder folder;
  const Result missing = tessera(
      {"forward", "--model", "vit", "--weights", folder / "w", "--input", folder / "x", "--output", folder / "y"});
  check_refused(missing, 1, {folder / "w"});
  CHECK(missing.err.find("create the folder") == std::string::npos);
}

TEST_CASE("help says what is chosen and what may be said") {
  const std::string help = tessera({"train", "--position", "rope_axial", "--help"}).out;
  CHECK(help.find("position.name=rope_axial") != std::string::npos);
  CHECK(help.find("position.name=learned") == std::string::npos);
  CHECK(help.find("adamw | sgd") != std::string::npos);
  CHECK(help.find("f32 | bf16") != std::string::npos);
  CHECK(help.find("[0, 1)") != std::string::npos);
  CHECK(tessera({"inspect", "--model", "vit", "--position", "shaw", "--help"}).out.find("(0 to 65536)") !=
        std::string::npos);
}

TEST_CASE("seeds have 64 bits in train and in init") {
  const Folder folder;
  const RunOptions here{.folder = folder.path()};
  CHECK(tessera(with({"train", "--seed", "9223372036854775807", "--out", "run"}), here).code == 0);
  CHECK(read(folder / "run/summary.json").find("9223372036854775807") != std::string::npos);
  CHECK(tessera(with({"train", "run/config.toml", "--out", "again"}, {}), here).code == 0);
  check_refused(tessera({"train", "--seed", "9223372036854775808"}, here), 2, {"train.seed"});
  check_refused(tessera({"train", "--seed", "-1"}, here), 2, {"train.seed"});
  check_refused(tessera({"init", "--model", "vit", "--seed", "-1", "--output", "w"}, here), 2, {"--seed"});
  CHECK(tessera({"init", "--model", "vit", "--seed", "9223372036854775807", "--output", "w"}, here).code == 0);
}

// sanitizers reserve more addresses than the limit allows
TEST_CASE("commands that compute nothing need no memory for products, and the others say that there is none" *
          doctest::skip(TESSERA_ASAN || TESSERA_TSAN)) {
  const Folder folder;
  const auto limited = [&](const std::string& words, int kilobytes) {
    const std::string command = "ulimit -v " + std::to_string(kilobytes) +
                                "; exec timeout -s KILL 20 " TESSERA_PROGRAM " " + words + " >" + (folder / "out") +
                                " 2>" + (folder / "err");
    return WEXITSTATUS(std::system(("sh -c '" + command + "'").c_str()));
  };
  for (const int kilobytes : {200'000, 300'000}) {
    CHECK(limited("positions", kilobytes) == 0);
    CHECK(limited("--version", kilobytes) == 0);
    CHECK(limited("inspect --model vit --help", kilobytes) == 0);
    const int code = limited("inspect --model vit", kilobytes);
    CHECK((code == 0 || code == 1));  // an error of one line, or a BLAS that needs less; never killed after 20 seconds
  }
}

}  // namespace tessera::test
