// The first screens, and words that no option takes.
#include <algorithm>
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
  CHECK(lines_of({"inspect", "--model", "vit", "--position", "rope_axial", "--help"}) == 7);
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
}

}  // namespace tessera::test
