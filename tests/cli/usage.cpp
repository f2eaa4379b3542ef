// The first screens, and words that no option takes.
#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/cli/program.h"

namespace tessera::test {

TEST_CASE("--help and --version") {
  for (const auto& args : {std::vector<std::string>{}, {"--help"}, {"-h"}}) {
    const Result r = tessera(args);
    CHECK(r.code == 0);
    CHECK(r.err.empty());
    CHECK(r.out.find("tessera train") != std::string::npos);
    CHECK(std::count(r.out.begin(), r.out.end(), '\n') <= 40);  // one screen
    for (const char* name :
         {"train", "eval", "predict", "forward", "init", "inspect", "models", "positions", "bench", "data", "report"})
      CHECK_MESSAGE(r.out.find("\n  " + std::string(name) + " ") != std::string::npos, name);
  }
  const Result version = tessera({"--version"});
  CHECK(version.code == 0);
  CHECK(version.out.starts_with("tessera "));
  CHECK(version.out.find("OpenBLAS") != std::string::npos);
  const Result scalar = tessera({"--version"}, {.env = {"TESSERA_ISA=scalar"}});
  CHECK(scalar.out.find("scalar") != std::string::npos);
}

TEST_CASE("every subcommand has its help") {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"train"},
                                                {"eval"},
                                                {"predict"},
                                                {"forward"},
                                                {"init"},
                                                {"inspect"},
                                                {"models"},
                                                {"positions"},
                                                {"bench"},
                                                {"bench", "train"},
                                                {"bench", "infer"},
                                                {"bench", "ops"},
                                                {"data"},
                                                {"data", "get"},
                                                {"data", "info"},
                                                {"data", "make"},
                                                {"report"}}) {
    auto args = words;
    args.push_back("--help");
    const Result r = tessera(args);
    CAPTURE(words[0]);
    CHECK(r.code == 0);
    CHECK(r.err.empty());
    CHECK(r.out.find(words.back()) != std::string::npos);
  }
}

TEST_CASE("train --help explains every key of the model") {
  for (const char* name : {"vit", "simple_vit", "swin"}) {
    const Result r = tessera({"train", "--model", name, "--help"});
    CAPTURE(name);
    size_t keys = 0;
    std::istringstream lines(r.out);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  model.")) continue;
      ++keys;
      CHECK_MESSAGE(line.find(' ', 2) != std::string::npos, line);
    }
    CHECK(keys > 8);
  }
}

TEST_CASE("train --help explains every key of the position") {
  const auto lines_of = [](const std::vector<std::string>& args) {
    size_t keys = 0;
    const Result r = tessera(args);
    CHECK(r.code == 0);
    std::istringstream lines(r.out);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  position.") || line.starts_with("  position.name=")) continue;
      ++keys;
      CHECK_MESSAGE(line.find(' ', 2) != std::string::npos, line);
    }
    return keys;
  };
  CHECK(lines_of({"train", "--help"}) == 6);  // of learned
  CHECK(lines_of({"train", "--model", "swin", "--help"}) == 2);
  CHECK(lines_of({"train", "--position", "irpe", "--help"}) == 5);
  CHECK(lines_of({"train", "--position", "shaw+peg", "--help"}) == 10);
  CHECK(lines_of({"inspect", "--model", "vit", "--position", "rope_axial", "--help"}) == 22);
}

TEST_CASE(
    "help shows the values in force: of options, of key=value, of a recipe, of the model and encoding they choose") {
  const auto shows = [](std::vector<std::string> args, const std::vector<std::string>& lines) {
    args.emplace_back("--help");
    const Result r = tessera(args);
    CHECK(r.code == 0);
    for (const std::string& line : lines)
      CHECK_MESSAGE(r.out.find("\n  " + line + " ") != std::string::npos, args[0] << ": " << line);
    return r.out;
  };
  // every option that stands for a key says so
  shows({"train", "--model",     "swin", "--position",   "shaw", "--data",        "mnist", "--data-dir",
         "d",     "--epochs",    "5",    "--batch-size", "7",    "--lr",          "0.5",   "--seed",
         "11",    "--precision", "bf16", "--accumulate", "2",    "--max-minutes", "3",     "--max-steps",
         "4"},
        {"model.name=swin", "position.name=shaw", "data.name=mnist", "data.dir=d", "train.epochs=5",
         "train.batch_size=7", "optim.lr=0.5", "train.seed=11", "train.precision=bf16", "train.accumulate=2",
         "train.max_minutes=3", "train.max_steps=4"});
  shows({"train", "model.name=swin", "optim.betas=[0.8,0.9]", "window_size=8"},
        {"model.name=swin", "optim.betas=[0.8, 0.9]", "model.window_size=8", "position.name=relative_position_bias"});
  const std::string recipe = shows({"train", "swin_cifar10_small"}, {"model.window_size=4"});
  CHECK(recipe.find("  model.name=vit") == std::string::npos);
  CHECK(recipe.find("  model.name=swin") != std::string::npos);
  const std::string rope = shows({"train", "--position", "rope_axial"}, {"position.name=rope_axial"});
  CHECK(rope.find("position.name=learned") == std::string::npos);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"inspect"}, {"init"}, {"forward"}, {"bench", "train"}, {"bench", "infer"}}) {
    std::vector<std::string> words = command;
    words.insert(words.end(),
                 {"--model", "vit_tiny_patch4_32", "--position", "shaw", "depth=3", "position.max_distance=9"});
    const std::string out = shows(words, {"model.name=vit_tiny_patch4_32", "model.depth=3", "model.embed_dim=192",
                                          "position.name=shaw", "position.max_distance=9"});
    CHECK((out.find("train.shard_size=0") != std::string::npos) == (command[0] == "bench"));
  }
  shows({"bench", "ops"}, {"model.name=vit_tiny_patch4_32"});
  CHECK(shows({"inspect", "--model", "vit", "depht=3"}, {}).find("model.depth?") != std::string::npos);
}

TEST_CASE("help with a word that is wrong says so, and shows all keys without it") {
  const auto shows = [](std::vector<std::string> args, const std::vector<std::string>& words) {
    args.emplace_back("--help");
    const Result r = tessera(args);
    CHECK(r.code == 0);
    for (const std::string& word : words) CHECK_MESSAGE(r.out.find(word) != std::string::npos, args[1] << ": " << word);
  };
  shows({"train", "nosuch"}, {"nosuch is neither a file", "\n  model.name=vit ", "\n  optim.lr="});
  shows({"train", "--model", "swin", "nosuch"}, {"nosuch is neither a file", "\n  model.window_size="});
  shows({"train", "--model", "swim", "--lr", "fast"},
        {"did you mean \"swin\"?", "\n  model.name=vit ", "\n  optim.lr="});
  shows({"inspect", "--model", "swin", "depht=3"}, {"depht", "\n  model.window_size="});
  shows({"inspect", "--model", "swim"}, {"did you mean \"swin\"?", "\n  model.name=vit "});
}

TEST_CASE("help gives the domain of every key: words or a range") {
  std::istringstream lines(tessera({"train", "--help"}).out);
  size_t words = 0, ranges = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  --precision")) CHECK(line.find("f32 | bf16") != std::string::npos);
    for (const char* key : {"model.", "optim.", "sched.", "train.", "augment.", "data."}) {
      if (!line.starts_with(std::string("  ") + key)) continue;
      words += line.find(" | ") != std::string::npos,
          ranges += line.find(" to ") != std::string::npos || line.find(", ") != std::string::npos;
    }
  }
  CHECK(words >= 5);
  CHECK(ranges >= 40);
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"forward"}, {"bench", "train"}, {"bench", "infer"}, {"bench", "ops"}}) {
    std::vector<std::string> all = args;
    all.emplace_back("--help");
    const std::string out = tessera(all).out;
    const size_t at = out.find("--precision");
    REQUIRE(at != std::string::npos);
    CHECK(out.substr(at, 160).find("f32") != std::string::npos);
    CHECK(out.substr(at, 160).find("bf16") != std::string::npos);
  }
}

TEST_CASE("wrong usage exits with 2 and suggests the nearest name") {
  check_refused(tessera({"trian"}), 2, {"trian", "train"});
  check_refused(tessera({"train", "--epoch", "3"}), 2, {"--epoch", "--epochs"});
  check_refused(tessera({"train", "optim.lrr=3"}), 2, {"optim.lrr", "optim.lr"});
  check_refused(tessera({"train", "optim.lr=fast"}), 2, {"optim.lr", "fast", "number"});
  check_refused(tessera({"train", "--epochs", "three"}), 2, {"epochs", "three"});
  check_refused(tessera({"train", "vit_cifar10_smal"}), 2, {"vit_cifar10_smal", "vit_cifar10_small"});
  check_refused(tessera({"inspect", "--model", "vot"}), 2, {"vot", "vit"});
  check_refused(tessera({"inspect", "--model", "vit", "--position", "learnt"}), 2, {"learnt", "learned"});
  check_refused(tessera({"inspect", "--model", "vit", "dept=3"}), 2, {"dept", "depth"});
  check_refused(tessera({"inspect", "--model", "vit", "model.patch_size=5", "img_size=32"}), 2, {"5", "32"});
  check_refused(tessera({"inspect"}), 2, {"--model"});
  check_refused(tessera({"forward", "--model", "vit"}), 2, {"required"});
  check_refused(tessera({"models", "extra"}), 2, {"extra"});
  check_refused(tessera({"data"}), 2, {"data"});
  check_refused(tessera({"bench", "ops", "--steps", "3"}), 2, {"--steps", "tessera bench ops --help"});
  check_refused(tessera({"inspect", "--model", "vit", "--position", "learned+"}), 2, {"learned+", "missing"});
  check_refused(tessera({"inspect", "--model", "vit", "depth=2000000000"}), 2, {"depth", "2000000000"});
  check_refused(tessera({"inspect", "--model", "vit", "mlp_ratio=1e300"}), 2, {"mlp_ratio", "1e+300"});
  check_refused(tessera({"inspect", "--model", "vit"}, {.env = {"TESSERA_THREADS=x"}}), 2, {"TESSERA_THREADS=x"});
  check_refused(tessera({"models"}, {.env = {"TESSERA_ISA=mmx"}}), 2, {"TESSERA_ISA=mmx", "avx2"});
  check_refused(tessera({"inspect", "--model", "vit", "--threads", "0"}), 2, {"threads"});
}

TEST_CASE("an error that names a folder says which one was meant") {
  const Folder folder;
  const std::string none = folder / "nowhere", weights = folder / "run/weights.safetensors",
                    made = "tessera train --out";
  std::filesystem::create_directories(folder / "run");
  std::filesystem::create_directories(folder / "empty");
  write(folder / "run/config.toml", "[train]\nepochs = 1\n");
  write(weights, "");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"eval", "--run"}, {"predict", "cat.png", "--run"}, {"measure"}}) {
    std::vector<std::string> args = words;
    args.push_back(none);
    check_refused(tessera(args), 1, {none, "name the folder that", made});
    args.back() = weights;
    check_refused(tessera(args), 1, {weights, "name the folder, " + (folder / "run")});
  }
  check_refused(tessera({"report", none}), 1, {none, made, "tessera ablate --out"});
  check_refused(tessera({"report", folder / "empty"}), 1, {"config.toml and metrics.jsonl"});
  for (const char* kind : {"imagefolder:", "audiofolder:"})
    check_refused(tessera({"data", "info", kind + none}), 1, {none, "train/CLASS/*."});
  check_refused(tessera({"data", "info", "cifar10:" + none}), 1, {none, "data_batch_1.bin"});
}

TEST_CASE("data get and data make know what they can do, and no other set") {
  const auto refused = [](const std::vector<std::string>& words, const std::vector<std::string>& said) {
    const Result r = tessera(words);
    check_refused(r, 2, said);
    for (const char* other : {"imagefolder", "audiofolder", "sequences"})
      CHECK_MESSAGE(r.err.find(std::string(other) + ",") == std::string::npos, r.err);
  };
  refused({"data", "get", "imagenet"}, {"imagenet", "known: cifar10, cifar100, mnist, fashion-mnist"});
  refused({"data", "get", "fashion-mnst"}, {"did you mean \"fashion-mnist\"?"});
  refused({"data", "get", "where:quadrant"}, {"nothing to fetch; known are cifar10"});
  refused({"data", "make", "relation", "--out", "d"}, {"relation", "where:relation"});
  refused({"data", "make", "cifar10", "--out", "d"}, {"cifar10", "where, where:quadrant"});
  refused({"data", "make", "where:relatoin", "--out", "d"}, {"did you mean \"relation\"?"});
}

TEST_CASE("one beam is too wide for eval and predict alike") {
  for (const char* command : {"eval", "predict"}) {
    check_refused(tessera({command, "--run", "nowhere", "--beam", "1025"}), 2, {"beam", "1024"});
    CHECK(tessera({command, "--help"}).out.find("[1 - 1024]") != std::string::npos);
  }
}

TEST_CASE("TOML: syntax errors with line and column, wrong types with what was expected") {
  const Folder folder;
  const auto recipe = [&](const std::string& text, const std::vector<std::string>& words) {
    write(folder / "r.toml", text);
    CAPTURE(text);
    check_refused(tessera({"train", folder / "r.toml", "--out", folder / "run"}), 2, words);
    CHECK(folder.list() == std::vector<std::string>{"r.toml"});
  };
  recipe("[train]\nepochs = = 3\n", {"r.toml:2:10"});
  recipe("[train]\nepochs = 3\nepochs = 4\n", {"r.toml:3"});
  recipe("[train]\nepochs = \"many\"\n", {"r.toml:2", "train.epochs", "many", "integer"});
  recipe("[train]\nepocs = 3\n", {"r.toml:2", "train.epocs", "train.epochs"});
  recipe("[trian]\nepochs = 3\n", {"trian"});
  recipe("[model]\nembed_dimm = 3\n", {"embed_dimm", "embed_dim"});
  recipe("[train]\nepochs = 1979-05-27\n", {"r.toml:2"});
  recipe("[train]\nepochs = 99999999999\n", {"r.toml:2", "32 bits"});
}

TEST_CASE("lists: models, positions") {
  for (const char* what : {"models", "positions"}) {
    const Result text = tessera({what}), json = tessera({what, "--json"});
    CHECK(text.code == 0);
    CHECK(json.code == 0);
    CHECK(json.err.empty());
    CHECK(json.out.starts_with("[{\"name\":"));
    CHECK(json.out.ends_with("}]\n"));
  }
  CHECK(tessera({"positions"}).out.find("learned") != std::string::npos);
  std::istringstream models(tessera({"models"}).out);
  for (std::string line; std::getline(models, line);) CHECK_MESSAGE(line.size() <= 80, line);
}

}  // namespace tessera::test
