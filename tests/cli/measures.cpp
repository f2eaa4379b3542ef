// Measures of finished runs, through the program: what must be equal is, what makes no sense is absent, and nothing else is written.
#include "tessera/train/lab/measures.h"

#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tessera/core/io/safetensors.h"
#include "tessera/core/parallel.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;

/// CIFAR-10's format, few records: noise, and in half of the picture a colour that goes with the label.
std::string records(int n, int from) {
  std::string bytes;
  for (int i = from; i < from + n; ++i) {
    const int label = i % 10;
    const rng::Stream random(rng::mix(static_cast<uint64_t>(i)));
    bytes += static_cast<char>(label);
    for (int c = 0; c < 3; ++c)
      for (int p = 0; p < 32 * 32; ++p) {
        const int noise = static_cast<int>(random.below(static_cast<uint64_t>(c * 1024 + p), 120));
        bytes += static_cast<char>(noise + (p % 32 < 16 ? (label * (c + 3) * 37) % 128 : 0));
      }
  }
  return bytes;
}

/// A run on 160 such pictures, 150 in the test.
struct Cifar {
  Folder folder;
  std::string run = folder / "run";
  explicit Cifar(const std::vector<std::string>& more = {}) {
    const std::string set = folder / "cifar-10-batches-bin";
    for (const char* name : {"cifar-10-batches-bin", "cifar-10-lossless-subset"})
      REQUIRE(mkdir((folder / name).c_str(), 0755) == 0);
    write(set + "/data_batch_1.bin", records(160, 0));
    write(set + "/test_batch.bin", records(150, 160));
    write(folder / "cifar-10-lossless-subset/data_batch_1_first9.bin", records(9, 0));
    write(folder / "cifar-10-lossless-subset/test_batch_first150.bin", records(150, 160));
    std::vector<std::string> args = {"train",
                                     "--data",
                                     "cifar10:" + set,
                                     "--out",
                                     run,
                                     "--epochs",
                                     "3",
                                     "--batch-size",
                                     "16",
                                     "data.val_size=40",
                                     "optim.lr=4e-3",
                                     "train.precision=f32"};
    args.insert(args.end(), more.begin(), more.end());
    const Result trained = tessera(args);
    INFO(trained.err);
    REQUIRE(trained.code == 0);
  }
  Result measure(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"measure", run, "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return tessera(args, {.env = {"TESSERA_DATA=" + folder.path()}});
  }
  json measured(const std::vector<std::string>& more) const {
    const Result r = measure(more);
    INFO(r.err);
    REQUIRE(r.code == 0);
    return json::parse(r.out);
  }
  json evaluated(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"eval", "--run", run, "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const Result r = tessera(args);
    INFO(r.err);
    REQUIRE(r.code == 0);
    return json::parse(r.out);
  }
};

const std::vector<std::string> small_vit = {
    "--model",           "vit", "--position", "learned", "model.depth=2", "model.embed_dim=16", "model.num_heads=2",
    "model.patch_size=8"};

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("measure: what is known in another way is the same number") {
  const Cifar c(small_vit);
  const json all = c.measured({"--images", "0", "--attention-images", "10", "--sizes", "24,32,48,32x48", "--shifts",
                               "3,8,32", "--tiles", "2,5"});
  const json& n = all["numbers"];
  const json summary = json::parse(read(c.run + "/summary.json"));
  CHECK(n["last_acc1"] == summary["test_acc1"]);
  CHECK(n["best_val_acc1"] == summary["best_val_acc1"]);
  CHECK(n["best_val.test_acc1"] == c.evaluated({"--best"})["acc1"]);
  CHECK(n["last_acc1"].get<double>() > 0.2);  // it has learned something, else all is chance
  CHECK(n["lossless_acc1"] == n["last_acc1"]);
  CHECK(n["subset_acc1"] == n["last_acc1"]);
  CHECK(n["resolution.32x32.acc1"] == n["last_acc1"]);
  CHECK(n["resolution.32x32.entropy"] == n["attention_entropy"]);
  CHECK(n["resolution.48x48.acc1"] == c.evaluated({"--img-size", "48"})["acc1"]);
  CHECK(n["resolution.32x48.acc1"] == c.evaluated({"--img-size", "32x48"})["acc1"]);
  CHECK(n["shift.circular.32.consistency"] == 1.0);  // once around
  CHECK(n["shift.circular.32.acc1"] == n["last_acc1"]);
  CHECK(n["shift.crop.32.acc1"] == doctest::Approx(0.1));  // black pictures: one class of ten
  CHECK(n["shift.circular.mod_patch.3.consistency"] == n["shift.circular.3.consistency"]);
  CHECK(n["shift.circular.mod_patch.0.acc1"].get<double>() ==
        doctest::Approx((n["shift.circular.8.acc1"].get<double>() + n["last_acc1"].get<double>()) / 2));
  CHECK(n["params"] == summary["params"]);
  CHECK(n["macs"] == summary["macs"]);
  CHECK(n["params_added"] == 17 * 16);
  for (const char* name : {"permuted.same.acc1", "permuted.each.acc1", "grid_shuffle.2.acc1", "positions.zeroed.acc1",
                           "positions.transposed.acc1", "positions.reversed.acc1", "flip.acc1", "flip.consistency",
                           "macs_added", "attention_distance.0.0", "attention_distance.1.1"})
    CHECK_MESSAGE(n.contains(name), name);
  CHECK(all["absent"]["grid_shuffle.5.acc1"].get<std::string>().find("do not divide") != std::string::npos);
  CHECK(all["absent"].size() == 1);
  for (const char* name : {"images_per_s", "images_per_s_vs_none", "peak_tensors_mb", "peak_tensors_vs_none"})
    CHECK_MESSAGE(all["timed"][name].get<double>() > 0, name);
  CHECK(all["about"]["patch"] == json({8, 8}));
  CHECK(all["about"]["images"] == 150);

  const io::SafeTensors file(c.run + "/answers.safetensors");
  const auto values = [&](const char* name) {
    std::vector<float> v(150);
    file.read(*file.find(name), std::span<float>(v));
    return v;
  };
  const std::vector<float> right = values("right"), prediction = values("prediction");
  double sum = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    sum += static_cast<double>(right[i]);
    CHECK((right[i] == 1) == (static_cast<size_t>(prediction[i]) == i % 10));
  }
  CHECK(sum / 150 == n["last_acc1"].get<double>());

  const json pictures = json::parse(read(c.run + "/pictures.json"));
  CHECK(pictures["images"] == 10);
  REQUIRE(pictures["blocks"].size() == 2);
  const json& block = pictures["blocks"][1];
  CHECK(block["maps"].size() == 2 * 3);  // a corner, the middle and the class token, for each head
  CHECK(block["maps"][2]["query"] == "class");
  CHECK(block["maps"][0]["values"].size() == 16);
  CHECK(block["offsets"]["values"].size() == 49);
  CHECK(block["distance"][1].get<double>() == doctest::Approx(n["attention_distance.1.1"].get<double>()).epsilon(1e-3));
}

TEST_CASE("measure: the attention of a bf16 run is measured, and is nearly that of its weights in fp32") {
  const Cifar c(joined(small_vit, {"--precision", "bf16"}));
  const std::vector<std::string> words = {"attention", "--images", "20", "--attention-images", "10"};
  const json coarse = c.measured(words);
  std::string config = read(c.run + "/config.toml");
  const size_t at = config.find("\"bf16\"");
  REQUIRE(at != std::string::npos);
  write(c.run + "/config.toml", config.replace(at, 6, "\"f32\""));
  const json fine = c.measured(words);
  CHECK(coarse["absent"] == fine["absent"]);
  for (const char* name : {"attention_entropy", "attention_distance.0.0", "attention_distance.1.1"}) {
    CAPTURE(name);
    REQUIRE((coarse["numbers"].contains(name) && fine["numbers"].contains(name)));
    const double a = coarse["numbers"][name], b = fine["numbers"][name];
    CHECK(a != b);  // it was computed in bf16
    CHECK(std::abs(a - b) < 1e-2 * b);
  }
}

TEST_CASE("measure: the same bytes for any number of threads, again and again, and of fewer images") {
  const Cifar c(small_vit);
  const std::vector<std::string> what = {"flip",     "permutation", "attention",          "shift", "--images", "50",
                                         "--shifts", "2",           "--attention-images", "20"};
  std::vector<std::string> said;
  for (const char* threads : {"1", "3", "3"}) {
    c.measured(joined(what, {"--threads", threads}));
    said.push_back(read(c.run + "/measures.json") + read(c.run + "/pictures.json") +
                   read(c.run + "/answers.safetensors"));
  }
  CHECK(said[0] == said[1]);
  CHECK(said[1] == said[2]);
  CHECK(json::parse(read(c.run + "/measures.json"))["about"]["families"].size() == 4);
  // every third image
  const io::SafeTensors file(c.run + "/answers.safetensors");
  std::vector<float> right(150);
  file.read(*file.find("right"), std::span<float>(right));
  const json some = c.measured({"accuracy", "--images", "50"});
  double sum = 0;
  for (size_t i = 0; i < 150; i += 3) sum += static_cast<double>(right[i]);
  CHECK(some["numbers"]["subset_acc1"].get<double>() == sum / 50);
  CHECK_FALSE(exists(c.run + "/pictures.json"));  // nobody asked for attention this time
}

TEST_CASE(
    "measure: without positions the order of tokens does not matter, and where attention is uniform its numbers are "
    "known") {
  Cifar c({"--model", "vit", "--position", "none", "model.depth=1", "model.embed_dim=16", "model.num_heads=2",
           "model.patch_size=8", "model.class_token=false", "model.global_pool=avg", "train.epochs=1"});
  const json n = c.measured({"permutation", "accuracy", "positions", "--images", "0"});
  CHECK(n["numbers"]["permuted.same.acc1"] == n["numbers"]["last_acc1"]);
  CHECK(n["numbers"]["permuted.each.acc1"] == n["numbers"]["last_acc1"]);
  CHECK(n["absent"].contains("positions.zeroed.acc1"));
  // queries and keys that are always 0
  const std::string path = c.run + "/weights.safetensors";
  const io::SafeTensors was(path);
  std::vector<std::vector<char>> bytes;
  std::vector<io::TensorBytes> tensors;
  for (const io::TensorInfo& t : was.tensors()) {
    bytes.emplace_back(t.end - t.begin);
    was.read_bytes(t, bytes.back());
    if (t.name.find("qkv") != std::string::npos) std::fill_n(bytes.back().begin(), bytes.back().size() / 3 * 2, '\0');
    tensors.push_back({t.name, t.dtype, t.shape, bytes.back()});
  }
  io::Metadata plain = was.metadata();
  std::erase_if(plain, [](const auto& m) {
    return m.first.find("sha") != std::string::npos || m.first.find("check") != std::string::npos ||
           m.first.find("crc") != std::string::npos;
  });
  io::write_safetensors(path, tensors, plain);
  const json uniform = c.measured({"attention", "--attention-images", "5"})["numbers"];
  CHECK(uniform["attention_entropy"].get<double>() == doctest::Approx(1).epsilon(1e-6));
  double sum = 0;  // over all pairs of 4 x 4 cells
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) sum += std::hypot(i / 4 - j / 4, i % 4 - j % 4);
  for (const char* head : {"attention_distance.0.0", "attention_distance.0.1"})
    CHECK(uniform[head].get<double>() == doctest::Approx(sum / 256).epsilon(1e-6));
}

TEST_CASE("measure: windows, reduced keys and models of a fixed size get what makes sense, and a reason for the rest") {
  {
    const Cifar c({"--model", "swin", "model.depths=[2,1]", "model.num_heads=[2,2]", "model.embed_dim=8",
                   "model.patch_size=2", "model.window_size=4", "train.epochs=1"});
    const json all = c.measured({"shift", "attention", "positions", "resolution", "--images", "30",
                                 "--attention-images", "4", "--shifts", "2,8", "--sizes", "32,36,40x32"});
    const json& n = all["numbers"];
    CHECK(all["about"]["window"] == json({16, 16}));
    CHECK(n["shift.circular.mod_window.8.consistency"] == n["shift.circular.8.consistency"]);
    CHECK(n["resolution.36x36.acc1"] == n["resolution.36x36.acc1"]);
    CHECK(n["resolution.40x32.entropy"].get<double>() > 0.3);
    CHECK(n["resolution.40x32.entropy"].get<double>() <= 1);
    CHECK(n.contains("positions.transposed.acc1"));
    CHECK(n["attention_distance.0.0"].get<double>() < 3 * std::sqrt(2.0));  // inside of 4 x 4 cells
    CHECK(all["absent"].empty());
  }
  {
    const Cifar c({"--model", "pvt", "model.embed_dims=[8,16]", "model.depths=[1,1]", "model.num_heads=[1,2]",
                   "model.mlp_ratios=[2,2]", "model.sr_ratios=[2,1]", "train.epochs=1"});
    const json all = c.measured({"attention", "positions", "--images", "20", "--attention-images", "3"});
    CHECK(all["absent"].empty());
    const json pictures = json::parse(read(c.run + "/pictures.json"));
    CHECK(pictures["blocks"][0]["offsets"].is_null());
    CHECK(pictures["blocks"][0]["maps"][0]["values"].size() <
          pictures["blocks"][0]["q"][0].get<size_t>() * pictures["blocks"][0]["q"][1].get<size_t>());
    CHECK(pictures["blocks"][1]["offsets"]["values"].size() > 0);
  }
  {
    const Cifar c({"--model", "resnet", "model.depths=[1,1]", "model.widths=[8,8]", "train.epochs=1"});
    const json all = c.measured({"--images", "20", "--sizes", "16", "--shifts", "1"});
    for (const char* name :
         {"permuted.same.acc1", "attention_entropy", "positions.zeroed.acc1", "resolution.16x16.entropy"})
      CHECK_MESSAGE(all["absent"].contains(name), name);
    CHECK(all["numbers"].contains("resolution.16x16.acc1"));
  }
}

TEST_CASE("measure: labels that say where things are, and sequences, are not moved") {
  const Folder folder;
  const std::string where = folder / "where", sequences = folder / "sequences";
  REQUIRE(tessera(tiny_run(where)).code == 0);
  const Result r = tessera({"measure", where, "flip", "shift", "grid_shuffle", "lossless", "--json", "--tiles", "2"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  const json w = json::parse(r.out);
  for (const char* name : {"flip", "shift", "lossless_acc1"}) CHECK_MESSAGE(w["absent"].contains(name), name);
  CHECK(w["numbers"].contains("grid_shuffle.2.acc1"));

  REQUIRE(tessera({"train", "transformer_reverse", "--out", sequences, "data.name=sequences:copy,length=1-3,symbols=3",
                   "data.train_size=30", "data.test_size=20", "model.d_model=16", "model.nhead=2",
                   "model.dim_feedforward=16", "train.epochs=2", "train.batch_size=8"})
              .code == 0);
  const Result s = tessera({"measure", sequences, "--json"});
  INFO(s.err);
  REQUIRE(s.code == 0);
  const json all = json::parse(s.out);
  CHECK(all["numbers"]["last_acc1"] == json::parse(read(sequences + "/summary.json"))["test_acc1"]);
  CHECK(all["numbers"].contains("positions.zeroed.acc1"));
  CHECK(all["numbers"]["attention_entropy"].get<double>() > 0);
  for (const char* name :
       {"resolution", "shift", "flip", "grid_shuffle", "permuted.same.acc1", "positions.reversed.acc1"})
    CHECK_MESSAGE(all["absent"].contains(name), name);
}

TEST_CASE("measure: what cannot be is refused with one line, and who stops leaves nothing behind") {
  const Folder folder;
  const std::string run = folder / "run";
  check_refused(tessera({"measure", run}), 1, {"no run directory", run});
  REQUIRE(tessera(tiny_run(run)).code == 0);
  check_refused(tessera({"measure", run, "shft"}), 2, {"\"shft\"", "did you mean \"shift\""});
  check_refused(tessera({"measure", run, "--sizes", "48x"}), 2, {"--sizes 48x", "HxW"});
  check_refused(tessera({"measure", run, "--shifts", "0"}), 2, {"a shift by 0 pixels"});
  check_refused(tessera({"measure", run, "--images", "-1"}), 2, {"--images"});
  const std::vector<std::string> before = Folder().list();
  for (const int looks : {0, 2, 5}) {
    int left = looks;
    Hooks hooks;
    hooks.stop = [&] { return left-- <= 0; };
    CHECK_FALSE(lab::measure(run, {.families = {"attention", "grid_shuffle", "speed"}}, hooks));
    CHECK_FALSE(exists(run + "/measures.json"));
    CHECK_FALSE(exists(run + "/answers.safetensors"));
  }
  CHECK(lab::measure(run, {.families = {"cost"}}));
  check_refused(tessera({"measure", run, "cost"}, {.env = {"TESSERA_FAULT=write:0:ENOSPC"}}), 1, {"No space left"});
  CHECK_FALSE(exists(run + "/measures.json"));  // the old one would speak of files that may be others now
  remove((run + "/weights.safetensors").c_str());
  check_refused(tessera({"measure", run}), 1, {"is not finished"});
}

TEST_CASE("measure: the usual sizes are whole patches") {
  const auto sizes = [](cli::ImageSize trained, cli::ImageSize patch) {
    std::string all;
    for (const cli::ImageSize& s : lab::usual_sizes(trained, patch)) all += cli::str(s) + " ";
    return all;
  };
  CHECK(sizes({32, 32}, {4, 4}) == "20x20 24x24 28x28 32x32 36x36 40x40 48x48 64x64 80x80 96x96 32x48 48x32 ");
  CHECK(sizes({32, 32}, {8, 8}) == "24x24 32x32 40x40 48x48 64x64 80x80 96x96 32x48 48x32 ");
  CHECK(sizes({28, 28}, {4, 4}).starts_with("16x16 20x20 24x24 28x28 32x32 36x36 44x44 56x56"));
}

}  // namespace tessera::test
