#include "tessera/train/training/optim_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tessera {
namespace {

/// Keys that several optimisers read: a domain's only_with() knows one field, and sam reads what its base does.
struct Read {
  const char* key;
  std::vector<std::string> by;
};
const std::vector<Read>& reads() {
  static const std::vector<Read> all = {{"betas", {"adamw", "lion", "muon", "schedule_free_adamw"}},
                                        {"eps", {"adamw", "muon", "schedule_free_adamw"}},
                                        {"momentum", {"sgd", "muon"}},
                                        {"nesterov", {"sgd", "muon"}}};
  return all;
}

/// The optimiser that takes the steps.
const std::string& stepper(const OptimConfig& o) { return o.opt == "sam" ? o.base_optimizer : o.opt; }

}  // namespace

bool optimiser_reads(std::string_view optimiser, std::string_view key) {
  const auto r = std::ranges::find(reads(), key, [](const Read& of) { return std::string_view(of.key); });
  return r == reads().end() || std::ranges::count(r->by, optimiser) > 0;
}

namespace {

void check_read(const OptimConfig& o) {
  const Options values = read(o, optim_fields()), standard = read(OptimConfig(), optim_fields());
  const std::string& opt = stepper(o);
  for (const Read& r : reads()) {
    if (optimiser_reads(opt, r.key) || values.at(r.key) == standard.at(r.key)) continue;
    const char* of = o.opt == "sam" ? "optim.base_optimizer" : "optim.opt";
    std::string wanted;
    for (const std::string& w : r.by)
      if (o.opt != "sam" || w == "adamw" || w == "sgd")
        wanted += fmt::format("{}{}={}", wanted.empty() ? "" : " or ", of, w);
    fail("optim", "optim.{} is {} but does nothing with {}={}: leave it out, or set {}", r.key, text(values.at(r.key)),
         of, opt, wanted);
  }
}

void check_schedule(const RunConfig& c) {
  const SchedConfig& s = c.sched;
  if (s.warmup_lr != SchedConfig().warmup_lr && s.warmup_epochs == 0 && s.sched != "triangular")
    fail("sched",
         "sched.warmup_lr is {} but does nothing with sched.warmup_epochs=0: leave it out, or set sched.warmup_epochs "
         "or sched.sched=triangular",
         s.warmup_lr);
  // a straight line then is at min_lr from its warm-up on; half a cosine of less than no epochs is none
  if (s.sched == "cosine" && s.cooldown_epochs > c.train.epochs && s.warmup_epochs < c.train.epochs)
    fail("sched", "sched.cooldown_epochs is {} of train.epochs={}: make it smaller, or train for longer",
         s.cooldown_epochs, c.train.epochs);
  if (c.optim.opt != "schedule_free_adamw") return;
  if (s.sched != "constant")
    fail("optim",
         "optim.opt=schedule_free_adamw has no use for sched.sched={}: set sched.sched=constant (a warm-up may stay)",
         s.sched);
  if (c.train.ema_decay != 0)
    fail("optim", "train.ema_decay is {}, but optim.opt=schedule_free_adamw has an average of its own: leave it out",
         c.train.ema_decay);
  if (c.optim.betas[0] == 0)
    fail("optim", "optim.betas is {}: the first must be above 0 with optim.opt=schedule_free_adamw",
         text(Value(c.optim.betas)));
}

}  // namespace

void check_optim(const RunConfig& c) {
  const OptimConfig& o = c.optim;
  check_read(o);
  if (o.nesterov && o.momentum == 0) fail("optim", "optim.nesterov needs an optim.momentum above 0");
  if (o.opt == "muon" && o.lr == 0 && o.adamw_lr > 0)
    fail("optim", "optim.lr is 0, and optim.adamw_lr follows its schedule: it must be above 0 with optim.opt=muon");
  check_schedule(c);
}

bool averages(const RunConfig& c) { return c.train.ema_decay > 0 || c.optim.opt == "schedule_free_adamw"; }

OptimConfig optim_config(std::string_view opt) {
  OptimConfig o;
  o.opt = opt;
  if (opt == "lion") o.lr = 1e-4, o.weight_decay = 0.5, o.betas = {0.9, 0.99};
  if (opt == "muon")
    o.lr = 0.02, o.weight_decay = 0.01, o.betas = {0.9, 0.95}, o.eps = 1e-10, o.momentum = 0.95, o.nesterov = true;
  if (opt == "schedule_free_adamw") o.lr = 2.5e-3;
  return o;
}

Options optim_defaults(std::string_view opt) {
  const Options standard = read(OptimConfig(), optim_fields());
  Options own;
  for (const auto& [key, value] : read(optim_config(opt), optim_fields()))
    if (key != "opt" && value != standard.at(key)) own["optim." + key] = value;
  return own;
}

std::array<double, 2> betas(const OptimConfig& o) {
  const bool two = o.betas.size() == 2 && std::ranges::all_of(o.betas, [](double b) { return b >= 0 && b < 1; });
  if (!two) fail("optim", "optim.betas is {}, expected two numbers in [0, 1)", text(Value(o.betas)));
  return {o.betas[0], o.betas[1]};
}

std::vector<std::pair<std::string, double>> lr_scales(const std::string& said) {
  constexpr double most = 1e6;
  std::vector<std::pair<std::string, double>> scales;
  const auto trimmed = [](std::string_view s) {
    const size_t a = s.find_first_not_of(' '), b = s.find_last_not_of(' ');
    return a == std::string_view::npos ? std::string_view() : s.substr(a, b - a + 1);
  };
  for (std::string_view rest = said; !trimmed(rest).empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, comma);
    const size_t equals = std::min(part.find('='), part.size());
    const std::string_view pattern = trimmed(part.substr(0, equals)),
                           number = trimmed(part.substr(std::min(equals + 1, part.size())));
    double factor = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), factor);
    if (pattern.empty() || number.empty() || error != std::errc() || end != number.data() + number.size() ||
        !(factor > 0 && factor <= most))
      fail("optim", "optim.lr_scale: {} is no PATTERN=FACTOR with a factor in (0, {}]", shown(part), most);
    if (comma + 1 == rest.size()) fail("optim", "optim.lr_scale: there is nothing after the last comma");
    scales.emplace_back(pattern, factor);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return scales;
}

}  // namespace tessera
