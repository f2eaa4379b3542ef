// The domain beside the field: what a value may be, and in which company it means something, said by a struct or by Options.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <sstream>

#include "tessera/core/io/json.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/batchnorm.h"
#include "tessera/core/ops/dropout.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/models/model.h"
#include "tessera/models/vit.h"
#include "tessera/nn/layers.h"
#include "tessera/train/training/config.h"
#include "tessera/train/training/lanes.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

using test::error_of;
bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

TEST_CASE("domains: ranges, words and rules say what they take") {
  CHECK(text(one_of("adamw", "sgd"), Value("")) == "adamw | sgd");
  CHECK(text(below_one(), Value(0.5)) == "[0, 1)");
  CHECK(text(positive(1), Value(0.5)) == "(0, 1]");
  CHECK(text(within(1, 64), Value(3)) == "1 to 64");
  CHECK(text(at_least(0), Value(3)) == "0 or more");
  CHECK(text(within(1, 2).or_zero(), Value(0.5)) == "0 or [1, 2]");
  CHECK(text(anything(), Value(0.5)).empty());
  const auto refused = [](const Value& v, const Domain& d) {
    return error_of([&] { check_value("options", "x", v, d); });
  };
  for (const double v : {nan, inf, -inf}) CHECK(has(refused(v, {}), "finite"));
  CHECK(refused(1e300, {}).empty());
  CHECK(!refused(0.0, positive(1)).empty());
  CHECK(refused(1.0, positive(1)).empty());
  CHECK(refused(0.0, within(1, 2).or_zero()).empty());
  CHECK(!refused(0.5, within(1, 2).or_zero()).empty());
  CHECK(!refused(1 - 1e-12, below_one()).empty());  // 1 in fp32
  CHECK(has(refused(std::string("adam"), one_of("adamw", "sgd")), "did you mean \"adamw\""));
  CHECK(!refused(std::vector<int>{1, 0}, at_least(1)).empty());
  CHECK(has(refused(4, odd(1, 7)), "must be odd"));
  CHECK(has(refused(std::string("caf\xe9"), {}), "caf\\xe9"));
  CHECK(has(refused(std::string("a\0b", 3), {}), "NUL"));
  const std::string longest = refused(std::string(100'000, 'y'), one_of("x"));
  CHECK(longest.size() < 300);
}

TEST_CASE("domains: values of a struct are looked at like those of a file") {
  const auto refused = [](auto change) {
    RunConfig c;
    change(c);
    return error_of([&] { check(c); });
  };
  CHECK(has(refused([](RunConfig& c) { c.optim.lr = nan; }), "optim.lr"));
  CHECK(has(refused([](RunConfig& c) { c.sched.warmup_epochs = inf; }), "sched.warmup_epochs"));
  CHECK(has(refused([](RunConfig& c) { c.train.max_minutes = -inf; }), "train.max_minutes"));
  CHECK(has(refused([](RunConfig& c) { c.train.shard_size = std::numeric_limits<int>::max(); }), "train.shard_size"));
  CHECK(has(refused([](RunConfig& c) { c.train.batch_size = c.train.accumulate = 1 << 20; }), "accumulate"));
  CHECK(has(refused([](RunConfig& c) { c.train.seed = -1; }), "train.seed"));
  CHECK(refused([](RunConfig& c) { c.train.seed = std::numeric_limits<int64_t>::max(); }).empty());
  for (const auto& key : run_keys())
    if (std::holds_alternative<double>(key.value))
      for (const double v : {nan, inf, -inf})
        CHECK_MESSAGE(has(error_of([&] { config({{key.name, v}}); }), key.name.c_str()), key.name);
}

TEST_CASE("domains: options that do nothing beside the others are refused, at their default they are not") {
  const auto said = [](Options o) { return error_of([&] { check(config(o)); }); };
  CHECK(has(said({{"optim.momentum", 0.5}}), "optim.momentum is 0.5 but does nothing with optim.opt=adamw"));
  CHECK(said({{"optim.momentum", 0.9}}).empty());
  CHECK(said({{"optim.momentum", 0.5}, {"optim.opt", "sgd"}}).empty());
  CHECK(has(said({{"optim.nesterov", true}}), "optim.opt=sgd"));
  CHECK(has(said({{"optim.nesterov", true}, {"optim.opt", "sgd"}, {"optim.momentum", 0.0}}), "momentum"));
  CHECK(has(said({{"optim.betas", "[0.9, 0.95]"}, {"optim.opt", "sgd"}}), "optim.betas"));
  CHECK(has(said({{"optim.eps", 1e-6}, {"optim.opt", "sgd"}}), "optim.eps"));
  CHECK(has(said({{"sched.decay_rate", 0.5}}), "sched.sched=step"));
  CHECK(has(said({{"sched.decay_epochs", 5.0}, {"sched.sched", "constant"}}), "sched.decay_epochs"));
  CHECK(has(said({{"sched.min_lr", 1e-5}, {"sched.sched", "constant"}}), "sched.min_lr"));
  CHECK(has(said({{"sched.cooldown_epochs", 2.0}, {"sched.sched", "step"}}), "cooldown"));
  CHECK(
      has(said({{"sched.cooldown_epochs", 9.0}, {"train.epochs", 2}}), "sched.cooldown_epochs is 9 of train.epochs=2"));
  CHECK(said({{"sched.cooldown_epochs", 2.0}, {"train.epochs", 2}}).empty());
  // what runs have done that there are: a line has a rate then, and half a cosine that is not reached is none
  CHECK(said({{"sched.cooldown_epochs", 9.0}, {"train.epochs", 2}, {"sched.sched", "linear"}}).empty());
  CHECK(said({{"sched.cooldown_epochs", 9.0}, {"train.epochs", 2}, {"sched.warmup_epochs", 2.0}}).empty());
  CHECK(has(said({{"sched.warmup_lr", 1e-5}}), "sched.warmup_epochs"));
  CHECK(said({{"sched.warmup_lr", 1e-5}, {"sched.warmup_epochs", 1.0}}).empty());
  CHECK(has(said({{"augment.randaug_m", 3}}), "augment.randaug_n"));
  CHECK(has(said({{"augment.mix_prob", 0.5}}), "mixup or cutmix"));
  CHECK(has(said({{"augment.mix_off_epoch", 5}}), "mixup or cutmix"));
  CHECK(has(said({{"augment.switch_prob", 0.3}, {"augment.mixup", 0.2}}), "cutmix"));
  CHECK(said({{"augment.switch_prob", 0.3}, {"augment.mixup", 0.2}, {"augment.cutmix", 1.0}}).empty());
  CHECK(has(said({{"data.img_size", 64}, {"data.name", "cifar10"}}),
            "data.img_size is 64 but does nothing with cifar10"));
  CHECK(has(said({{"data.img_size", 64}, {"data.name", "where:border"}}), "data.img_size"));
  CHECK(said({{"data.img_size", 64}, {"data.name", "imagefolder:x"}}).empty());
  CHECK(has(said({{"data.test_size", 64}, {"data.name", "mnist"}}), "data.test_size"));
}

TEST_CASE("domains: of encodings, what the variant does not read is refused") {
  const auto said = [](const char* name, Options o) { return error_of([&] { position(name, o); }); };
  CHECK(has(said("rope_axial", {{"max_freq", 8.0}}), "variant=timm_pixel"));
  CHECK(has(said("rope_axial", {{"bands", "log"}, {"variant", "dinov3"}}), "bands"));
  CHECK(has(said("rope_axial", {{"theta", 10.0}, {"variant", "timm_pixel"}}), "theta"));
  CHECK(has(said("rope_axial", {{"layout", "halves"}, {"variant", "dinov3"}}), "layout"));
  CHECK(has(said("rope_axial", {{"rescale", true}, {"variant", "dinov3"}}), "rescale"));
  CHECK(has(said("sinusoidal", {{"resize", "bilinear"}}), "resolution=interpolate"));
  for (const char* name : {"huang1", "huang2", "huang3", "huang4"})
    CHECK(has(said(name, {{"index", "product"}, {"max_distance", 3}}), "index=product"));
  CHECK(has(said("cpe_raster", {{"padding", "circular"}}), "padding"));
  CHECK(has(said("gpsa", {{"local_init", false}, {"locality_strength", 2.0}}), "local_init"));
  CHECK(has(said("frozen_random", {{"decay", true}}), "frozen"));
  CHECK(has(said("learned+rope_axial", {{"rope_axial.max_freq", 8.0}}), "max_freq"));
  CHECK(has(error_of([&] {
              model("vit").places({{"no_embed_class", true}, {"class_token", false}, {"global_pool", "avg"}});
            }),
            "class_token"));
}

TEST_CASE("domains: every real option of every encoding and every model refuses what is no number") {
  for (const auto& row : positions())
    for (const auto& [key, value] : row.defaults) {
      if (!std::holds_alternative<double>(value)) continue;
      for (const double v : {nan, inf, -inf, 1e300, -1.0})
        CHECK_MESSAGE((has(error_of([&, &k = key] {
                             position(row.name, {{k, v}});
                           }),
                           key.c_str()) ||
                       (v == -1 && key == "gate")),  // sigmoid(-1) is as good a start as any
                      row.name << " " << key << " " << v);
    }
  for (const auto& row : models())
    for (const auto& [key, value] : row.defaults) {
      if (!std::holds_alternative<double>(value)) continue;
      for (const double v : {nan, inf, -inf, 1e300})
        CHECK_MESSAGE(has(error_of([&, &k = key] {
                            row.places({{k, v}});
                          }),
                          key.c_str()),
                      row.name << " " << key << " " << v);
    }
  for (const char* name : {"vit", "swin", "simple_vit"})
    CHECK(has(error_of([&] { model(name).places({{"qk_scale", -1.0}}); }), "qk_scale"));
}

TEST_CASE("domains: integers of encodings have an upper end") {
  for (const auto& row : positions())
    for (const auto& [key, value] : row.defaults) {
      if (!std::holds_alternative<int>(value)) continue;
      for (const int v : {std::numeric_limits<int>::max(), std::numeric_limits<int>::min()})
        CHECK_MESSAGE(!error_of([&, &k = key] { position(row.name, {{k, v}}); }).empty(), row.name << " " << key);
    }
  CHECK(!error_of([] { position("shaw", {{"max_distance", -1}}); }).empty());
  CHECK(error_of([] { position("shaw", {{"max_distance", 0}}); }).empty());  // one row for all offsets
  CHECK(!error_of([] { position("peg", {{"after", std::vector<int>{std::numeric_limits<int>::max()}}}); }).empty());
  CHECK(!error_of([] { position("irpe", {{"on", "kk"}}); }).empty());
}

TEST_CASE("sizes: products that overflow are refused where the layer is built") {
  Params params(0, Draw::no);
  Attention::Config a{.dim = 128, .num_heads = 4, .head_dim = 1'073'741'856};
  CHECK(has(error_of([&] { Attention(Scope(params) / "a", a); }), "too wide"));
  for (const double scale : {-1.0, nan, inf, -inf}) {
    Attention::Config b{.dim = 8, .num_heads = 2, .qk_scale = scale};
    CHECK(has(error_of([&] { b.scale(); }), "qk_scale"));
  }
  CHECK(has(error_of([&] { Linear(Scope(params) / "l", 65536, 65536); }), "2^30"));
  CHECK(has(error_of([&] { model("vit").places({{"embed_dim", 65536}}); }), "2^30"));
  CHECK(has(error_of([&] { model("vit").places({{"img_size", 4096}, {"patch_size", 1}}); }), "2^43"));
}

TEST_CASE("sizes: an op without channels or samples says so or does nothing, and divides by no zero") {
  const Tensor none(Shape{2, 0}), nothing(Shape{0});
  Run train;
  train.mode = Mode::train;
  CHECK(has(error_of([&] { batchnorm(none, nothing, nothing, nothing, nothing, 1e-5, Run{}); }), "no channels"));
  CHECK(dropout(Tensor(Shape{0, 3}), 0.5, {}, train).size() == 0);
  CHECK(has(error_of([] { heads(Tensor(Shape{1, 2, 8}), 1 << 30, 0, 4); }), "does not split"));
}

TEST_CASE("lanes: a shard larger than any batch is one shard") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {2}, constant(1));
  const auto total = [&](int shard_size) {
    Lanes lanes({.lanes = 2, .shard_size = shard_size});
    Batch batch;
    batch.in.x = full({6, 2}, 1), batch.labels = Index(6, 0), batch.of = 6;
    return lanes({Mode::train, 1, 0, 0}, batch, [&](const Run&, const Batch& shard) { return sum(mul(shard.in.x, w)); })
        .value;
  };
  CHECK(total(6) == 12);
  CHECK(total(std::numeric_limits<int>::max()) == 12);
}

TEST_CASE("images in PyTorch's layout are recognised, and a size of two numbers names img_width") {
  Params params(1);
  const auto net = model("vit").make(Scope(params), {{"depth", 1}}, position("none"));
  const std::string why = error_of([&] { net->forward(Run{}, zeros({2, 3, 32, 32})); });
  CHECK(has(why, "(B, C, H, W)"));
  CHECK(has(why, "permute"));
  CHECK(has(error_of([&] { net->forward(Run{}, zeros({2, 32, 32})); }), "(B, H, W, 3)"));
  CHECK(has(error_of([] { model("vit").places({{"img_size", std::vector<int>{24, 40}}}); }), "img_width"));
  CHECK(has(error_of([] { model("swin").places({{"ape", true}}); }), "learned+relative_position_bias"));
  CHECK(error_of([] { model("swin").places({{"global_pool", "avg"}}); }).empty());
  CHECK(has(error_of([] { model("swin").places({{"global_pool", "token"}}); }), "avg"));
}

TEST_CASE("qk_scale is the factor of the logits in every family") {
  for (const char* name : {"vit", "simple_vit", "swin"})
    CHECK(model(name).places({{"qk_scale", 0.3}}).sites[0].scale == 0.3);
}

TEST_CASE("seeds of 64 bits survive the way through a file") {
  const int64_t seed = std::numeric_limits<int64_t>::max() - 6;
  RunConfig c;
  c.train.seed = c.data.seed = seed;
  CHECK(config(values(c)).train.seed == seed);
  CHECK(toml(c).find("seed = 9223372036854775801") != std::string::npos);
  CHECK(std::get<int64_t>(convert("train.seed", "9223372036854775801", Value(int64_t{0}))) == seed);
  CHECK(!error_of([] { convert("train.seed", "9223372036854775808", Value(int64_t{0})); }).empty());
}

TEST_CASE("JSON deeper than any file of this program is refused before it is parsed") {
  const std::string deep(100'000, '[');
  CHECK(has(error_of([&] { io::parse_json(deep, "f.json"); }), "f.json"));
  CHECK(error_of([&] { io::parse_json("{\"a\": \"" + std::string(100, '[') + "\\\"[[[[\"}", "f.json"); }).empty());
}

TEST_CASE("no number is read by the rules of the C locale, where a decimal comma cuts it short") {
  namespace fs = std::filesystem;
  const std::regex by_locale(R"(\b(stod|stof|stold|atof|strtod|strtof|strtold|sscanf)\s*\()");
  int files = 0;
  for (const char* folder : {"core", "nn", "models", "train"})
    for (const auto& e : fs::recursive_directory_iterator(fs::path(TESSERA_SOURCE_DIR) / folder)) {
      if (e.path().extension() != ".cpp" && e.path().extension() != ".h") continue;
      std::ifstream file(e.path());
      std::ostringstream text;
      text << file.rdbuf();
      ++files;
      CHECK_MESSAGE(!std::regex_search(text.str(), by_locale), e.path().string());
    }
  CHECK(files > 100);
}

}  // namespace
}  // namespace tessera
