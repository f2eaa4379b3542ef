#include "tessera/train/training/checkpoint.h"

#include <charconv>
#include <cstring>
#include <type_traits>

#include "tessera/core/io/tensor_file.h"

namespace tessera {
namespace {

constexpr const char* format = "tessera-checkpoint";
constexpr const char* format_version = "2";

/// Calls f(name, member) for everything in a Progress: one list for writing and reading.
template <class P, class F>
void each(P& p, F f) {
  f("epoch", p.epoch), f("batch", p.batch), f("step", p.step);
  f("loss_sum", p.loss_sum), f("hits", p.hits), f("seen", p.seen), f("epoch_seconds", p.epoch_seconds);
  f("lr", p.lr), f("train_loss", p.train_loss), f("val_acc1", p.val_acc1), f("best_val_acc1", p.best_val_acc1);
  f("seconds", p.seconds), f("train_seconds", p.train_seconds), f("images", p.images);
  f("val_epoch", p.val_epoch), f("best_epoch", p.best_epoch), f("best_step", p.best_step);
  f("planned", p.planned), f("history", p.history);
  f("metrics_bytes", p.metrics_bytes), f("metrics_digest", p.metrics_digest);
}

const std::string& get(const io::TensorFile& file, const char* key) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end()) fail("checkpoint", "{} is no checkpoint: it does not say its {}", file.path(), key);
  return it->second;
}

template <class T>
void parse(const io::TensorFile& file, const char* name, T& v) {
  const std::string& s = get(file, name);
  if constexpr (std::is_same_v<T, std::string>) {
    v = s;
  } else {
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
    if (error != std::errc() || end != s.data() + s.size())
      fail("checkpoint", "{} says {} = {}", file.path(), name, io::shown(s));
  }
}

/// Throws Error unless it is a checkpoint that this program can read.
void check_format(const io::TensorFile& file) {
  if (get(file, "format") != format) fail("checkpoint", "{} is no checkpoint of this program", file.path());
  if (const std::string& version = get(file, "format_version"); version != format_version) {
    fail("checkpoint", "{} has format version {}, this program reads {}: go on with the version that wrote it",
         file.path(), io::shown(version), format_version);
  }
}

Progress progress(const io::TensorFile& file) {
  Progress at;
  each(at, [&](const char* name, auto& v) { parse(file, name, v); });
  at.asked = at.seen;
  if (file.metadata().contains("asked")) parse(file, "asked", at.asked);
  return at;
}

/// Names and shapes, so that a file of another model changes nothing.
void check_fit(const io::TensorFile& file, const Params& params, const char* prefix) {
  for (const auto& e : params.entries()) {
    const std::string name = prefix + e.name;
    if (!file.has(name)) fail("checkpoint", "{} has no {}: it is of another model", file.path(), e.name);
    if (!(file.shape(name) == e.value.shape())) {
      fail("checkpoint", "{} in {} is {}, the model's is {}", e.name, file.path(), file.shape(name).str(),
           e.value.shape().str());
    }
  }
}

void fill(const io::TensorFile& file, Params& params, const char* prefix) {
  for (const auto& e : params.entries()) {
    const Tensor t = file.read(prefix + e.name);
    std::memcpy(e.value.rewrite().data(), t.data(), static_cast<size_t>(t.size()) * sizeof(real));
  }
  params.commit();
}

}  // namespace

inline namespace TESSERA_NS {

void save_checkpoint(const std::string& path, const Params& params, const Optimiser& optimiser, const Progress& at,
                     const Provenance& provenance) {
  std::vector<io::NamedTensor> tensors;
  for (const auto& e : params.entries()) tensors.emplace_back("model." + e.name, e.value);
  for (auto& t : optimiser.state()) tensors.push_back(std::move(t));
  io::Metadata m{{"format", format},
                 {"format_version", format_version},
                 {"config", provenance.config},
                 {"data", provenance.data},
                 {"environment", provenance.environment}};
  each(at, [&](const char* name, const auto& v) { m[name] = fmt::format("{}", v); });  // reals: shortest exact
  m.merge(optimiser.numbers());
  if (at.asked != at.seen) m["asked"] = fmt::format("{}", at.asked);  // where a metric does not count samples
  io::write_tensors(path, tensors, m);
}

Restored load_checkpoint(const std::string& path, Params& params, Optimiser& optimiser, const Provenance& expected) {
  const io::TensorFile file(path);
  check_format(file);
  file.verify(/*required=*/true);
  Restored r;
  r.provenance = {get(file, "config"), get(file, "data"), get(file, "environment")};
  if (r.provenance.config != expected.config)
    fail("checkpoint",
         "{} was written under another configuration than the config.toml beside it: undo the change there, or start a "
         "new run with it",
         path);
  if (r.provenance.data != expected.data) fail("checkpoint", "{} was trained on other data than those found now", path);
  r.at = progress(file);
  check_fit(file, params, "model.");
  optimiser.restore(file, r.at.step);
  fill(file, params, "model.");
  return r;
}

Progress load_weights(const std::string& path, Params& params, bool averaged) {
  const io::TensorFile file(path);
  check_format(file);
  file.verify(/*required=*/true);
  Progress at = progress(file);
  const char* prefix = averaged ? "ema." : "model.";
  check_fit(file, params, prefix);
  fill(file, params, prefix);
  return at;
}

uint64_t step_of(const std::string& path) {
  const io::TensorFile file(path);
  check_format(file);
  uint64_t step = 0;
  parse(file, "step", step);
  return step;
}

}  // namespace TESSERA_NS
}  // namespace tessera
