// Another resolution from the command line: weights of one grid in a model of another, and a trained run on images of other sizes.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tessera/core/io/tensor_file.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;
using Args = std::vector<std::string>;

Args joined(Args a, const Args& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Args vit = {"--model", "vit", "depth=2", "embed_dim=8", "num_heads=2", "patch_size=4", "num_classes=3"};
const Args swin = {"--model",      "swin",         "depths=[2,1]",  "num_heads=[2,2]",
                   "embed_dim=16", "patch_size=2", "num_classes=3", "drop_path_rate=0"};

size_t lines(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

/// Fresh weights of one model and an image for another.
struct Two {
  Folder folder;
  Two(const Args& made, int h, int w) {
    const Result r = tessera(joined({"init", "--seed", "3", "--output", folder / "w.safetensors"}, made));
    INFO(r.err);
    REQUIRE(r.code == 0);
    Tensor x({2, 3, h, w});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(static_cast<double>(i % 389)));
    io::write_tensors(folder / "x.safetensors", {{"input", x}});
  }
  Result run(const Args& model, const char* out) const {
    return tessera(joined({"forward", "--weights", folder / "w.safetensors", "--input", folder / "x.safetensors",
                           "--output", folder / out},
                          model));
  }
  Tensor logits(const Args& model, std::string* said = nullptr) const {
    const Result r = run(model, "y.safetensors");
    INFO(r.err);
    REQUIRE(r.code == 0);
    if (said) *said = r.err;
    return io::TensorFile(folder / "y.safetensors").read("logits");
  }
  /// Writes the weights again as another program would: without a word about geometry.
  void forget() const {
    std::vector<io::NamedTensor> all;
    const io::TensorFile file(folder / "w.safetensors");
    for (const auto& name : file.names()) all.emplace_back(name, file.read(name));
    io::write_tensors(folder / "w.safetensors", all);
  }
};

double apart(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

}  // namespace

TEST_CASE("forward: weights of one grid in a model of another answer as the model called there") {
  for (const char* position : {"learned", "relative_position_bias", "levit", "transformer_xl_learned",
                               "music_transformer_2d", "huang2", "irpe", "rope_axial", "learned+levit"}) {
    CAPTURE(position);
    const Args built = joined(vit, {"--position", position});
    const Two files(joined(built, {"img_size=16"}), 24, 20);
    std::string said;
    const Tensor called = files.logits(joined(built, {"img_size=16"}), &said);
    CHECK(said.find("resampled") == std::string::npos);
    const Tensor loaded = files.logits(joined(built, {"img_size=24", "img_width=20"}), &said);
    CHECK(apart(called, loaded) <= 1e-6);
    const bool fixed = position == std::string("irpe") || position == std::string("rope_axial");
    CHECK((said.find("resampled") == std::string::npos) == fixed);
    files.forget();
    CHECK(apart(files.logits(joined(built, {"img_size=24", "img_width=20"}), &said), loaded) == 0);
    CHECK((said.find("resampled") == std::string::npos) == fixed);
  }
}

TEST_CASE("forward: one line for every tensor that was resampled") {
  std::string said;
  const Two ours(joined(vit, {"img_size=16"}), 24, 24);
  ours.logits(joined(vit, {"img_size=24"}), &said);
  CHECK(said.find("w.safetensors: pos_embed resampled from (1, 17, 8) for 4x4 to (1, 37, 8) for 6x6\n") !=
        std::string::npos);
  CHECK(lines(said, "resampled") == 1);

  const Two windows(joined(swin, {"window_size=4"}), 32, 32);
  windows.logits(joined(swin, {"window_size=8"}), &said);
  CHECK(said.find("layers.0.blocks.1.attn.relative_position_bias_table resampled from (49, 2) for 4x4 windows to (225, "
                  "2) for 8x8 windows\n") != std::string::npos);
  CHECK(lines(said, "resampled") == 3);
  windows.forget();
  windows.logits(joined(swin, {"window_size=8"}), &said);
  CHECK(lines(said, "resampled") == 3);
  windows.logits(joined(swin, {"window_size=4", "img_size=24"}), &said);  // another image, the same windows
  CHECK(lines(said, "resampled") == 0);
}

TEST_CASE("forward: geometry that weights cannot follow") {
  const Two flat(joined(vit, {"img_size=16", "img_width=12"}), 16, 16);
  flat.forget();
  check_refused(flat.run(joined(vit, {"img_size=16"}), "y"), 1,
                {"w.safetensors", "pos_embed", "(1, 13, 8)", "(1, 17, 8)", "no square grid", "model.img_size"});
  const Args rescale = joined(vit, {"--position", "rope_axial", "position.rescale=true"});
  const Two units(joined(rescale, {"img_size=16"}), 24, 24);
  const Result r = units.run(joined(rescale, {"img_size=24"}), "y");
  CHECK(r.code == 0);
  CHECK(r.err.find("rescale=true") != std::string::npos);
  CHECK(r.err.find("6x6") != std::string::npos);
  CHECK(units.run(joined(rescale, {"img_size=16"}), "y").err.find("rescale") == std::string::npos);
}

TEST_CASE("eval: a trained run at other sizes, square or not") {
  const Folder folder;
  for (const Args& model :
       {Args{"--model", "vit", "model.depth=1", "model.num_heads=2", "model.patch_size=4"},
        Args{"--model", "swin", "model.depths=[1,1]", "model.num_heads=[2,2]", "model.patch_size=4"}})
    for (const char* position : {"learned", "relative_position_bias", "shaw_axial_kv", "rope_mixed"}) {
      CAPTURE(position);
      const std::string run = folder / (model[1] + position);
      const Result trained =
          tessera(joined({"train", "--data", "where:quadrant", "--out", run, "--position", position, "--max-steps", "2",
                          "--batch-size", "8", "data.train_size=16", "data.test_size=16", "model.embed_dim=16"},
                         model));
      INFO(trained.err);
      REQUIRE(trained.code == 0);
      const auto at = [&](const char* size) { return tessera({"eval", "--run", run, "--img-size", size, "--json"}); };
      const json same = json::parse(at("32").out), plain = json::parse(tessera({"eval", "--run", run, "--json"}).out);
      CHECK(same.at("loss") == plain.at("loss"));
      for (const auto& [size, h, w] : {std::tuple("24", 24, 24), {"48", 48, 48}, {"28x40", 28, 40}}) {
        const Result r = at(size);
        INFO(r.err);
        REQUIRE(r.code == 0);
        const json e = json::parse(r.out);
        CHECK(e.at("img_size") == h);
        CHECK(e.at("img_width") == w);
        CHECK(std::isfinite(e.at("loss").get<double>()));
        CHECK(e.at("loss") != plain.at("loss"));
      }
      check_refused(at("30"), 1, {"30 x 30", "patches of 4 x 4"});
      for (const char* nonsense : {"0", "x", "48x", "x48", "4097", "-4", "40x40x40", "4.5"})
        check_refused(at(nonsense), 2, {"--img-size", "HxW"});
    }
}

}  // namespace tessera::test
