// eval and predict: which weights, which pictures, and what cannot be answered.
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::vector<std::string> run_of(const std::string& data, const std::string& out,
                                const std::vector<std::string>& more = {}) {
  std::vector<std::string> args = {"train",
                                   "--data",
                                   data,
                                   "--epochs",
                                   "2",
                                   "--batch-size",
                                   "16",
                                   "model.depth=1",
                                   "--model",
                                   "vit",
                                   "model.embed_dim=16",
                                   "model.num_heads=2",
                                   "model.patch_size=8",
                                   "--out",
                                   out};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

/// Overwrites the values of a tensor in a file of weights, and forgets its checksum.
void overwrite(const std::string& path, const std::string& tensor, float value, size_t count = 1) {
  const std::string all = read(path);
  uint64_t n = 0;
  for (size_t i = 0; i < 8; ++i) n |= uint64_t{static_cast<unsigned char>(all[i])} << (8 * i);
  json header = json::parse(all.substr(8, n));
  std::string data = all.substr(8 + n);
  const size_t begin = header.at(tensor).at("data_offsets")[0], end = header.at(tensor).at("data_offsets")[1];
  for (size_t i = 0; i < std::min(count, (end - begin) / 4); ++i)
    std::copy_n(reinterpret_cast<const char*>(&value), 4, data.begin() + static_cast<std::ptrdiff_t>(begin + 4 * i));
  for (const char* key : {"tessera.fnv1a64", "tessera.header.fnv1a64"}) header["__metadata__"].erase(key);
  write(path, safetensors(header.dump(), data));
}

std::string a_picture(const std::string& folder) {
  for (const auto& f : fs::recursive_directory_iterator(folder))
    if (f.is_regular_file()) return f.path().string();
  return "";
}

}  // namespace

TEST_CASE("eval, predict: weights that are no numbers answer nothing") {
  const Folder folder;
  const std::string run = folder / "run", weights = run + "/weights.safetensors";
  REQUIRE(tessera(run_of("where:quadrant", run, {"data.train_size=32", "data.test_size=16"})).code == 0);
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", folder / "png", "--train-size", "8", "--test-size", "8"})
              .code == 0);
  const std::string picture = a_picture(folder / "png/test"), good = read(weights);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
  for (const float value : bad) {
    write(weights, good);
    overwrite(weights, "head.weight", value);
    for (const bool as_json : {false, true}) {
      std::vector<std::string> e = {"eval", "--run", run}, p = {"predict", "--run", run, picture};
      if (as_json) e.push_back("--json"), p.push_back("--json");
      check_refused(tessera(e), 1, {"head.weight", "weights.safetensors"});
      check_refused(tessera(p), 1, {"head.weight", "weights.safetensors"});
    }
  }
  write(weights, good);
  overwrite(weights, "head.weight", 3e38F, 1000);  // numbers, but no answers
  overwrite(weights, "norm.weight", 3e38F, 1000);
  check_refused(tessera({"eval", "--run", run, "--json"}), 1, {"of 16 images are not finite; first ", ": output (1, "});
  check_refused(tessera({"predict", "--run", run, picture}), 1, {picture, "not finite; first ", ": output (1, "});
}

TEST_CASE("eval, predict: --best reads best.ckpt, the weights as they were validated") {
  const Folder folder;
  const std::string run = folder / "run";
  const Result r = tessera(run_of("where:quadrant", run,
                                  {"data.train_size=96", "data.test_size=16", "data.val_size=24", "train.ema_decay=0.5",
                                   "--epochs", "12", "optim.lr=0.02"}));
  INFO(r.err);
  REQUIRE(r.code == 0);
  const json summary = json::parse(read(run + "/summary.json"));
  const Result e = tessera({"eval", "--run", run, "--best", "--split", "val", "--json"});
  INFO(e.err);
  REQUIRE(e.code == 0);
  const json best = json::parse(e.out);
  CHECK(best.at("acc1") == summary.at("best_val_acc1"));
  CHECK(best.at("epoch") == summary.at("best_epoch"));
  CHECK(best.at("weights") == "best");
  const json final = json::parse(tessera({"eval", "--run", run, "--split", "val", "--json"}).out);
  CHECK(final.at("acc1") == summary.at("val_acc1"));
  CHECK(final.at("weights") == "final");
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", folder / "png", "--train-size", "8", "--test-size", "8"})
              .code == 0);
  const std::string picture = a_picture(folder / "png/test");
  CHECK(tessera({"predict", "--run", run, "--best", picture}).code == 0);
  fs::remove(run + "/best.ckpt");
  check_refused(tessera({"eval", "--run", run, "--best"}), 1, {"best.ckpt"});
  const std::string without = folder / "without";
  REQUIRE(tessera(run_of("where:quadrant", without, {"data.train_size=32", "data.test_size=16"})).code == 0);
  check_refused(tessera({"predict", "--run", without, "--best", picture}), 1, {"best.ckpt", "data.val_size"});
}

TEST_CASE("predict: a folder, past a bad file, which it names; the exit code says that there was one") {
  const Folder folder;
  const std::string run = folder / "run", png = folder / "png";
  REQUIRE(tessera(run_of("where:quadrant", run, {"data.train_size=32", "data.test_size=16"})).code == 0);
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", png, "--train-size", "8", "--test-size", "8"}).code == 0);
  const std::string test = png + "/test";
  const Result good = tessera({"predict", "--run", run, test, "--json"});
  INFO(good.err);
  CHECK(good.code == 0);
  CHECK(json::parse(good.out).size() == 8);
  fs::create_directory(test + "/aaa");
  write(test + "/aaa/broken.png", "no picture");
  write(test + "/aaa/notes.txt", "no picture either");
  const Result r = tessera({"predict", "--run", run, test, "--json"});
  CHECK(r.code == 1);
  REQUIRE(r.errors().size() == 1);
  CHECK(r.errors()[0].find("broken.png") != std::string::npos);
  CHECK(r.err.find("1 file skipped that is no PNG or JPEG") != std::string::npos);
  CHECK(r.err.find("1 of 9 pictures could not be answered") != std::string::npos);
  const json list = json::parse(r.out);
  REQUIRE(list.size() == 9);
  CHECK(list[0].contains("error"));
  CHECK_FALSE(list[0].contains("classes"));
  for (size_t i = 1; i < 9; ++i) CHECK(list[i].at("classes").size() == 4);
  const Result lines =
      tessera({"predict", "--run", run, test + "/aaa/broken.png", a_picture(png + "/train"), folder / "none.png"});
  CHECK(lines.code == 1);
  CHECK(lines.errors().size() == 2);
  CHECK(std::count(lines.out.begin(), lines.out.end(), '\n') == 1);
  fs::create_directory(folder / "empty");
  check_refused(tessera({"predict", "--run", run, folder / "empty"}), 1, {"empty", "no PNG or JPEG"});
}

TEST_CASE("predict: a folder is read as imagefolder reads it, through links and with all its endings") {
  const Folder folder;
  const std::string run = folder / "run", png = folder / "png", asked = folder / "asked";
  REQUIRE(
      tessera(run_of("where:quadrant", run, {"data.train_size=32", "data.test_size=16", "--max-steps", "1"})).code ==
      0);
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", png, "--train-size", "8", "--test-size", "8"}).code == 0);
  fs::create_directory(asked);
  fs::create_directory_symlink(png + "/test", asked + "/linked");
  int n = 0;
  for (const char* ending : {".png", ".JPG", ".jpeg", ".jpe", ".jfif"})
    fs::copy_file(a_picture(png + "/train"), asked + "/" + std::to_string(n++) + ending);
  const Result r = tessera({"predict", "--run", run, asked, "--json"});
  INFO(r.err);
  CHECK(r.code == 0);
  CHECK(json::parse(r.out).size() == 8 + 5);
  CHECK(r.err.find("skipped") == std::string::npos);
  fs::create_directory_symlink(asked, asked + "/circle");
  check_refused(tessera({"predict", "--run", run, asked}), 1, {"circle", "remove the link"});
}

TEST_CASE("eval: classes of a run's own folder that have moved keep the numbers the run knows them by") {
  const Folder folder;
  const std::string run = folder / "run", png = folder / "png";
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", png, "--train-size", "96", "--test-size", "48"}).code ==
          0);
  REQUIRE(tessera(run_of("imagefolder:" + png, run)).code == 0);
  const auto asked = [&] {
    const Result r = tessera({"eval", "--run", run, "--json"});
    INFO(r.err);
    REQUIRE(r.code == 0);
    return json::parse(r.out);
  };
  const json before = asked();
  const json summary = json::parse(read(run + "/summary.json"));
  CHECK(before.at("acc1") == summary.at("test_acc1"));
  CHECK(before.at("loss") == summary.at("test_loss"));
  REQUIRE(before.at("classes").size() == 4);
  for (const char* split : {"/train/", "/test/"})
    fs::remove_all(png + split + before.at("classes")[0].get<std::string>());
  const json after = asked();
  CHECK(after.at("classes") == before.at("classes"));
  CHECK(after.at("confusion")[0] == json({0, 0, 0, 0}));
  for (size_t k = 1; k < 4; ++k) CHECK(after.at("confusion")[k] == before.at("confusion")[k]);
  check_refused(tessera({"eval", "--run", run, "--best"}), 1, {"best.ckpt", "a val folder, or data.val_size"});
  for (const char* split : {"/train/", "/test/"})
    fs::rename(png + split + before.at("classes")[1].get<std::string>(), png + split + "unheard-of");
  check_refused(tessera({"eval", "--run", run}), 1, {"unheard-of", "that the run does not know"});
}

TEST_CASE("eval, data info: --data-dir is followed, or refused where it does nothing") {
  const Folder folder;
  const std::string run = folder / "run";
  REQUIRE(
      tessera(run_of("where:quadrant", run, {"data.train_size=32", "data.test_size=16", "--max-steps", "1"})).code ==
      0);
  const std::vector<std::string> in_vain{"--data-dir", "made in memory"};
  check_refused(tessera({"eval", "--run", run, "--data-dir", folder.path()}), 2, in_vain);
  check_refused(tessera({"data", "info", "where", "--data-dir", folder.path()}), 2, in_vain);
  check_refused(tessera({"data", "info", "sequences:copy", "--data-dir", folder.path()}), 2, in_vain);
  REQUIRE(
      tessera({"data", "make", "where", "--out", folder / "there/png", "--train-size", "8", "--test-size", "8"}).code ==
      0);
  for (const char* dir : {"there", "there/png"}) {
    const Result r = tessera({"data", "info", "imagefolder:png", "--data-dir", folder / dir, "--json"});
    INFO(r.err);
    REQUIRE(r.code == 0);
    CHECK(json::parse(r.out).at("name") == "imagefolder:" + folder / "there/png");
  }
}

TEST_CASE("class and file names reach the terminal as text, and JSON as they are") {
  const Folder folder;
  const std::string png = folder / "png", run = folder / "run", escaped = "\\x1b[2J";
  const std::string name =
      "\x1b[2Jred\xc2\x9b"
      "5m";
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", png, "--train-size", "24", "--test-size", "16"}).code ==
          0);
  for (const char* split : {"/train/", "/test/"}) {
    std::string first;
    for (const auto& e : fs::directory_iterator(png + split)) first = std::max(first, e.path().string());
    fs::rename(first, png + split + name);
  }
  const Result trained = tessera(run_of("imagefolder:" + png, run));
  if (trained.code != 0) {  // a folder of such a name may be refused, if that is said in one harmless line
    CHECK(trained.errors().size() == 1);
    CHECK(trained.err.find('\x1b') == std::string::npos);
    return;
  }
  const std::string picture = a_picture(png + "/test/" + name);
  for (const Result& r :
       {tessera({"eval", "--run", run}), tessera({"predict", "--run", run, picture}),
        tessera({"predict", "--run", run, png + "/" + name + ".png"}),
        tessera({"eval", "--run", run, "--data", "where:relation"}), tessera({"data", "info", "imagefolder:" + png})}) {
    INFO(r.err);
    for (const std::string& text : {r.out, r.err}) {
      CHECK(text.find('\x1b') == std::string::npos);
      CHECK(text.find("\xc2\x9b") == std::string::npos);
    }
    CHECK((r.out + r.err).find(escaped) != std::string::npos);
  }
  const Result e = tessera({"eval", "--run", run, "--json"});
  CHECK(e.out.find('\x1b') == std::string::npos);
  CHECK(e.out.find("\xc2\x9b") == std::string::npos);
  const json classes = json::parse(e.out).at("classes");
  CHECK(std::find(classes.begin(), classes.end(), json(name)) != classes.end());
}

TEST_CASE("train, eval: data of a folder that has moved are followed by --data-dir, and other data are told") {
  const Folder folder;
  const std::string run = folder / "run";
  const auto make = [&](const std::string& to, const char* seed) {
    REQUIRE(tessera({"data", "make", "where:quadrant", "--out", to, "--train-size", "32", "--test-size", "16", "--seed",
                     seed})
                .code == 0);
  };
  make(folder / "png", "1");
  REQUIRE(tessera(run_of("imagefolder:" + folder / "png", run, {"--max-steps", "2"})).code == 0);
  fs::rename(folder / "png", folder / "moved");
  CHECK(tessera({"eval", "--run", run}).code == 1);
  const Result e = tessera({"eval", "--run", run, "--data-dir", folder / "moved"});
  INFO(e.err);
  CHECK(e.code == 0);
  CHECK(e.err.find("warning") == std::string::npos);
  const Result r = tessera({"train", "--resume", run, "--max-steps", "0", "--data-dir", folder / "moved"});
  INFO(r.err);
  CHECK(r.code == 0);
  CHECK(tessera({"eval", "--run", run}).code == 0);
  make(folder / "other", "2");
  const Result other = tessera({"eval", "--run", run, "--data-dir", folder / "other"});
  CHECK(other.code == 0);
  CHECK(other.err.find("other data") != std::string::npos);
  check_refused(tessera({"train", "--resume", run, "--epochs", "3", "--data-dir", folder / "other"}), 1,
                {"other data"});
}

TEST_CASE("train: a finished run goes on for more epochs, and not for fewer than it has") {
  const Folder folder;
  const std::string run = folder / "run";
  REQUIRE(tessera(run_of("where:quadrant", run, {"data.train_size=32", "data.test_size=16"})).code == 0);
  const Result r = tessera({"train", "--resume", run, "--epochs", "5"});
  INFO(r.err);
  CHECK(r.code == 0);
  CHECK(r.err.find("train.epochs is 5 from here on, it was 2") != std::string::npos);
  CHECK(json::parse(read(run + "/summary.json")).at("epochs") == 5);
  CHECK(read(run + "/config.toml").find("\nepochs = 5\n") != std::string::npos);
  check_refused(tessera({"train", "--resume", run, "--epochs", "3"}), 2, {"train.epochs=3", "5 epochs"});
  check_refused(tessera({"train", "--resume", run, "train.patience=3"}), 2, {"train.patience", "data.val_size"});
}

}  // namespace tessera::test
