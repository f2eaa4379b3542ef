// What a row of the registry says of its model: what it eats, how it follows data, and what its weights say of it.
#include <doctest/doctest.h>

#include "tessera/models/row.h"
#include "tessera/models/weights_metadata.h"
#include "tessera/train/training/complete.h"
#include "tests/error_of.h"
#include "tests/unit/toy_rows.h"

namespace tessera {
namespace {

using Kind = InputShape::Kind;
using test::error_of;

bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

DataShape images(int h, int w, int channels = 3, int classes = 10) {
  return {"pictures", {.h = h, .w = w, .channels = channels}, classes};
}

TEST_CASE("rows: every model of images says of which size") {
  for (const ModelRow& row : models()) {
    CAPTURE(row.name);
    const InputShape standard = row.input({});
    if (standard.kind != Kind::image) continue;
    CHECK(standard.h == std::get<int>(row.defaults.at("img_size")));
    CHECK(standard == row.input(row.defaults));
    const InputShape other = row.input({{"img_size", 64}, {"img_width", "32"}, {"in_chans", 1}});
    CHECK(other == InputShape{.h = 64, .w = 32, .channels = 1});
    CHECK(other.batch(5) == Shape{5, 64, 32, 1});
    CHECK(has(error_of([&] { row.input({{"img_size", 0}}); }), "img_size"));
  }
}

TEST_CASE("rows: a family follows the data, and fit is the inverse of input") {
  for (const char* name : {"vit", "simple_vit", "swin"})
    for (const DataShape& data : {images(32, 32), images(64, 32, 1, 7)}) {
      const ModelRow& row = model(name);
      Options said{{"embed_dim", 24}};
      fit(row, said, data);
      CHECK(row.input(said) == data.input);
      CHECK(said.at("num_classes") == Value(data.classes));
      CHECK(said.at("embed_dim") == Value(24));
      CHECK(said.size() == row.defaults.size());
    }
}

TEST_CASE("rows: what was said for other data is refused, and a named configuration keeps its size") {
  const auto refused = [](const char* name, Options said, const DataShape& data) {
    return error_of([&] { fit(model(name), said, data); });
  };
  CHECK(
      has(refused("vit", {{"num_classes", 3}}, images(32, 32)), "model.num_classes is 3 but pictures has 10 classes"));
  CHECK(has(refused("vit", {{"in_chans", 1}}, images(32, 32)), "model.in_chans=3"));
  CHECK(has(refused("swin", {{"img_size", 64}}, images(32, 32)), "set model.img_size=32"));
  CHECK(has(refused("vit", {{"img_size", 32}}, images(32, 48)), "model.img_size=32 model.img_width=48"));
  CHECK(has(refused("vit", {{"img_size", "wide"}}, images(32, 32)), "img_size"));
  const std::string why = refused("vit_tiny_patch16_224", {}, images(32, 32));
  CHECK(has(why, "is made for images of 224 x 224"));
  CHECK(has(why, "vit_tiny_patch4_32"));
  CHECK(has(why, "2 x 2 patches of 16"));
  CHECK(refused("vit_tiny_patch16_224", {{"img_size", 32}}, images(32, 32)).empty());
  CHECK(has(refused("vit", {}, {"speech", {.kind = Kind::frames, .features = 80}, 10}),
            "vit takes images of 32 x 32 with 3 channels, but speech holds sequences of 80 features"));
}

TEST_CASE("rows: sequences are a row's matter alone") {
  const ModelRow frames = toy::frames_row();
  CHECK(frames.input({}).batch(2) == Shape{2, 128, 5});
  Options said;
  fit(frames, said, {"speech", {.kind = Kind::frames, .T = 60, .features = 40}, 7});
  CHECK(frames.input(said) == InputShape{.kind = Kind::frames, .features = 40});
  CHECK(said.at("num_classes") == Value(7));
  Options other{{"input_dim", 80}};
  CHECK(has(error_of([&] {
              fit(frames, other, {"speech", {.kind = Kind::frames, .features = 40}, 7});
            }),
            "set model.input_dim=40"));
  other.clear();
  CHECK(
      has(error_of([&] { fit(frames, other, images(32, 32)); }), "sequences of 5 features, but pictures holds images"));
  ModelRow tokens = frames;
  tokens.input = [](const Options&) { return InputShape{.kind = Kind::tokens, .T = 16, .vocabulary = 256}; };
  tokens.fit = nullptr;
  CHECK(tokens.input({}).batch(2) == Shape{2, 16});
  CHECK(error_of([&] { fit(tokens, other, {"text", {.kind = Kind::tokens, .T = 9, .vocabulary = 100}, 2}); }).empty());
  CHECK(has(error_of([&] {
              fit(tokens, other, {"text", {.kind = Kind::tokens, .T = 17, .vocabulary = 100}, 2});
            }),
            "sequences of 16 steps of 256 kinds of tokens"));
  CHECK(!error_of([&] { fit(tokens, other, {"text", {.kind = Kind::tokens, .T = 9, .vocabulary = 257}, 2}); }).empty());
}

TEST_CASE("a run's options that do nothing with its data are refused when they meet") {
  data::Set set;
  set.h = set.w = 32, set.channels = 3, set.classes = 10;
  const auto refused = [&](const char* name, auto change) {
    RunConfig c;
    c.data.name = set.name = name;
    change(c);
    check(c);  // says nothing: runs that said it once can be read
    return error_of([&] { complete(c, set); });
  };
  const auto seed = [](RunConfig& c) { c.data.seed = 3; };
  const auto seldom = [](RunConfig& c) { c.train.eval_every = 2; };
  const auto held_out = [](RunConfig& c) { c.data.val_size = 5, c.data.seed = 3, c.train.eval_every = 2; };
  for (const char* name : {"cifar10", "mnist", "cifar10:some/folder"}) {
    CHECK(has(refused(name, seed), "data.seed is 3 but does nothing"));
    CHECK(has(refused(name, seldom), "data.val_size"));
    CHECK(refused(name, held_out).empty());
    CHECK(refused(name, [](RunConfig& c) { c.data.fraction = 0.5, c.data.seed = 3; }).empty());
  }
  for (const char* name : {"where", "where:border", "imagefolder:x"}) CHECK(refused(name, seed).empty());
  CHECK(has(refused("where", seldom), "train.eval_every is 2 but does nothing"));
  CHECK(refused("imagefolder:x", seldom).empty());  // its folder may have a val
}

TEST_CASE("weights' metadata: every option of the model, and places that are those of the file") {
  for (const ModelRow& row : models()) {
    CAPTURE(row.name);
    const io::Metadata said = weights_metadata(row, row.defaults);
    CHECK(said.size() == row.defaults.size());
    for (const auto& [key, value] : row.defaults) CHECK(parse(key, text(value), value) == value);
    const auto back = places_of(said, row, {});
    REQUIRE(back);
    CHECK(back->sites.size() == row.places({}).sites.size());
  }
  const auto at = places_of(
      weights_metadata(model("swin"), {{"depths", std::vector{2, 2, 2}}, {"num_heads", std::vector{3, 6, 6}}}),
      model("swin"), {});
  REQUIRE(at);
  CHECK(at->sites.size() == 6);
  CHECK(at->sites.back().heads == 6);
}

TEST_CASE("weights' metadata: a head, a depth or a class token that differ do not stop fine-tuning") {
  const ModelRow& row = model("vit");
  const io::Metadata file = weights_metadata(row, {{"img_size", 64}, {"num_classes", 1000}, {"depth", 2}});
  const auto from =
      places_of(file, row, {{"num_classes", 2}, {"depth", 6}, {"class_token", false}, {"global_pool", "avg"}});
  REQUIRE(from);
  CHECK(from->sites.size() == 2);
  CHECK(from->tokens[0].trained == Grid{16, 16, 1});
  // a file of another family says nothing of this one
  CHECK_FALSE(places_of(
                  [&] {
                    io::Metadata swin = weights_metadata(model("swin"), {});
                    swin["model"] = "swin_cifar_small";
                    return swin;
                  }(),
                  row, {})
                  .has_value());
}

TEST_CASE("weights' metadata: the four keys of older files are enough, unknown ones are not read, wrong ones refused") {
  const ModelRow& row = model("swin");
  const io::Metadata old{
      {"model.img_size", "48"}, {"model.img_width", "0"}, {"model.patch_size", "2"}, {"model.window_size", "6"}};
  const auto at = places_of(old, row, {{"depths", std::vector{1, 1}}, {"num_heads", std::vector{1, 2}}});
  REQUIRE(at);
  CHECK(at->sites.size() == 2);
  CHECK(at->sites[0].trained.window == Window{6, 6, 0, 0});
  CHECK(at->sites[0].trained.q == Grid{24, 24, 0});
  CHECK_FALSE(places_of({{"model.flux", "9"}, {"model", "swin"}}, row, {}).has_value());
  const auto wrong = [&](const char* key, const std::string& value) {
    return error_of([&] { places_of({{std::string("model.") + key, value}}, row, {}); });
  };
  for (const auto& [key, value] : {std::pair("img_size", "wide"),
                                   {"img_size", "-1"},
                                   {"img_size", "1e9"},
                                   {"window_size", "2147483648"},
                                   {"window_size", "16385"},
                                   {"depths", "[2"},
                                   {"depths", "[2, -1]"},
                                   {"mlp_ratio", "nan"},
                                   {"global_pool", "token"},
                                   {"qkv_bias", "perhaps"},
                                   {"depths", "[2, 2, 2]"},
                                   {"patch_size", "5"}}) {
    const std::string why = wrong(key, value);
    CAPTURE(why);
    CHECK(!why.empty());
    CHECK(why.find('\n') == std::string::npos);
    CHECK(why.size() < 300);
  }
  CHECK(wrong("img_size", std::string(1 << 20, '9')).size() < 400);
}

}  // namespace
}  // namespace tessera
