// Every key of every section, of every model row and of every encoding, with values that break programs: each is accepted, and then the
// model it says can be built, or refused with one line. In this process, so that a sanitizer sees all of it.
#include <sys/resource.h>

#include <cmath>

#include "tessera/models/model.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/network.h"
#include "tests/cli/program.h"

namespace tessera::cli {
namespace {

/// Said as TOML, and as key=value where that has a way to say it.
struct Extreme {
  std::string toml, word;
};

const std::vector<Extreme>& extremes() {
  static const std::string longest(100'000, 'x');
  static const std::vector<Extreme> all = {{"nan", "nan"},
                                           {"-nan", "-nan"},
                                           {"inf", "inf"},
                                           {"-inf", "-inf"},
                                           {"-1", "-1"},
                                           {"0", "0"},
                                           {"2147483647", "2147483647"},
                                           {"2147483644", "2147483644"},
                                           {"-2147483648", "-2147483648"},
                                           {"1073741856", "1073741856"},
                                           {"9223372036854775807", "9223372036854775807"},
                                           {"-9223372036854775808", "-9223372036854775808"},
                                           {"1e300", "1e300"},
                                           {"1e-300", "1e-300"},
                                           {"1.7976931348623157e308", "1.7976931348623157e308"},
                                           {"5e-324", "5e-324"},
                                           {"-0.0", "-0.0"},
                                           {"0.9999999999", "0.9999999999"},
                                           {"\"\"", ""},
                                           {"\"" + longest + "\"", longest},
                                           {"\"a\\nb\"", "a\nb"},
                                           {"\"\\u0000\"", ""},
                                           {"true", "true"},
                                           {"\"[\"", "["},
                                           {"[]", "[]"},
                                           {"[2147483647, 2147483647]", "[2147483647, 2147483647]"},
                                           {"[-1, 0]", "[-1, 0]"},
                                           {"[nan, inf]", "[nan, inf]"},
                                           {"[[1], [2]]", "[[1],[2]]"},
                                           {"[\"a\", \"b\"]", "[a,b]"}};
  return all;
}

/// Small, so that what is accepted is built in no time.
void small(ConfigLayers& config, const std::string& model, const std::string& position) {
  config.set("model.name", model);
  config.set("position.name", position);
  const Options& known = tessera::model(model).defaults;
  const auto heads = known.find("num_heads");
  const bool list = heads != known.end() && std::holds_alternative<std::vector<int>>(heads->second);
  const std::pair<const char*, const char*> said[] = {{"embed_dim", "8"},          {"depth", "1"},
                                                      {"num_layers", "1"},         {"num_heads", list ? "[1, 2]" : "2"},
                                                      {"embed_dims", "[8, 8]"},    {"depths", "[1, 1]"},
                                                      {"mlp_ratios", "[2, 2]"},    {"sr_ratios", "[2, 1]"},
                                                      {"wss", "[4, 4]"},           {"widths", "[8, 8]"},
                                                      {"patch_sizes", "[3, 3]"},   {"patch_strides", "[2, 2]"},
                                                      {"patch_paddings", "[1, 1]"}};
  for (const auto& [key, value] : said)
    if (known.contains(key)) config.assign(fmt::format("model.{}={}", key, value));
}

/// "" when the configuration is taken and its model can be built and asked for its places; else why not.
std::string said(ConfigLayers& config) {
  try {
    const RunConfig c = config.resolve();
    const ModelRow& row = tessera::model(c.model);
    check_position(c.position, c.position_options, row.places(c.model_options));
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

struct Walk {
  int values = 0, taken = 0;
  void one(const std::string& model, const std::string& position, const std::string& key, const Extreme& value) {
    for (const bool toml : {true, false}) {
      ConfigLayers config;
      if (!toml) small(config, model, position);
      std::string why;
      try {
        if (toml) {
          config.read(
              fmt::format("model.name = \"{}\"\nposition.name = \"{}\"\n{} = {}\n", model, position, key, value.toml),
              "r.toml");
        } else {
          config.assign(key + "=" + value.word);
        }
        why = said(config);
      } catch (const Usage& e) {
        why = e.what();
      }
      ++values, taken += why.empty();
      INFO(model << " " << position << " " << key << " = " << value.toml.substr(0, 40) << (toml ? " in TOML" : ""));
      CAPTURE(why);
      CHECK(why.size() < 600);  // one line that a terminal shows
      CHECK(why.find('\n') == std::string::npos);
      const std::string& v = toml ? value.toml : value.word;
      if (v.find("nan") != std::string::npos || v.find("inf") != std::string::npos || v == "1e300") {
        // a name, a path or a pattern may be what it likes
        const bool word = key == "data.name" || key == "data.dir" || key == "train.weights" || key == "optim.freeze";
        CHECK((word || !why.empty()));
      }
    }
  }
};

}  // namespace

TEST_CASE("extreme values: every key of a run is taken or refused with one line, from TOML and from the command line") {
  Walk walk;
  for (const Key& key : run_keys())
    for (const Extreme& value : extremes()) walk.one("vit", "none", key.name, value);
  CHECK(walk.values > 2500);
  CHECK(walk.taken > 0);
}

TEST_CASE("extreme values: every key of every family of models") {
  Walk walk;
  for (const ModelRow& row : models()) {
    if (row.name != row.family) continue;
    for (const auto& [key, value] : row.defaults)
      for (const Extreme& extreme : extremes()) walk.one(row.name, "none", "model." + key, extreme);
  }
  CHECK(walk.values > 3000);
  CHECK(walk.taken > 0);
}

TEST_CASE("extreme values: every option of every encoding") {
  Walk walk;
  for (const PositionRow& row : positions())
    for (const auto& [key, value] : row.defaults)
      for (const Extreme& extreme : extremes()) walk.one("vit", row.name, "position." + key, extreme);
  CHECK(walk.values > 3000);
  CHECK(walk.taken > 0);
}

TEST_CASE("extreme values: what is taken is built and answers, in bounded memory") {
  // the largest and smallest that the domains of sizes let through, one key at a time, on a small model
  struct Case {
    const char *model, *position, *key;
    std::vector<std::string> values;
  };
  const std::vector<Case> cases = {{"vit", "shaw", "position.max_distance", {"0", "65536"}},
                                   {"vit", "huang4", "position.max_distance", {"0", "65536"}},
                                   {"vit", "t5", "position.num_buckets", {"4", "256"}},
                                   {"vit", "t5", "position.max_distance", {"9", "1048576"}},
                                   {"vit", "irpe", "position.ratio", {"1", "64"}},
                                   {"vit", "transformer_xl", "position.clamp_len", {"0", "1", "65536"}},
                                   {"vit", "music_transformer", "position.max_relative_position", {"1", "65536"}},
                                   {"vit", "rope", "position.base", {"1", "1e12"}},
                                   {"vit", "rope", "position.start", {"-65536", "65536"}},
                                   {"vit", "learned", "position.std", {"0", "1000"}},
                                   {"vit", "fire", "position.hidden", {"1", "8192"}},
                                   {"vit", "fire", "position.init_c", {"1e-6", "1e6"}},
                                   {"vit", "peg", "position.kernel", {"1", "31"}},
                                   {"vit", "sincos2d", "position.temperature", {"1", "1e12"}},
                                   {"vit", "gpsa", "position.gate", {"-100", "100"}},
                                   {"vit", "gpsa", "position.locality_strength", {"0", "10000"}},
                                   {"swin", "log_cpb", "position.pretrained_window_size", {"1", "16384"}},
                                   {"vit", "none", "model.qk_scale", {"0", "1e-6", "1e6"}},
                                   {"swin", "none", "model.qk_scale", {"0", "1e-6", "1e6"}},
                                   {"vit", "none", "model.init_values", {"0", "1e-12", "1000"}},
                                   {"vit", "none", "model.norm_eps", {"1e-12", "1"}},
                                   {"vit", "none", "model.num_classes", {"1", "100000"}},
                                   {"vit", "none", "model.depth", {"0", "100"}},
                                   {"vit", "none", "model.mlp_ratio", {"0.125", "1000"}},
                                   {"swin", "none", "model.window_size", {"1", "16384"}},
                                   {"swin", "none", "model.mask_value", {"0", "-1e6"}},
                                   {"swin", "none", "model.window_width", {"0", "1", "16384"}},
                                   {"swin_v2", "log_cpb", "model.window_width", {"0", "1", "16384"}},
                                   {"swin_v2", "none", "model.mask_value", {"0", "-1e6"}}};
  for (const Case& c : cases)
    for (const std::string& value : c.values) {
      INFO(c.model << " " << c.position << " " << c.key << " = " << value);
      ConfigLayers config;
      small(config, c.model, c.position);
      config.assign(std::string(c.key) + "=" + value);
      const Network net = build(config.resolve(), 1);
      const Tensor y = net.model->forward(Run{}, full(net.input.batch(1), real(0.5))).logits;
      for (const real v : y.values()) CHECK(std::isfinite(v));
    }
}

TEST_CASE("extreme values: the parts of a size are checked as a product, before anything is allocated") {
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::vector<std::string>& said : std::vector<std::vector<std::string>>{
           {"model.head_dim=1073741856"},
           {"model.embed_dim=65536", "model.num_heads=1"},
           {"model.embed_dim=65536", "model.num_heads=4096", "model.head_dim=65536"},
           {"model.num_heads=4096", "model.head_dim=65536"},
           {"model.embed_dim=4096", "model.depth=1000", "model.num_heads=1"},
           {"model.img_size=16384", "model.patch_size=1"},
           {"model.img_size=16384", "model.patch_size=16384", "model.in_chans=4096"},
           {"model.img_size=4096", "model.patch_size=1"},
           {"model.mlp_ratio=1000", "model.embed_dim=8192", "model.num_heads=1"},
           {"model.num_classes=1000000", "model.embed_dim=8192", "model.num_heads=1"},
           {"model.name=swin", "model.depths=[1,1,1,1,1,1,1,1]", "model.num_heads=[1,1,1,1,1,1,1,1]",
            "model.embed_dim=65536"},
           {"model.name=swin", "model.depths=[1000,1000]", "model.embed_dim=1024", "model.num_heads=[1,1]"},
           {"model.name=swin", "model.img_size=16384", "model.patch_size=1"},
           {"model.name=simple_vit", "model.img_size=8192", "model.patch_size=1"},
           {"train.batch_size=1048576", "train.accumulate=1048576"},
           {"data.name=where", "data.train_size=1000000000", "data.val_size=1000000000"}}) {
    ConfigLayers config;
    for (const std::string& s : said) config.assign(s);
    const std::string why = cli::said(config);
    INFO(said.front());
    CAPTURE(why);
    CHECK(!why.empty());
    CHECK(why.size() < 300);
  }
  getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 100'000);  // KB
}

}  // namespace tessera::cli
