// Which configurations are the same run: what a checkpoint says of its own, and a study of its cells.
#include <algorithm>

#include "tessera/core/io/checksum.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/training.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Options that families of models got when there were checkpoints of them already.
struct Younger {
  const char *family, *key;
};
constexpr Younger younger_options[] = {{"vit", "attention"},
                                       {"vit", "extra_pointwise"},
                                       {"vit", "lepe"},
                                       {"vit", "lsa"},
                                       {"vit", "mlp"},
                                       {"vit", "mlp_act_out"},
                                       {"vit", "patch"},
                                       {"vit", "qk_norm"},
                                       {"vit", "reg_tokens"},
                                       {"vit", "se_reduction"},
                                       {"cpvt", "se_reduction"},
                                       {"cct", "reg_tokens"},
                                       {"conformer_image", "reg_tokens"},
                                       {"cvt", "global_pool"},
                                       {"cvt", "reg_tokens"},
                                       {"pvt", "reg_tokens"},
                                       {"simple_vit", "head_dim"},
                                       {"simple_vit", "patch"},
                                       {"simple_vit", "proj_bias"},
                                       {"simple_vit", "weight_init"},
                                       {"swin", "stem"},
                                       {"swin", "window_width"}};
/// The same of position encodings, whatever their name.
constexpr std::string_view younger_of_positions[] = {"beta_fast",   "beta_slow",     "clip",           "clip_share",
                                                     "coords_draw", "coords_jitter", "coords_rescale", "coords_shift",
                                                     "max_period",  "min_period",    "normalize",      "parameters",
                                                     "ramp",        "scaling",       "values"};

/// Is this option of an encoding, or "NAME.KEY" of one of several, a younger one at its default?
bool younger_default(const std::string& position, const std::string& name, const Value& value) {
  const size_t dot = name.find('.');
  const std::string of = dot == std::string::npos ? position : name.substr(0, dot), key = name.substr(dot + 1);
  const auto row = std::ranges::find_if(positions(), [&](const PositionRow& r) { return r.name == of; });
  if (row == positions().end()) return false;
  const auto standard = row->defaults.find(key);
  if (standard == row->defaults.end() || standard->second != value) return false;
  // sinusoids have had a temperature, a number, from the beginning; that of rotations is YaRN's, a switch
  return std::ranges::count(younger_of_positions, key) > 0 ||
         (key == "temperature" && std::holds_alternative<bool>(value));
}

}  // namespace

std::string config_digest(RunConfig c) {
  for (const ModelRow& row : models())
    for (const Younger& y : younger_options) {
      const auto said = c.model_options.find(y.key);
      if (row.name != c.model || row.family != y.family || said == c.model_options.end()) continue;
      if (said->second == row.defaults.at(y.key)) c.model_options.erase(said);
    }
  std::erase_if(c.position_options,
                [&](const auto& said) { return younger_default(c.position, said.first, said.second); });
  const TrainConfig standard;
  TrainConfig& t = c.train;
  c.data.name = without_folder(c.data.name), c.data.dir.clear(), c.data.workers = 1;
  t.epochs = standard.epochs, t.max_steps = standard.max_steps, t.max_minutes = standard.max_minutes;
  t.patience = standard.patience, t.best_weights = standard.best_weights, t.tta = standard.tta;
  t.checkpoint_every = standard.checkpoint_every, t.checkpoint_steps = standard.checkpoint_steps;
  t.checkpoint_minutes = standard.checkpoint_minutes;
  if (t.shard_size == 0) t.shard_size = 8;  // a plan of before it could be 0 is still the same plan
  std::string text = toml(c);
  // a key that is younger than some checkpoints stays out while it is at its default
  for (const std::string_view younger : {"\ndrop_last = false",
                                         "\nweights = \"\"",
                                         "\nreset_head = false",
                                         "\nlayer_decay = 1.0",
                                         "\nfreeze = \"\"",
                                         "\nn_mels = 40",
                                         "\nsample_rate = 0",
                                         "\nwindow_ms = 25.0",
                                         "\nhop_ms = 10.0",
                                         "\nbucket = 0",
                                         "\nfreq_masks = 0",
                                         "\nfreq_width = 8",
                                         "\ntime_masks = 0",
                                         "\ntime_width = 10",
                                         "\nprogressive = \"\"",
                                         "\nlr_scale = \"\"",
                                         "\nns_steps = 5",
                                         "\nadjust_lr_fn = \"original\"",
                                         "\nadamw_lr = 0.0003",
                                         "\nbase_optimizer = \"adamw\"",
                                         "\nrho = 0.05",
                                         "\npeak = 0.5",
                                         "\nbatchnorm = \"shard\"",
                                         "\npadding_mode = \"constant\"",
                                         "\nflip_mode = \"random\"",
                                         "\nnormalize_weights = false",
                                         "\nbn_momentum = 0.1",
                                         "\ntta = \"none\""})
    if (const size_t at = text.rfind(std::string(younger) + "\n"); at != std::string::npos)
      text.erase(at, younger.size());
  io::Checksum sum;
  sum.add(text.data(), text.size());
  return sum.hex();
}

}  // namespace TESSERA_NS
}  // namespace tessera
