#include "tessera/train/training/finite.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Kinds {
  bool nan = false, inf = false;
  void add(const Tensor& t) {
    if (!t) return;
    for (const real v : t.read()) nan |= std::isnan(v), inf |= std::isinf(v);
  }
  bool any() const { return nan || inf; }
};

/// Notes the first output that is not finite, and the first such gradient.
struct Watch final : Observer {
  std::string value, gradient;

  void saw(const Seen& s) override {
    Kinds given, made;
    std::string from;
    for (const Tensor* y : s.outputs) made.add(*y);
    for (const Tensor* x : s.inputs)
      if (x && *x) from += (from.empty() ? "" : ", ") + x->shape().str();
    const std::string layer = s.layer();
    Named& op = ops_[s.number];
    op.who = s.op.name + (layer.empty() ? "" : " of " + layer);
    op.what = fmt::format("output {} from {}", s.outputs[0]->shape().str(), from);
    if (!value.empty() || !made.any()) return;
    for (const Tensor* x : s.inputs)
      if (x) given.add(*x);
    if ((made.nan && !given.nan) || (made.inf && !given.inf)) value = op.who + ": " + op.what;
  }
  void pulled(uint64_t number, const char*, std::span<const Tensor> dy) override {
    Kinds kinds;
    for (const Tensor& d : dy) kinds.add(d);
    if (!gradient.empty() || !kinds.any()) return;
    const auto op = ops_.find(number);
    if (op != ops_.end()) gradient = fmt::format("{}: gradient of its {}", op->second.who, op->second.what);
  }

 private:
  struct Named {
    std::string who, what;
  };
  std::map<uint64_t, Named> ops_;
};

std::string given(const Params& params, const Tensor& x) {
  const std::string weights = not_finite(params);
  return weights.empty() && x ? not_finite("the input", x) : weights;  // tokens are whole numbers
}

}  // namespace

std::string not_finite(const std::string& name, const Tensor& t) {
  const auto values = t.read();
  const auto bad = std::find_if(values.begin(), values.end(), [](real v) { return !std::isfinite(v); });
  return bad == values.end() ? ""
                             : fmt::format("{}[{}] is {}", name, bad - values.begin(),
                                           std::isnan(*bad) ? "nan"
                                           : *bad > 0       ? "inf"
                                                            : "-inf");
}

std::string not_finite(const Params& params) {
  for (const auto& e : params.entries())
    if (std::string found = not_finite(e.name, e.value); !found.empty()) return found;
  return "";
}

std::string first_not_finite(const Model& model, const Params& params, const Run& run, const Input& input) {
  if (std::string found = given(params, input.x); !found.empty()) return found;
  Watch watch;
  const Observing observing(watch);
  const Tensor logits = model.forward(run, input).logits;
  return watch.value.empty() && !not_finite("", logits).empty() ? "the logits" : watch.value;
}

std::string first_not_finite(const Params& params, const Run& run, const Batch& batch, int shard_size,
                             Lanes::Loss loss) {
  if (std::string found = given(params, batch.in.x); !found.empty()) return found;
  if (batch.targets)
    if (std::string found = not_finite("the targets", batch.targets); !found.empty()) return found;
  Watch watch;
  Grads grads;
  {
    const Observing observing(watch);
    const parallel::Shard as_on_a_lane;  // ops cut their work alike
    for (int a = 0; a < batch.size() && watch.value.empty(); a += shard_size) {
      const Batch shard = batch.rows(a, a + std::min(shard_size, batch.size() - a));
      Run here = run;
      here.first = shard.first;
      Tape tape;
      const Tensor value = loss(here, shard);
      if (watch.value.empty() && tracked(value)) tape.backward(value, grads);
    }
  }
  if (!watch.value.empty()) return watch.value;
  if (!watch.gradient.empty()) return watch.gradient;
  for (const auto& e : params.entries())
    if (grads.has(e.value))
      if (std::string found = not_finite(e.name, grads.of(e.value)); !found.empty()) return "the gradient of " + found;
  return "the sum over its shards, each of which is finite";
}

std::string first_not_finite(const Model& model, const Params& params, const data::Source& source, const Task& task,
                             const Evaluation& e) {
  for (size_t i = 0; i < e.predictions.size(); ++i) {
    if (e.predictions[i] != no_class) continue;
    Run run;
    run.first = static_cast<int64_t>(i);
    const int32_t which[] = {static_cast<int32_t>(i)};
    const std::string found = first_not_finite(model, params, run, task.input(data::gather(source, which)));
    if (!found.empty()) return found;
  }
  return "the loss itself";
}

}  // namespace TESSERA_NS
}  // namespace tessera
