// Made sequences through the commands: trained on by the recipe, evaluated with a beam, refused where they do not fit.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace tessera::test {

TEST_CASE("sequences: a Transformer is trained, its answers are decoded, and both counts agree") {
  const Folder folder;
  const std::string run = folder / "run";
  const Result trained =
      tessera({"train", "transformer_reverse", "--out", run, "data.name=sequences:copy,length=1-3,symbols=3",
               "data.train_size=30", "data.val_size=5", "data.test_size=4", "model.d_model=16", "model.nhead=2",
               "model.dim_feedforward=16", "train.epochs=2", "train.batch_size=8", "--threads", "1"});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  for (const char* beam : {"1", "3"}) {
    const Result r = tessera({"eval", "--run", run, "--split", "train", "--beam", beam, "--json"});
    INFO(r.err);
    REQUIRE(r.code == 0);
    const auto e = nlohmann::json::parse(r.out);
    CHECK(e["sequences"] == 30);
    if (beam == std::string("1")) CHECK(e["decoded"] == e["acc1"]);
    CHECK(e["token_error_rate"].get<double>() >= 0);
  }
  const Result text = tessera({"eval", "--run", run});
  CHECK(text.code == 0);
  CHECK(text.out.find("greedy") != std::string::npos);
  for (const char* beam : {"1", "3"}) {
    const Result typed =
        tessera({"predict", "--run", run, "--tokens", "0 2 1", "--tokens", "1", "--beam", beam, "--json"});
    INFO(typed.err);
    REQUIRE(typed.code == 0);
    const auto all = nlohmann::json::parse(typed.out);
    REQUIRE(all.size() == 2);
    CHECK(all[0]["tokens"] == nlohmann::json({0, 2, 1}));
    CHECK(all[1]["tokens"] == nlohmann::json::array({1}));
    for (const auto& a : all) {
      CHECK(a["beam"] == std::stoi(beam));
      CHECK(a["log_probability"].get<double>() <= 0);
      for (const auto& symbol : a["answer"]) CHECK((symbol.is_null() || (symbol >= 0 && symbol < 3)));
    }
  }
  const Result line = tessera({"predict", "--run", run, "--tokens", "0,2"});
  CHECK(line.code == 0);
  CHECK(line.out.find("0,2:  ") == 0);
  CHECK(line.out.find("log probability") != std::string::npos);
  const Result some =
      tessera({"predict", "--run", run, "--tokens", "0 3", "--tokens", "x", "--tokens", " ", "--tokens", "2"});
  CHECK(some.code == 1);
  CHECK(some.errors().size() == 3);
  CHECK(some.errors()[0].find("symbols from 0 to 2") != std::string::npos);
  CHECK(some.out.find("2:  ") == 0);
  const std::string sums = folder / "sums";
  REQUIRE(tessera({"train", "transformer_reverse", "--out", sums, "data.name=sequences:add", "--max-steps", "1",
                   "data.train_size=30", "data.val_size=5", "data.test_size=4", "model.d_model=16", "model.nhead=2",
                   "model.dim_feedforward=16", "train.batch_size=8"})
              .code == 0);
  CHECK(tessera({"predict", "--run", sums, "--tokens", "3 + 2", "--tokens", "3 10 2"}).code == 0);
  for (const char* word : {"10x 2", "10+ 2", "++ 2", "10.0 2", "+1 2", "3x 2"})
    check_refused(tessera({"predict", "--run", sums, "--tokens", word}), 1, {"expected symbols from 0 to 10 or +"});
  check_refused(tessera({"predict", "--run", run, "--tokens", "1 + 2"}), 1, {"+ in 1 + 2", "symbols from 0 to 2"});
  check_refused(tessera({"predict", "--run", run}), 2, {"--tokens"});
  check_refused(tessera({"predict", "--run", run, "x.png", "--tokens", "1"}), 2, {"different models"});
  check_refused(tessera({"predict", "--run", run, "--top", "3", "--tokens", "1"}), 2, {"--top"});
  check_refused(tessera({"predict", "--run", run, "--beam", "3", "x.png"}), 2, {"--beam"});
  REQUIRE(tessera(tiny_run(folder / "pictures")).code == 0);
  check_refused(tessera({"predict", "--run", folder / "pictures", "--tokens", "1"}), 1, {"sequences with sequences"});
  const Result predicted = tessera({"predict", "--run", run, run + "/config.toml"});
  CHECK(predicted.code != 0);
  CHECK(predicted.errors().size() == 1);
}

TEST_CASE("sequences: what does not go together is refused with one line") {
  const auto refused = [](const std::vector<std::string>& args, const char* why) {
    const Result r = tessera(args);
    INFO(r.err);
    CHECK(r.code != 0);
    REQUIRE(r.errors().size() == 1);
    CHECK(r.errors()[0].find(why) != std::string::npos);
  };
  refused({"train", "--data", "sequences:revers"}, "did you mean \"reverse\"");
  refused({"train", "--data", "sequences:reverse", "--model", "vit"}, "vit takes images");
  refused({"train", "--data", "where", "--model", "transformer"},
          "transformer takes sequences of 16 kinds of tokens and answers in 16 kinds");
  refused({"train", "transformer_reverse", "model.vocab_size=5"}, "model.vocab_size is 5 but");
  refused({"train", "transformer_reverse", "augment.flip=true"}, "works on images");
}

}  // namespace tessera::test
