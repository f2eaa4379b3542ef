#include "train/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tessera {
namespace {

using D = DataConfig;
using A = AugmentConfig;
using O = OptimConfig;
using S = SchedConfig;
using T = TrainConfig;

constexpr Field<D> data_table[] = {
    {"name", &D::name,
     "cifar10, cifar100, mnist, fashion-mnist, cifar10:DIR or cifar100:DIR (a folder with any number of records), "
     "imagefolder:DIR, where[:TASK]; empty: what is found"},
    {"dir", &D::dir, "where named sets are looked for before $TESSERA_DATA and ./data"},
    {"train_size", &D::train_size, "training images; 0: all that val_size leaves (where: 4000)"},
    {"val_size", &D::val_size, "images held out of the training set for validation; 0: none"},
    {"test_size", &D::test_size, "test images of `where`; 0: 1000"},
    {"fraction", &D::fraction, "share of every class of the training set that is used"},
    {"img_size", &D::img_size, "imagefolder: size that images are brought to; 0: their own"},
    {"seed", &D::seed, "of the split, of fraction and of `where`"},
    {"workers", &D::workers, "background threads that prepare batches"},
};
constexpr Field<A> augment_table[] = {
    {"crop", &A::crop, "zero padding on each side before a random crop of the original size"},
    {"flip", &A::flip, "left-right flip with probability 1/2"},
    {"randaug_n", &A::randaug_n, "RandAugment: operations per image; 0: off"},
    {"randaug_m", &A::randaug_m, "RandAugment: magnitude, 0 to 10"},
    {"randaug_mstd", &A::randaug_mstd, "RandAugment: standard deviation of the magnitude"},
    {"randaug_prob", &A::randaug_prob, "RandAugment: probability of each chosen operation"},
    {"erase", &A::erase, "probability of random erasing"},
    {"mixup", &A::mixup, "alpha of mixup; 0: off"},
    {"cutmix", &A::cutmix, "alpha of CutMix; 0: off"},
    {"mix_prob", &A::mix_prob, "probability that a batch is mixed"},
    {"switch_prob", &A::switch_prob, "probability of CutMix rather than mixup when both are on"},
    {"mix_off_epoch", &A::mix_off_epoch, "no mixing from this epoch on; 0: always"},
};
constexpr Field<O> optim_table[] = {
    {"opt", &O::opt, "adamw or sgd"},
    {"lr", &O::lr, "learning rate after the warm-up"},
    {"weight_decay", &O::weight_decay,
     "decoupled for adamw, part of the gradient for sgd; not on biases, norms, tables"},
    {"betas", &O::betas, "adamw: decay of the two moments"},
    {"eps", &O::eps, "adamw: added to the root of the second moment"},
    {"momentum", &O::momentum, "sgd"},
    {"nesterov", &O::nesterov, "sgd"},
    {"clip_grad", &O::clip_grad, "largest norm of the whole gradient; 0: no clipping"},
};
constexpr Field<S> sched_table[] = {
    {"sched", &S::sched, "cosine, step or constant; moves every step"},
    {"warmup_epochs", &S::warmup_epochs, "linear warm-up"},
    {"warmup_lr", &S::warmup_lr, "learning rate at the start of the warm-up"},
    {"min_lr", &S::min_lr, "learning rate at the end"},
    {"cooldown_epochs", &S::cooldown_epochs, "last epochs, at min_lr"},
    {"decay_epochs", &S::decay_epochs, "step: epochs between two decays"},
    {"decay_rate", &S::decay_rate, "step: factor of a decay"},
};
constexpr Field<T> train_table[] = {
    {"epochs", &T::epochs, "passes over the training set"},
    {"batch_size", &T::batch_size, "images of a batch"},
    {"seed", &T::seed, "of the weights, the order of images, augmentation and dropout"},
    {"precision", &T::precision, "f32"},
    {"ema_decay", &T::ema_decay, "moving average of the weights, which is then evaluated and saved; 0: off"},
    {"label_smoothing", &T::label_smoothing, "share of the target spread over all classes"},
    {"shard_size", &T::shard_size, "images that run through the network together; part of the arithmetic"},
    {"lanes", &T::lanes, "partial sums of the gradient; part of the arithmetic, independent of threads"},
    {"accumulate", &T::accumulate,
     "batches of batch_size that make one optimiser step, as one batch of their size would"},
    {"max_steps", &T::max_steps, "end the run after so many steps; 0: no limit"},
    {"max_minutes", &T::max_minutes, "end the run after so much time; 0: no limit"},
    {"patience", &T::patience, "end the run when so many epochs brought no better validation; 0: never"},
    {"best_weights", &T::best_weights, "write best.safetensors too, the weights that were best in validation"},
    {"eval_every", &T::eval_every, "epochs between two validations"},
    {"checkpoint_every", &T::checkpoint_every, "epochs between two checkpoints"},
    {"checkpoint_steps", &T::checkpoint_steps, "steps between two checkpoints inside an epoch; 0: none"},
    {"checkpoint_minutes", &T::checkpoint_minutes, "minutes between two checkpoints inside an epoch; 0: none"},
};

template <class C>
void list(std::vector<RunKey>& keys, const char* section, Fields<C> fields) {
  const Options defaults = read(C(), fields);
  for (const auto& f : fields) keys.push_back({std::string(section) + "." + f.name, defaults.at(f.name), f.help});
}

template <class F>
void each_section(F f) {
  f("data", &Config::data, data_fields());
  f("augment", &Config::augment, augment_fields());
  f("optim", &Config::optim, optim_fields());
  f("sched", &Config::sched, sched_fields());
  f("train", &Config::train, train_fields());
}

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string toml_value(const Value& v) {
  if (const auto* s = std::get_if<std::string>(&v)) return quoted(*s);
  std::string t = text(v);
  // TOML tells integers and reals apart by their looks
  if (std::holds_alternative<double>(v) && t.find_first_of(".einf") == std::string::npos) t += ".0";
  return t;
}

}  // namespace

Fields<DataConfig> data_fields() { return data_table; }
Fields<AugmentConfig> augment_fields() { return augment_table; }
Fields<OptimConfig> optim_fields() { return optim_table; }
Fields<SchedConfig> sched_fields() { return sched_table; }
Fields<TrainConfig> train_fields() { return train_table; }

const std::vector<RunKey>& run_keys() {
  static const auto keys = [] {
    std::vector<RunKey> k;
    each_section([&](const char* section, auto, auto fields) { list(k, section, fields); });
    return k;
  }();
  return keys;
}

Config config(const Options& all) {
  Config c;
  std::map<std::string, Options, std::less<>> sections;
  for (const auto& [key, value] : all) {
    const size_t dot = key.find('.');
    if (dot == std::string::npos) fail("config", "{} has no section; expected SECTION.KEY such as optim.lr", key);
    sections[key.substr(0, dot)][key.substr(dot + 1)] = value;
  }
  const auto named = [&](const char* section, std::string& name, Options& options) {
    options = sections[section];
    if (const auto it = options.find("name"); it != options.end()) {
      name = text(it->second);
      options.erase(it);
    }
    sections.erase(section);
  };
  named("model", c.model, c.model_options);
  named("position", c.position, c.position_options);
  each_section([&](const char* section, auto member, auto fields) {
    assign(c.*member, fields, sections[section], section);
    sections.erase(section);
  });
  if (!sections.empty()) {
    const std::string known[] = {"model", "position", "data", "augment", "optim", "sched", "train"};
    unknown("config", sections.begin()->first, known);
  }
  return c;
}

Options values(const Config& c) {
  Options all;
  all["model.name"] = c.model, all["position.name"] = c.position;
  for (const auto& [key, value] : c.model_options) all["model." + key] = value;
  for (const auto& [key, value] : c.position_options) all["position." + key] = value;
  each_section([&](const char* section, auto member, auto fields) {
    for (const auto& [key, value] : read(c.*member, fields)) all[std::string(section) + "." + key] = value;
  });
  return all;
}

std::string toml(const Config& c) {
  std::string out;
  // a composition's keys are NAME.KEY: dotted keys, which TOML reads as tables of their own
  const auto section = [&](const char* name, const std::string& chosen, const Options& options) {
    out += fmt::format("[{}]\nname = {}\n", name, quoted(chosen));
    for (const auto& [key, value] : options) out += fmt::format("{} = {}\n", key, toml_value(value));
  };
  section("model", c.model, c.model_options);
  out += '\n';
  section("position", c.position, c.position_options);
  each_section([&](const char* name, auto member, auto fields) {
    out += fmt::format("\n[{}]\n", name);
    const Options all = read(c.*member, fields);
    for (const auto& f : fields) out += fmt::format("{} = {}\n", f.name, toml_value(all.at(f.name)));
  });
  return out;
}

std::array<double, 2> betas(const OptimConfig& o) {
  std::array<double, 2> b{};
  std::string_view s = o.betas;
  size_t n = 0;
  const auto skip = [&](std::string_view what) {
    while (!s.empty() && what.find(s.front()) != std::string_view::npos) s.remove_prefix(1);
  };
  for (skip(" ["); n < 2; ++n, skip(" ,")) {
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), b[n]);
    if (error != std::errc()) break;
    s.remove_prefix(static_cast<size_t>(end - s.data()));
  }
  skip(" ]");
  if (n != 2 || !s.empty() || !(b[0] >= 0 && b[0] < 1 && b[1] >= 0 && b[1] < 1))
    fail("optim", "betas is {}, expected two numbers in [0, 1) such as [0.9, 0.999]", o.betas);
  return b;
}

void check(const Config& c) {
  const auto need = [](bool good, std::string_view key, const auto& value, std::string_view expected) {
    if (!good) fail("config", "{} is {}, expected {}", key, value, expected);
  };
  const auto share = [&](std::string_view key, double v) { need(v >= 0 && v < 1, key, v, "a number in [0, 1)"); };
  const auto positive = [&](std::string_view key, double v) { need(v > 0, key, v, "a number above 0"); };
  const auto least = [&](std::string_view key, double v, int low) {
    need(v >= low, key, v, fmt::format("{} or more", low));
  };
  least("data.train_size", c.data.train_size, 0), least("data.val_size", c.data.val_size, 0);
  least("data.test_size", c.data.test_size, 0), least("data.img_size", c.data.img_size, 0);
  need(c.data.fraction > 0 && c.data.fraction <= 1, "data.fraction", c.data.fraction, "a number in (0, 1]");
  need(c.data.workers >= 1 && c.data.workers <= 256, "data.workers", c.data.workers, "1 to 256");

  need(c.optim.opt == "adamw" || c.optim.opt == "sgd", "optim.opt", c.optim.opt, "adamw or sgd");
  betas(c.optim);
  least("optim.lr", c.optim.lr, 0), least("optim.weight_decay", c.optim.weight_decay, 0);
  positive("optim.eps", c.optim.eps), least("optim.clip_grad", c.optim.clip_grad, 0);
  share("optim.momentum", c.optim.momentum);

  const auto& s = c.sched;
  need(s.sched == "cosine" || s.sched == "step" || s.sched == "constant", "sched.sched", s.sched,
       "cosine, step or constant");
  least("sched.warmup_epochs", s.warmup_epochs, 0), least("sched.warmup_lr", s.warmup_lr, 0);
  least("sched.min_lr", s.min_lr, 0), least("sched.cooldown_epochs", s.cooldown_epochs, 0);
  positive("sched.decay_epochs", s.decay_epochs), positive("sched.decay_rate", s.decay_rate);

  const auto& t = c.train;
  need(t.epochs >= 1 && t.epochs <= 1'000'000, "train.epochs", t.epochs, "1 or more");
  least("train.batch_size", t.batch_size, 1), least("train.seed", t.seed, 0);
  need(t.precision == "f32" || t.precision == "bf16", "train.precision", t.precision, "f32 or bf16");
  share("train.ema_decay", t.ema_decay), share("train.label_smoothing", t.label_smoothing);
  least("train.shard_size", t.shard_size, 1);
  need(t.lanes >= 1 && t.lanes <= 64, "train.lanes", t.lanes, "1 to 64");
  least("train.accumulate", t.accumulate, 1), least("train.eval_every", t.eval_every, 1);
  least("train.max_steps", t.max_steps, 0), least("train.max_minutes", t.max_minutes, 0);
  least("train.checkpoint_every", t.checkpoint_every, 1), least("train.checkpoint_steps", t.checkpoint_steps, 0);
  least("train.checkpoint_minutes", t.checkpoint_minutes, 0), least("train.patience", t.patience, 0);
}

}  // namespace tessera
