// The optimisers as a program meets them: their authors' steps through Params and Grads, what they keep, threads, groups of rates, and the
// keys of [optim]. The rules alone, in double too, are tested in twin/optimisers.cpp.
#include <cstring>
#include <functional>
#include <memory>

#include "tessera/core/parallel.h"
#include "tessera/train/training/fine_tune.h"
#include "tessera/train/training/optim.h"
#include "tests/error_of.h"
#include "tests/optimiser_golden.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

/// The parameters of the golden file.
struct Four {
  Params params;
  Tensor w[4];
  Four() {
    const Scope s(params);
    for (size_t p = 0; p < 4; ++p) {
      const Tensor start = optimisers_golden().read(std::string("start.") + golden_names[p]);
      w[p] = s.param(golden_names[p], start.shape(), constant(0), p == 3 ? Decay::no : Decay::yes);
      std::copy_n(start.data(), start.size(), w[p].data());
    }
  }
  Grads grads(int t) const {
    Grads g;
    for (size_t p = 0; p < 4; ++p) golden_gradient(p, t, w[p].data(), g.into(w[p]).to, w[p].size());
    return g;
  }
  void check(const std::string& name, int t) const {
    for (size_t p = 0; p < 4; ++p) check_golden(name + "." + golden_names[p], t, w[p].data(), w[p].size());
  }
};

struct Case {
  const char* name;
  Optimiser::Rule rule;
  double lr;
  double rho = 0;  ///< of SAM
  int warmup = 0;
};
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"lion", LionOptions{.weight_decay = 0.1}, 0.01},
      {"lion_clipped", LionOptions{.beta1 = 0.8, .beta2 = 0.95, .clip_grad = 0.5}, 0.003},
      {"muon", MuonOptions{.adamw_rate = 3e-3 / 0.02, .weight_decay = 0.1}, 0.02},
      {"muon_normalised",
       MuonOptions{
           .momentum = 0.6, .ns_steps = 3, .normalize_weights = true, .adamw_rate = 3e-3 / 0.24, .weight_decay = 0.1},
       0.24},
      {"schedule_free", ScheduleFreeAdamWOptions{.weight_decay = 0.1}, 0.05, 0, 4},
      {"schedule_free_still", ScheduleFreeAdamWOptions{.beta1 = 0.95, .beta2 = 0.99}, 0.02},
      {"sam_adamw", AdamWOptions{.weight_decay = 0.1}, 0.01, 0.05},
      {"sam_sgd", SgdOptions{.momentum = 0.9, .nesterov = true, .weight_decay = 0.01}, 0.1, 0.5}};
  return all;
}

void take(const Case& c, Optimiser& optimiser, const Four& of, int t) {
  if (c.rho > 0) {
    const Grads here = of.grads(t);
    optimiser.climb(here, c.rho);
    const Grads there = of.grads(t);
    optimiser.back();
    optimiser.step(there, c.lr);
  } else {
    optimiser.step(of.grads(t), t < c.warmup ? c.lr * (t + 1) / c.warmup : c.lr);
  }
}

std::string values(const Params& params) {
  std::string all;
  for (const auto& e : params.entries())
    all.append(reinterpret_cast<const char*>(e.value.read().data()), sizeof(real) * e.value.read().size());
  return all;
}

}  // namespace

TEST_CASE("optimisers: ten steps are their authors', and of schedule-free AdamW the average answers") {
  for (const Case& c : cases()) {
    Four four;
    Optimiser optimiser(four.params, c.rule);
    for (int t = 0; t < golden_steps; ++t) {
      take(c, optimiser, four, t);
      four.check(c.name, t);
      if (!std::holds_alternative<ScheduleFreeAdamWOptions>(c.rule)) continue;
      const std::string trained = values(four.params);
      {
        const Optimiser::Averaged averaged(optimiser);
        four.check(std::string(c.name) + ".x", t);
      }
      CHECK(values(four.params) == trained);  // to the bit: an evaluation changes no run
    }
  }
}

TEST_CASE("optimisers: a resumed one has the bits of one that never stopped, whatever the number of threads") {
  const Scratch scratch;
  const int before = parallel::threads();
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    Four whole;
    Optimiser never_stopped(whole.params, c.rule);
    for (int t = 0; t < 3; ++t) take(c, never_stopped, whole, t);
    const io::Metadata numbers = never_stopped.numbers();
    io::write_tensors(scratch / c.name, never_stopped.state(), numbers);
    Four again;
    for (size_t p = 0; p < 4; ++p)
      std::memcpy(again.w[p].data(), whole.w[p].data(), sizeof(real) * whole.w[p].values().size());
    Optimiser resumed(again.params, c.rule);
    resumed.restore(io::TensorFile(scratch / c.name), 3);
    for (int t = 3; t < 7; ++t) {
      parallel::set_threads(1), take(c, never_stopped, whole, t);
      parallel::set_threads(3), take(c, resumed, again, t);
    }
    CHECK(values(whole.params) == values(again.params));
    const auto a = never_stopped.state(), b = resumed.state();
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i)
      CHECK(std::memcmp(a[i].second.data(), b[i].second.data(), sizeof(real) * a[i].second.values().size()) == 0);
  }
  parallel::set_threads(before);
  Four four;
  ScheduleFreeAdamW optimiser(four.params);
  io::write_tensors(scratch / "bare", optimiser.state());
  CHECK(has(error_of([&] { optimiser.restore(io::TensorFile(scratch / "bare"), 1); }), "optim.largest_lr"));
}

TEST_CASE("optimisers: what they keep beside a weight, in numbers") {
  const auto kept = [](const Optimiser::Rule& rule) {
    Four four;
    return Optimiser(four.params, rule).state_bytes() / static_cast<int64_t>(sizeof(real));
  };
  constexpr int64_t matrices = 24 + 18 + 24, bias = 6, all = matrices + bias;
  CHECK(kept(AdamWOptions{}) == 2 * all);
  CHECK(kept(SgdOptions{}) == all);
  CHECK(kept(LionOptions{}) == all);
  CHECK(kept(ScheduleFreeAdamWOptions{}) == 2 * all);
  // one moment of a matrix, two of the rest; each of the three matrices has a track of its own with room for two of it and of its side
  CHECK(kept(MuonOptions{}) == matrices + 2 * bias + 2 * matrices + 2 * (16 + 9 + 9));
}

TEST_CASE("optimisers: Muon leaves to AdamW what it is told to, and refuses a name that is none") {
  Four four, other;
  Muon optimiser(four.params, {.adamw_rate = 1, .beta2 = 0.999, .eps = 1e-8, .not_hidden = {"tall"}});
  AdamW plain(other.params, {.weight_decay = 0});
  optimiser.step(four.grads(0), 0.01), plain.step(other.grads(0), 0.01);
  for (int64_t i = 0; i < 18; ++i) CHECK(four.w[1][i] == other.w[1][i]);
  CHECK(four.w[0][0] != other.w[0][0]);
  Four more;
  CHECK(has(error_of([&] { Muon(more.params, {.not_hidden = {"head"}}); }), "head"));
}

TEST_CASE("optimisers: options outside of their domains, and back() without climb(), are refused with one line") {
  const auto refused = [](const Optimiser::Rule& rule) {
    Four four;
    return error_of([&] { Optimiser(four.params, rule); });
  };
  CHECK(has(refused(LionOptions{.beta2 = 1}), "beta2"));
  CHECK(has(refused(MuonOptions{.momentum = 1}), "momentum"));
  CHECK(has(refused(MuonOptions{.ns_steps = 0}), "ns_steps"));
  CHECK(has(refused(MuonOptions{.adamw_rate = -1}), "adamw_rate"));
  CHECK(has(refused(ScheduleFreeAdamWOptions{.beta1 = 0}), "beta1"));
  Four four;
  AdamW optimiser(four.params);
  CHECK(has(error_of([&] { optimiser.back(); }), "climb"));
  CHECK(has(error_of([&] { optimiser.climb(four.grads(0), -1); }), "rho"));
}

TEST_CASE("optimisers: what Muon calls hidden in each family of models") {
  for (const ModelRow& row : models()) {
    if (row.name != row.family) continue;
    CAPTURE(row.name);
    RunConfig c;
    c.model = row.name, c.optim = optim_config("muon");
    Params params(0, Draw::no);
    PositionTables tables;
    const auto made = row.make(Scope(params), {}, remember_tables(position(row.position, {}), tables));
    const auto left = not_hidden(c, tables, params);
    const auto is_left = [&](const std::string& name) { return std::ranges::find(left, name) != left.end(); };
    for (const std::string& name : head_of(row.name, {})) CHECK(is_left(name));
    for (const std::string& name : tables.names) CHECK(is_left(name));
    int hidden = 0;
    for (const auto& e : params.entries()) hidden += !e.buffer && e.value.rank() > 1 && !is_left(e.name);
    CHECK(hidden > 0);
    for (const char* first :
         {"patch_embed.proj.weight", "patch_embeds.0.proj.weight", "conv1.weight", "pos_embed", "whiten.weight"})
      if (params.find(first)) CHECK(is_left(first));
    CHECK_FALSE(is_left("layers.1.conv1.weight"));  // behind whitening filters, whose number follows the channels
  }
}

TEST_CASE("lr_scale: factors by pattern, the last that matches; with layer_decay their product; nonsense is one line") {
  CHECK(lr_scales("head.*=10, pos_embed = 0.1 ") ==
        std::vector<std::pair<std::string, double>>{{"head.*", 10}, {"pos_embed", 0.1}});
  CHECK(lr_scales("").empty());
  for (const char* wrong : {"head", "head=", "=3", "head=0", "head=-1", "head=nan", "head=2,", "head=2 3", "a=1,,b=2"})
    CHECK_MESSAGE(has(error_of([&] { lr_scales(wrong); }), "lr_scale"), wrong);
  Four four;
  RunConfig c;
  c.optim.lr_scale = "*=0.5, ta*=3";
  CHECK(learning_rates(c, {}, four.params) == std::vector<double>{0.5, 3, 0.5, 0.5});
  c.optim.lr_scale = "tal=3";
  CHECK(has(error_of([&] { learning_rates(c, {}, four.params); }), "did you mean \"tall\""));
  Four fast, slow;
  Lion a(fast.params, {});
  Optimiser scaled(slow.params, LionOptions{}, {2, 2, 2, 2});
  a.step(fast.grads(0), 0.02), scaled.step(slow.grads(0), 0.01);
  CHECK(values(fast.params) == values(slow.params));
}

TEST_CASE("optim: an optimiser that is named has its author's values until others are said") {
  const RunConfig muon = config({{"optim.opt", std::string("muon")}, {"optim.momentum", 0.9}});
  CHECK(muon.optim.lr == 0.02);
  CHECK(muon.optim.momentum == 0.9);
  CHECK(muon.optim.nesterov);
  CHECK(muon.optim.betas == std::vector<double>{0.9, 0.95});
  CHECK(config({{"optim.opt", std::string("lion")}}).optim.lr == 1e-4);
  for (const char* opt : {"adamw", "sgd", "lion", "muon", "sam"}) check(config({{"optim.opt", std::string(opt)}}));
  CHECK(optim_defaults("adamw").empty());
  CHECK(config(tessera::values(muon)).optim.momentum == 0.9);  // a complete one means what it says
}

TEST_CASE("optim: keys that the optimiser does not read, and what does not go with it, are refused") {
  const auto said = [](Options o) { return error_of([&] { check(config(o)); }); };
  const std::string lion = "lion", muon = "muon", sam = "sam", free = "schedule_free_adamw", constant = "constant";
  CHECK(
      has(said({{"optim.opt", lion}, {"optim.eps", 1e-6}}), "optim.eps is 1e-06 but does nothing with optim.opt=lion"));
  CHECK(has(said({{"optim.opt", lion}, {"optim.momentum", 0.5}}), "optim.momentum"));
  CHECK(has(said({{"optim.ns_steps", 3}}), "optim.opt=muon"));
  CHECK(has(said({{"optim.rho", 0.1}, {"optim.opt", muon}}), "optim.opt=sam"));
  CHECK(has(said({{"optim.opt", sam}, {"optim.momentum", 0.5}}), "optim.base_optimizer=sgd"));
  CHECK(said({{"optim.opt", sam}, {"optim.momentum", 0.5}, {"optim.base_optimizer", std::string("sgd")}}).empty());
  CHECK(has(said({{"optim.opt", sam}, {"optim.base_optimizer", muon}}), "base_optimizer"));
  CHECK(has(said({{"optim.opt", muon}, {"optim.lr", 0.0}}), "optim.lr"));
  CHECK(has(said({{"optim.opt", muon}, {"optim.adjust_lr_fn", std::string("orginal")}}), "did you mean \"original\""));
  CHECK(has(said({{"optim.opt", free}}), "sched.sched=constant"));
  CHECK(said({{"optim.opt", free}, {"sched.sched", constant}, {"sched.warmup_epochs", 2.0}}).empty());
  CHECK(has(said({{"optim.opt", free}, {"sched.sched", constant}, {"train.ema_decay", 0.9}}), "train.ema_decay"));
  CHECK(has(said({{"optim.opt", free}, {"sched.sched", constant}, {"optim.betas", std::string("[0, 0.9]")}}), "betas"));
  CHECK(has(said({{"optim.lr_scale", std::string("head")}}), "optim.lr_scale"));
  CHECK(has(said({{"sched.peak", 0.2}}), "sched.sched=triangular"));
  CHECK(has(said({{"sched.sched", std::string("triangular")}, {"sched.warmup_epochs", 2.0}}), "sched.warmup_epochs"));
  CHECK(said({{"sched.sched", std::string("triangular")}, {"sched.warmup_lr", 1e-4}}).empty());
}

TEST_CASE("a run with any optimiser: another number of threads and a resume after a death have the same bits") {
  const Scratch scratch;
  const int before = parallel::threads();
  for (const char* opt : {"lion", "muon", "schedule_free_adamw", "sam"}) {
    CAPTURE(std::string(opt));
    RunConfig c = tiny();
    c.optim = optim_config(opt), c.optim.clip_grad = 1;
    if (c.optim.opt == "schedule_free_adamw") c.sched.sched = "constant", c.train.ema_decay = 0;
    const std::string whole = scratch / (std::string(opt) + "_whole"), part = scratch / (std::string(opt) + "_part");
    parallel::set_threads(1);
    train_run(c, whole, false);
    parallel::set_threads(3);
    int steps = 0;
    c.train.checkpoint_steps = 3;
    Hooks hooks;
    hooks.stop = [&]() -> bool {
      if (++steps == 6) throw Death();  // between two checkpoints
      return false;
    };
    CHECK_THROWS_AS(train_run(c, part, false, hooks), Death);
    const RunResult r = train_run(c, part, true);
    CHECK(r.finished);
    c.train.checkpoint_steps = 0;
    CHECK(bytes(whole + "/weights.safetensors") == bytes(part + "/weights.safetensors"));
    CHECK(state(whole + "/last.ckpt") == state(part + "/last.ckpt"));
    CHECK(metrics(whole) == metrics(part));
  }
  parallel::set_threads(before);
}

}  // namespace tessera::test
