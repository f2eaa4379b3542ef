#pragma once
// Everything a run depends on, as plain structs, and one table of fields per section, which feeds the command line,
// TOML recipes, key=value overrides, config.toml and --help alike. Names are timm's or PyTorch's where they have one.
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/nn/options.h"
#include "tessera/train/data/augment.h"

namespace tessera {

/// [data] Which images.
struct DataConfig {
  std::string name;     ///< SPEC of data::open; "": cifar10 if it is found, else where
  std::string dir;      ///< where named sets are looked for first; "": $TESSERA_DATA, then ./data
  int train_size = 0;   ///< 0: all that are left after val_size (where: 4000)
  int val_size = 0;     ///< held out of the training set; 0: no validation
  int test_size = 0;    ///< `where` only; 0: 1000
  double fraction = 1;  ///< share of every class of the training set that is used
  int img_size = 0;     ///< imagefolder: resize to this; 0: the images' own size
  int64_t seed = 0;  ///< 0 to 2^63 - 1, of the split, of `fraction` and of `where`: the same data for every train.seed
  int workers = 1;   ///< background threads that prepare batches
  int n_mels = 40;   ///< recordings: features of a frame
  int sample_rate = 0;      ///< recordings: samples a second that all files must have; 0: those of the first
  double window_ms = 25;    ///< recordings: what a frame sees
  double hop_ms = 10;       ///< recordings: from one frame to the next
  int bucket = 0;           ///< sequences: so many batches are filled by length; 0: samples come as they are drawn
  std::string progressive;  ///< images: the size they are trained at from which epoch on: "16@0, 24@10, 32@20"
};

/// [augment] How training images are changed.
using AugmentConfig = data::Augment;

/// [optim] How gradients become steps. These defaults are AdamW's: optim_config() has those of the others.
struct OptimConfig {
  std::string opt = "adamw";  ///< adamw | sgd | lion | muon | schedule_free_adamw | sam
  double lr = 1e-3;
  double weight_decay = 0.05;
  std::vector<double> betas{0.9, 0.999};  ///< all but sgd; of muon those of its AdamW
  double eps = 1e-8;                      ///< where there is a second moment
  double momentum = 0.9;                  ///< sgd, muon
  bool nesterov = false;                  ///< sgd, muon
  double clip_grad = 0;                   ///< largest norm of the whole gradient; 0: no clipping
  double layer_decay = 1;  ///< the learning rate of a block over that of the next, from the head down; 1: the same
  std::string lr_scale;    ///< factors of learning rates by pattern: "head.*=10, pos_embed=0.1"
  std::string freeze;      ///< patterns of parameters that stay as they are: "patch_embed.*, pos_embed"
  int ns_steps = 5;        ///< muon: steps of Newton and Schulz's iteration
  std::string adjust_lr_fn = "original";  ///< muon: original | match_rms_adamw
  bool normalize_weights = false;         ///< muon: a hidden matrix is brought to a norm of sqrt(rows) before each step
  double adamw_lr = 3e-4;                 ///< muon: the learning rate of what is no hidden matrix
  std::string base_optimizer = "adamw";   ///< sam: adamw | sgd
  double rho = 0.05;                      ///< sam: how far away the gradient is taken
};

/// [sched] How the learning rate moves, epochs being fractions: it changes every step.
struct SchedConfig {
  std::string sched = "cosine";  ///< cosine | linear | triangular | step | constant
  double warmup_epochs = 0;      ///< linear from warmup_lr to lr
  double warmup_lr = 0;          ///< where the warm-up, or the triangle, begins
  double min_lr = 0;             ///< where cosine, line and triangle end
  double cooldown_epochs = 0;    ///< the last epochs, at min_lr
  double peak = 0.5;             ///< triangular: where it has lr, as a share of the run
  double decay_epochs = 30;      ///< step: every so many epochs ...
  double decay_rate = 0.1;       ///< ... times this
};

/// [train] The loop.
struct TrainConfig {
  int epochs = 30;
  int batch_size = 128;           ///< images of a batch; a step has accumulate times as many
  int64_t seed = 1;               ///< 0 to 2^63 - 1, of the weights, the order of images, augmentation, dropout
  std::string precision = "f32";  ///< of matrix products: f32 | bf16 (core/precision.h)
  double ema_decay = 0;           ///< exponential moving average of the weights; 0: off
  double label_smoothing = 0.1;
  int shard_size = 0;  ///< images that run through the network together: part of the arithmetic; 0: shard_for() says
  int lanes = 8;       ///< partial sums of the gradient: part of the arithmetic, unlike threads
  std::string batchnorm =
      "shard";               ///< what BatchNorm's statistics in training are of: shard | batch, which then is one shard
  double bn_momentum = 0.1;  ///< share of a step's statistics in BatchNorm's running ones
  int accumulate = 1;        ///< batches of batch_size that make one step: the bits of one batch of their size
  bool drop_last = false;    ///< leave out the images of an epoch that do not fill a step
  int max_steps = 0;         ///< stop after so many steps; 0: no limit
  double max_minutes = 0;    ///< stop after so much time, all resumed parts together; 0: no limit
  int patience = 0;          ///< stop when so many epochs brought no better validation; 0: never
  std::string weights;  ///< start from this file of weights, or from those of this run directory; "": from fresh ones
  bool reset_head = false;         ///< with a fresh head all the same
  bool best_weights = false;       ///< write best.safetensors, too: the weights that were best in validation
  std::string tta = "none";        ///< views whose mean answer the last test counts as well: none | flip | flip_shift
  int eval_every = 1;              ///< validate every so many epochs
  int checkpoint_every = 1;        ///< write last.ckpt every so many epochs
  int checkpoint_steps = 0;        ///< and every so many steps; 0: no
  double checkpoint_minutes = 10;  ///< and inside an epoch when so much time has passed; 0: no
};

Fields<DataConfig> data_fields();
Fields<AugmentConfig> augment_fields();
Fields<OptimConfig> optim_fields();
Fields<SchedConfig> sched_fields();
Fields<TrainConfig> train_fields();

/// A run, complete.
struct RunConfig {
  std::string model = "vit";  ///< a row of models()
  std::string position;       ///< a row of positions() or a composition; "": the model's default
  Options model_options;      ///< without the "model." prefix
  Options position_options;   ///< without the "position." prefix
  DataConfig data;
  AugmentConfig augment;
  OptimConfig optim;
  SchedConfig sched;
  TrainConfig train;
};

/// An [optim] section with its author's values for this optimiser: lr 0.02 of muon, betas [0.9, 0.99] of lion. An unknown one has AdamW's.
OptimConfig optim_config(std::string_view opt);

/// A key of the sections data to train: its full name, its default and its help.
struct RunKey {
  std::string name;  ///< "optim.lr"
  Value value;
  std::string help;
  Domain domain = {};
};
/// All of them, in the order of the sections and of the structs.
const std::vector<RunKey>& run_keys();
/// The keys of [optim] whose default this optimiser has of its own, in full, with those values.
Options optim_defaults(std::string_view opt);

/// The configuration that full names say: model.name, model.KEY, position.name, position.KEY, optim.lr, ... Keys of the
/// model and of the encoding are taken as they are (their own tables check them when they are built). Throws Error on
/// an unknown key, a wrong type or a value outside its domain. What is not said has the default of the optimiser that is.
RunConfig config(const Options& values);
/// The inverse: every key with its value.
Options values(const RunConfig& config);
/// The same as TOML that reads back to equal values, bit for bit.
std::string toml(const RunConfig& config);
/// Are the weights that answer and are saved an average of those that are trained?
bool averages(const RunConfig& config);
/// Throws Error on values outside their domains, on those that do nothing beside the others, and on those that do not go together.
void check(const RunConfig& config);
/// The two betas of OptimConfig::betas. Throws Error.
std::array<double, 2> betas(const OptimConfig& optim);
/// The patterns of OptimConfig::lr_scale with their factors, in its order. Throws Error.
std::vector<std::pair<std::string, double>> lr_scales(const std::string& text);

}  // namespace tessera
