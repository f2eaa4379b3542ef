#include "tessera/train/training/config.h"

#include <algorithm>
#include <limits>

#include "tessera/train/data/named.h"
#include "tessera/train/data/progressive.h"
#include "tessera/train/training/optim_config.h"
#include "tessera/train/training/spellings.h"

namespace tessera {
namespace {

using D = DataConfig;
using A = AugmentConfig;
using O = OptimConfig;
using S = SchedConfig;
using T = TrainConfig;

constexpr int any_int = std::numeric_limits<int>::max();
constexpr double any_rate = 1e30;  // far above what trains, and still an fp32 number
constexpr double any_time = 1e9;

bool two_decays_of(const Value& v) {
  const auto& b = std::get<std::vector<double>>(v);
  return b.size() == 2 && std::ranges::all_of(b, [](double x) { return x >= 0 && static_cast<float>(x) < 1; });
}
constexpr Domain two_decays = such_that(two_decays_of, "two numbers in [0, 1) such as [0.9, 0.999]");

/// Does `read` take the word, or no word at all?
template <auto read>
bool readable(const Value& v) {
  try {
    read(std::get<std::string>(v));
    return true;
  } catch (const Error&) {
    return false;
  }
}
constexpr Domain factors = such_that(readable<lr_scales>, "PATTERN=FACTOR, ... such as \"head.*=10, pos_embed=0.1\"");
constexpr Domain sizes = such_that(readable<data::progressive>, "SIZE@EPOCH, ... such as \"16@0, 24@10, 32@20\"");

constexpr Field<D> data_table[] = {
    {"name", &D::name,
     "cifar10, cifar100, mnist, fashion-mnist, cifar10:DIR or cifar100:DIR (a folder with any number of records), "
     "imagefolder:DIR, fsdd, fsdd:DIR, audiofolder:DIR, sequences:TASK, where[:TASK]; empty: what is found"},
    {"dir", &D::dir, "where named sets are looked for before $TESSERA_DATA and ./data"},
    {"train_size", &D::train_size, "training samples; 0: all that val_size leaves (where: 4000)", within(0, 1e9)},
    {"val_size", &D::val_size, "samples held out of the training set for validation; 0: none", within(0, 1e9)},
    {"test_size", &D::test_size, "test samples of what is made in memory (where, sequences); 0: 1000", within(0, 1e9)},
    {"fraction", &D::fraction, "share of every class of the training set that is used", positive(1)},
    {"img_size", &D::img_size, "imagefolder: size that images are brought to; 0: their own", within(0, 4096)},
    {"seed", &D::seed, "of the split, of fraction and of what is made in memory", at_least(0)},
    {"workers", &D::workers, "background threads that prepare batches", within(1, 256)},
    {"n_mels", &D::n_mels, "recordings: log-mel features of a frame", within(1, 1024)},
    {"sample_rate", &D::sample_rate, "recordings: samples a second that all must have; 0: those of the first file",
     within(1000, 768'000).or_zero()},
    {"window_ms", &D::window_ms, "recordings: milliseconds that a frame sees", within(1, 1000)},
    {"hop_ms", &D::hop_ms, "recordings: milliseconds from one frame to the next", within(1, 1000)},
    {"bucket", &D::bucket, "sequences: so many batches are filled by length, which saves padding; 0: as they are drawn",
     within(0, 1e6)},
    {"progressive", &D::progressive,
     "images: the size they are trained at from which epoch on; empty: their own all the time", sizes},
};
constexpr Field<A> augment_table[] = {
    {"crop", &A::crop, "padding on each side before a random crop of the original size", within(0, 4096)},
    {"padding_mode", &A::padding_mode, "what crop pads with: constant (zeros) | reflect (the image, mirrored)",
     one_of("constant", "reflect").only_with("crop")},
    {"flip", &A::flip, "left-right flip"},
    {"flip_mode", &A::flip_mode,
     "random (probability 1/2) | alternate (a fixed half of the images in even epochs, the others in odd ones)",
     one_of("random", "alternate").only_with("flip")},
    {"randaug_n", &A::randaug_n, "RandAugment: operations per image; 0: off", within(0, 16)},
    {"randaug_m", &A::randaug_m, "RandAugment: magnitude", within(0, 10).only_with("randaug_n")},
    {"randaug_mstd", &A::randaug_mstd, "RandAugment: standard deviation of the magnitude",
     within(0, 100).only_with("randaug_n")},
    {"randaug_prob", &A::randaug_prob, "RandAugment: probability of each chosen operation",
     within(0, 1).only_with("randaug_n")},
    {"erase", &A::erase, "probability of random erasing", within(0, 1)},
    {"mixup", &A::mixup, "alpha of mixup; 0: off", within(1e-3, 1000).or_zero()},
    {"cutmix", &A::cutmix, "alpha of CutMix; 0: off", within(1e-3, 1000).or_zero()},
    {"mix_prob", &A::mix_prob, "probability that a batch is mixed", within(0, 1)},
    {"switch_prob", &A::switch_prob, "probability of CutMix rather than mixup when both are on",
     within(0, 1).only_with("mixup")},
    {"mix_off_epoch", &A::mix_off_epoch, "no mixing from this epoch on; 0: always", within(0, any_int)},
    {"freq_masks", &A::freq_masks, "SpecAugment: bands of features that become zero; 0: none", within(0, 100)},
    {"freq_width", &A::freq_width, "SpecAugment: the widest of them, in features",
     within(1, 1024).only_with("freq_masks")},
    {"time_masks", &A::time_masks, "SpecAugment: stretches of frames that become zero; 0: none", within(0, 100)},
    {"time_width", &A::time_width, "SpecAugment: the longest of them, in frames",
     within(1, 1 << 20).only_with("time_masks")},
};
constexpr Field<O> optim_table[] = {
    {"opt", &O::opt, "the optimiser (docs/optimisers.md)",
     one_of("adamw", "sgd", "lion", "muon", "schedule_free_adamw", "sam")},
    {"lr", &O::lr, "learning rate after the warm-up", within(0, any_rate)},
    {"weight_decay", &O::weight_decay,
     "decoupled for all but sgd, where it is part of the gradient; not on biases, norms, tables", within(0, any_rate)},
    {"betas", &O::betas, "all but sgd: decay of the two moments", two_decays},
    {"eps", &O::eps, "all but sgd and lion: added to the root of the second moment", within(1e-30, 1)},
    {"momentum", &O::momentum, "sgd, muon", below_one()},
    {"nesterov", &O::nesterov, "sgd, muon"},
    {"clip_grad", &O::clip_grad, "largest norm of the whole gradient; 0: no clipping",
     within(1e-9, any_rate).or_zero()},
    {"layer_decay", &O::layer_decay,
     "learning rate of a block over that of the next one, from the head down; 1: the same", within(1e-3, 1)},
    {"lr_scale", &O::lr_scale, "factors of the learning rate by pattern of parameters, the last that matches", factors},
    {"freeze", &O::freeze, "parameters that are not trained: patterns such as \"patch_embed.*, pos_embed\""},
    {"ns_steps", &O::ns_steps, "muon: steps of the iteration that makes a matrix orthogonal",
     within(1, 20).only_with("opt", "muon")},
    {"adjust_lr_fn", &O::adjust_lr_fn,
     "muon: the learning rate at a matrix of A x B: original, times sqrt(max(1, A/B)); match_rms_adamw, times 0.2 "
     "sqrt(max(A, B))",
     one_of("original", "match_rms_adamw").only_with("opt", "muon")},
    {"normalize_weights", &O::normalize_weights,
     "muon: bring a hidden matrix of A x B to a norm of sqrt(A) before each step", anything().only_with("opt", "muon")},
    {"adamw_lr", &O::adamw_lr, "muon: learning rate of what is no hidden matrix, which AdamW takes",
     within(0, any_rate).only_with("opt", "muon")},
    {"base_optimizer", &O::base_optimizer, "sam: the optimiser that takes its steps",
     one_of("adamw", "sgd").only_with("opt", "sam")},
    {"rho", &O::rho, "sam: how far from the weights the gradient is taken", positive(1e3).only_with("opt", "sam")},
};
constexpr Field<S> sched_table[] = {
    {"sched", &S::sched, "how the learning rate moves, every step",
     one_of("cosine", "linear", "triangular", "step", "constant")},
    {"warmup_epochs", &S::warmup_epochs, "linear warm-up",
     within(0, 1e6).only_with("sched", "cosine", "linear", "step", "constant")},
    {"warmup_lr", &S::warmup_lr, "learning rate at the start of the warm-up, or of the triangle", within(0, any_rate)},
    {"min_lr", &S::min_lr, "learning rate at the end",
     within(0, any_rate).only_with("sched", "cosine", "linear", "triangular", "step")},
    {"cooldown_epochs", &S::cooldown_epochs, "last epochs, at min_lr",
     within(0, 1e6).only_with("sched", "cosine", "linear")},
    {"peak", &S::peak, "triangular: share of the run after which the learning rate falls",
     within(0, 1).only_with("sched", "triangular")},
    {"decay_epochs", &S::decay_epochs, "step: epochs between two decays", within(1e-3, 1e6).only_with("sched", "step")},
    {"decay_rate", &S::decay_rate, "step: factor of a decay", positive(1).only_with("sched", "step")},
};
constexpr Field<T> train_table[] = {
    {"epochs", &T::epochs, "passes over the training set", within(1, 1e6)},
    {"batch_size", &T::batch_size, "samples of a batch", within(1, 1 << 20)},
    {"seed", &T::seed, "of the weights, the order of samples, augmentation and dropout", at_least(0)},
    {"precision", &T::precision, "of matrix products (fp32, float32 and bfloat16 are taken, too)",
     one_of("f32", "bf16")},
    {"ema_decay", &T::ema_decay, "moving average of the weights, which is then evaluated and saved; 0: off",
     below_one()},
    {"label_smoothing", &T::label_smoothing, "share of the target spread over all classes", below_one()},
    {"shard_size", &T::shard_size,
     "samples that run through the network together; part of the arithmetic; 0: 8, but without BatchNorm 4 images "
     "beyond "
     "64 x 64 pixels and 2 beyond 128 x 128",
     within(0, 1 << 20)},
    {"lanes", &T::lanes, "partial sums of the gradient; part of the arithmetic, independent of threads", within(1, 64)},
    {"batchnorm", &T::batchnorm,
     "whose statistics BatchNorm takes in training: those of shard_size samples, or of the batch, which then is one "
     "shard",
     one_of("shard", "batch")},
    {"bn_momentum", &T::bn_momentum,
     "share of a step's statistics in the running ones of BatchNorm, which answer in evaluation", within(0, 1)},
    {"accumulate", &T::accumulate,
     "batches of batch_size that make one optimiser step, as one batch of their size would", within(1, 1 << 20)},
    {"drop_last", &T::drop_last, "leave out the samples of an epoch that do not fill a step"},
    {"max_steps", &T::max_steps, "end the run after so many steps; 0: no limit", within(0, any_int)},
    {"max_minutes", &T::max_minutes, "end the run after so much time; 0: no limit", within(0, any_time)},
    {"patience", &T::patience, "end the run when so many epochs brought no better validation; 0: never",
     within(0, any_int)},
    {"weights", &T::weights,
     "start from this file of weights, or from those of this run directory; empty: from fresh ones"},
    {"reset_head", &T::reset_head,
     "start with a fresh head all the same; implied where the file's is for other classes",
     anything().only_with("weights")},
    {"best_weights", &T::best_weights, "write best.safetensors too, the weights that were best in validation"},
    {"tta", &T::tta,
     "test-time augmentation of the last test: the mean answer to flip (image and mirror) | flip_shift (moved by a "
     "pixel, too)",
     one_of("none", "flip", "flip_shift")},
    {"eval_every", &T::eval_every, "epochs between two validations", within(1, any_int)},
    {"checkpoint_every", &T::checkpoint_every, "epochs between two checkpoints", within(1, any_int)},
    {"checkpoint_steps", &T::checkpoint_steps, "steps between two checkpoints inside an epoch; 0: none",
     within(0, any_int)},
    {"checkpoint_minutes", &T::checkpoint_minutes, "minutes between two checkpoints inside an epoch; 0: none",
     within(0, any_time)},
};

template <class C>
void list(std::vector<RunKey>& keys, const char* section, Fields<C> fields) {
  const Options defaults = read(C(), fields);
  for (const auto& f : fields)
    keys.push_back({std::string(section) + "." + f.name, defaults.at(f.name), f.help, f.domain});
}

template <class F>
void each_section(F f) {
  f("data", &RunConfig::data, data_fields());
  f("augment", &RunConfig::augment, augment_fields());
  f("optim", &RunConfig::optim, optim_fields());
  f("sched", &RunConfig::sched, sched_fields());
  f("train", &RunConfig::train, train_fields());
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
  // a list of reals is text, as all runs have written it that there are: a run's digest is of this text
  if (std::holds_alternative<std::vector<double>>(v)) return quoted(t);
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

RunConfig config(const Options& all) {
  RunConfig c;
  std::map<std::string, Options, std::less<>> sections;
  for (const auto& [key, value] : all) {
    const size_t dot = key.find('.');
    if (dot == std::string::npos) fail("config", "{} has no section; expected SECTION.KEY such as optim.lr", key);
    sections[key.substr(0, dot)][key.substr(dot + 1)] = canonical(key, value);
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
  if (const auto opt = sections["optim"].find("opt"); opt != sections["optim"].end())
    c.optim = optim_config(text(opt->second));
  each_section([&](const char* section, auto member, auto fields) {
    assign(c.*member, fields, sections[section], std::string(section) + ".");
    sections.erase(section);
  });
  if (!sections.empty()) {
    const std::string known[] = {"model", "position", "data", "augment", "optim", "sched", "train"};
    unknown("config", sections.begin()->first, known);
  }
  return c;
}

Options values(const RunConfig& c) {
  Options all;
  all["model.name"] = c.model, all["position.name"] = c.position;
  for (const auto& [key, value] : c.model_options) all["model." + key] = value;
  for (const auto& [key, value] : c.position_options) all["position." + key] = value;
  each_section([&](const char* section, auto member, auto fields) {
    for (const auto& [key, value] : read(c.*member, fields)) all[std::string(section) + "." + key] = value;
  });
  return all;
}

std::string toml(const RunConfig& c) {
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

namespace {

/// What only some data take. A name that is not known yet takes everything: it is looked at again when it is.
void check_data(const DataConfig& d) {
  if (d.name.empty()) return;
  const data::NamedData* named = data::find_named(d.name);
  const bool made = named && named->most_made > 0;
  if (d.img_size != 0 && !(named && named->any_size))
    fail("data",
         "data.img_size is {} but does nothing with {}, whose images have a size of their own: leave it out "
         "(tessera eval --img-size resizes any data)",
         d.img_size, shown(d.name));
  if (d.test_size != 0 && !made)
    fail("data",
         "data.test_size is {} but does nothing with {}: only sets made in memory (where) have as many test samples as "
         "asked",
         d.test_size, shown(d.name));
  if (!(named && named->sound)) {
    const DataConfig standard;
    const std::pair<const char*, bool> said[] = {{"n_mels", d.n_mels != standard.n_mels},
                                                 {"sample_rate", d.sample_rate != standard.sample_rate},
                                                 {"window_ms", d.window_ms != standard.window_ms},
                                                 {"hop_ms", d.hop_ms != standard.hop_ms}};
    for (const auto& [key, differs] : said)
      if (differs)
        fail("data", "data.{} does nothing with {}, which holds no recordings: leave it out", key, shown(d.name));
  }
  const int64_t asked = int64_t{d.train_size} + d.val_size + d.test_size;
  if (made && asked > named->most_made)
    fail("data", "{} samples of {}, expected at most {} in all splits", asked, named->name, named->most_made);
}

void check_mixing(const AugmentConfig& a) {
  const AugmentConfig standard;
  const auto idle = [](const char* key, const auto& value, const char* wanted) {
    fail("augment", "augment.{} is {} but does nothing without {}: leave it out, or set {}", key, value, wanted,
         wanted);
  };
  const bool mixes = a.mixup > 0 || a.cutmix > 0;
  if (!mixes && a.mix_prob != standard.mix_prob) idle("mix_prob", a.mix_prob, "mixup or cutmix");
  if (!mixes && a.mix_off_epoch != standard.mix_off_epoch) idle("mix_off_epoch", a.mix_off_epoch, "mixup or cutmix");
  if (a.cutmix == 0 && a.switch_prob != standard.switch_prob) idle("switch_prob", a.switch_prob, "cutmix");
}

}  // namespace

void check(const RunConfig& c) {
  each_section([&](const char* section, auto member, auto fields) {
    check_fields(c.*member, fields, std::string(section) + ".");
  });
  check_value("config", "model.name", c.model, {});
  check_value("config", "position.name", c.position, {});
  check_data(c.data);
  check_mixing(c.augment);
  check_optim(c);
  const int64_t step = int64_t{c.train.batch_size} * c.train.accumulate;
  if (step > std::numeric_limits<int>::max())
    fail("train", "train.accumulate {} x train.batch_size {} are more than 2^31 samples a step", c.train.accumulate,
         c.train.batch_size);
}

}  // namespace tessera
