// Files that are not what they seem, and names that are no text, seen from the command line.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tessera/train/data/image.h"
#include "tests/cli/program.h"

namespace fs = std::filesystem;

namespace tessera::test {
namespace {

void png(const std::string& path, int side = 8) {
  const std::vector<uint8_t> pixels(static_cast<size_t>(side * side * 3), 100);
  const auto bytes = data::encode_png(side, side, 3, pixels);
  fs::create_directories(fs::path(path).parent_path());
  write(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::vector<std::string> tiny(const std::string& run, const std::string& data = "where") {
  std::vector<std::string> args{"train",
                                "--data",
                                data,
                                "--model",
                                "vit",
                                "--out",
                                run,
                                "--epochs",
                                "1",
                                "--threads",
                                "1",
                                "model.embed_dim=16",
                                "model.num_heads=2",
                                "model.depth=1"};
  if (data == "where") args.insert(args.end(), {"data.train_size=32", "data.test_size=16"});
  if (data != "where") args.emplace_back("model.patch_size=4");
  return args;
}

/// The program ends by itself, soon, and says one line.
void refused(const std::vector<std::string>& args, const std::vector<std::string>& words) {
  RunOptions options;
  options.seconds = 60;
  const Result r = tessera(args, options);
  INFO(r.err);
  CHECK((r.code == 1 || r.code == 2));
  REQUIRE(r.errors().size() == 1);
  for (const std::string& w : words) CHECK(r.errors()[0].find(w) != std::string::npos);
}

}  // namespace

TEST_CASE("a run directory with pipes or /dev/zero for files: every command ends, and names the file") {
  const Folder folder;
  const std::string run = folder / "run", picture = folder / "x.png";
  png(picture, 32);
  const Result trained = tessera(tiny(run));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  const auto each = [&](const std::string& file, const std::vector<std::vector<std::string>>& commands) {
    for (const bool pipe : {true, false}) {
      const std::string bad = folder / "bad";
      fs::remove_all(bad);
      fs::copy(run, bad, fs::copy_options::recursive);
      fs::remove(bad + "/" + file);
      if (pipe) {
        REQUIRE(::mkfifo((bad + "/" + file).c_str(), 0600) == 0);
      } else {
        fs::create_symlink("/dev/zero", bad + "/" + file);
      }
      for (auto args : commands) {
        CAPTURE(args[0]);
        CAPTURE(file);
        args.insert(args.begin() + 1, args[0] == "train" ? "--resume" : args[0] == "report" ? bad : "--run");
        if (args[0] != "report") args.insert(args.begin() + 2, bad);
        refused(args, {file});
      }
    }
  };
  each("config.toml", {{"report"}, {"eval"}, {"train"}, {"predict", picture}});
  each("metrics.jsonl", {{"report"}, {"train"}});
  each("summary.json", {{"report"}, {"eval"}, {"predict", picture}});
  each("report_data.json", {{"report"}});
  each("weights.safetensors", {{"eval"}, {"predict", picture}});
  each("last.ckpt", {{"train"}});
}

TEST_CASE("a recipe that is a pipe, a device, a folder or far too large") {
  const Folder folder;
  REQUIRE(::mkfifo((folder / "pipe.toml").c_str(), 0600) == 0);
  fs::create_directory(folder / "folder.toml");
  write(folder / "large.toml", "");
  fs::resize_file(folder / "large.toml", uintmax_t{1} << 36);
  for (const std::string& recipe :
       {folder / "pipe.toml", folder / "folder.toml", folder / "large.toml", std::string("/dev/zero")})
    refused({"train", recipe, "--out", folder / "run"}, {recipe});
  CHECK_FALSE(exists(folder / "run"));
}

TEST_CASE("names that are no UTF-8 are refused before anything is made") {
  const Folder folder;
  const std::string odd = folder / "caf\xe9";
  for (const char* split : {"train", "test"})
    for (const char* label : {"a", "b"}) {
      png(odd + "/" + split + "/" + label + "/0.png");
      png(folder / (std::string("set/") + split + "/caf\xe9" + label + "/0.png"));
    }
  const auto not_text = [&](const std::vector<std::string>& args) {
    refused(args, {"caf\\xe9", "UTF-8"});
    CHECK_FALSE(exists(folder / "run"));
  };
  not_text(tiny(folder / "run", "imagefolder:" + odd));
  not_text(tiny(folder / "run", "imagefolder:" + (folder / "set")));
  not_text(tiny(folder / "caf\xe9run"));
  not_text({"data", "info", "imagefolder:" + odd});
  not_text({"data", "info", "imagefolder:" + (folder / "set")});
  auto args = tiny(folder / "run");
  args.insert(args.end(), {"--data-dir", odd});
  not_text(args);
  write(folder / "caf\xe9.toml", "[train]\nepochs = 1\n");
  not_text({"train", folder / "caf\xe9.toml", "--out", folder / "run"});
  CHECK_FALSE(exists(folder / "caf\xe9run"));
}

TEST_CASE("class names with quotes, HTML and commas train, are reported and come back") {
  const Folder folder;
  const std::string odd = "<b>\"&'\\ caf\u00e9, =1+1";
  for (const char* split : {"train", "test"})
    for (const std::string& label : {std::string("a"), odd})
      for (int i = 0; i < 4; ++i)
        png(folder / (std::string("set/") + split + "/" + label + "/" + std::to_string(i) + ".png"));
  const std::string run = folder / "run";
  const Result trained = tessera(tiny(run, "imagefolder:" + (folder / "set")));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(read(run + "/report.html").find("<b>\"") == std::string::npos);
  const Result p = tessera({"predict", "--run", run, folder / "set/test/a/0.png"});
  CHECK(p.code == 0);
  CHECK(p.out.find(odd) != std::string::npos);
  CHECK(tessera({"eval", "--run", run, "--data", "imagefolder:" + (folder / "set")}).code == 0);
}

TEST_CASE("val beside train is the validation split of a run; there is no test, and the files say so") {
  const Folder folder;
  for (const char* split : {"train", "val"})
    for (const char* label : {"a", "b"})
      for (int i = 0; i < 4; ++i)
        png(folder / (std::string("set/") + split + "/" + label + "/" + std::to_string(i) + ".png"));
  const std::string run = folder / "run", spec = "imagefolder:" + (folder / "set");
  const Result trained = tessera(tiny(run, spec));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(trained.err.find("val is the validation split, and nothing is tested") != std::string::npos);
  CHECK(trained.err.find("8 training, 8 validation and 0 test images") != std::string::npos);
  CHECK(read(run + "/metrics.jsonl").find("\"val\"") != std::string::npos);
  CHECK(read(run + "/metrics.jsonl").find("\"test\"") == std::string::npos);
  CHECK(read(run + "/summary.json").find("\"test_acc1\": null") != std::string::npos);
  CHECK(read(run + "/summary.json").find("\"val_images\": 8") != std::string::npos);
  CHECK(exists(run + "/best.ckpt"));
  CHECK(tessera({"eval", "--run", run, "--split", "val"}).code == 0);
  check_refused(tessera({"eval", "--run", run}), 1, {"no test split", "--split val"});
  CHECK(tessera({"data", "info", spec}).out.find("validation 8, test 0") != std::string::npos);
  CHECK(tessera({"data", "info", spec, "--json"}).out.find("\"val\":{\"size\":8") != std::string::npos);
  auto args = tiny(folder / "other", spec);
  args.emplace_back("data.val_size=2");
  check_refused(tessera(args), 1, {"val folder", "data.val_size=2"});
}

TEST_CASE("data info takes what its message recommends") {
  const Folder folder;
  for (const char* split : {"train", "test"})
    for (const char* label : {"a", "b"})
      png(folder / (std::string(split) + "/" + label + "/0.png"), *label == 'a' ? 8 : 9);
  const std::string spec = "imagefolder:" + folder.path();
  check_refused(tessera({"data", "info", spec}), 1, {"9x9", "--img-size N"});
  const Result r = tessera({"data", "info", spec, "--img-size", "6"});
  CHECK(r.code == 0);
  CHECK(r.out.find("6 x 6") != std::string::npos);
  check_refused(tessera({"data", "info", "where", "--img-size", "6"}), 2, {"--img-size", "where"});
}

TEST_CASE("many classes of long names: what is written can be read back") {
  const Folder folder;
  std::string name(200, 'x');
  for (int i = 0; i < 6'000; ++i) {  // 1.2 MB of names
    const std::string label = name + std::to_string(i);
    for (const char* split : {"train", "test"}) {
      const std::string path = folder / (std::string("set/") + split + "/" + label);
      fs::create_directories(path);
      if (i == 0) png(folder / "one.png");
      fs::create_hard_link(folder / "one.png", path + "/0.png");
    }
  }
  const std::string run = folder / "run";
  const Result trained = tessera(tiny(run, "imagefolder:" + (folder / "set")));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(fs::file_size(run + "/summary.json") > (1 << 20));
  CHECK(tessera({"eval", "--run", run}).code == 0);
  CHECK(tessera({"predict", "--run", run, folder / "one.png"}).code == 0);
  CHECK(tessera({"report", run}).code == 0);
}

TEST_CASE("data make, interrupted: nothing is left") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const Folder folder;
    Process p({"data", "make", "where", "--out", folder / "set", "--train-size", "20000"});
    const auto begun = [&] {
      for (const auto& name : folder.list())
        if (name.ends_with(".png")) return true;
      return false;
    };
    for (int i = 0; i < 600 && !begun() && p.running(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    REQUIRE(p.running());
    p.signal(signal);
    const Result r = p.wait();
    INFO(r.err);
    CHECK(r.code == 130);
    CHECK(r.errors().size() == 1);
    CHECK(folder.list().empty());
  }
}

TEST_CASE("a missing file is not to be created first") {
  const Folder folder;
  const Result r = tessera({"forward", "--model", "vit", "--weights", folder / "none.safetensors", "--input",
                            folder / "x.safetensors", "--output", folder / "y.safetensors"});
  check_refused(r, 1, {"none.safetensors", "check the path"});
  CHECK(r.err.find("create") == std::string::npos);
}

}  // namespace tessera::test
