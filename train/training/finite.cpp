#include "tessera/train/training/finite.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

bool finite(const Tensor& t) {
  const auto values = t.values();
  return std::all_of(values.begin(), values.end(), [](real v) { return std::isfinite(v); });
}

struct Watch final : Observer {
  std::string found;
  void saw(const Op& op, const std::string& path, Inputs, const Tensor& output) override {
    if (!found.empty() || !output || finite(output)) return;
    found = fmt::format("the output of {}{}{}", op.name, path.empty() ? "" : " in ", path);
  }
};

}  // namespace

std::string not_finite(const std::string& name, const Tensor& t) {
  const auto values = t.values();
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
  if (std::string found = not_finite(params); !found.empty()) return found;
  if (input.x)
    if (std::string found = not_finite("the input", input.x); !found.empty()) return found;
  Watch watch;
  const Observing observing(watch);
  const Tensor logits = model.forward(run, input).logits;
  return watch.found.empty() && !finite(logits) ? "the logits" : watch.found;
}

}  // namespace TESSERA_NS
}  // namespace tessera
