#include "tessera/train/cli/profile.h"

#include <algorithm>
#include <map>

namespace tessera::cli {
namespace {

std::string parent(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(0, dot);
}

/// Sorts ops by the layer that owns their first parameter; an op without one belongs to the layer that runs it.
class Watch : public Observer {
 public:
  explicit Watch(Profile& to) : to_(to) {}
  void saw(const Seen& s) override {
    std::string owner = s.layer();
    if (owner.empty()) owner = "(model)";
    const auto [it, fresh] = rows_.try_emplace(owner, to_.layers.size());
    if (fresh) to_.layers.push_back({owner, "", {}, 0, 0, 0});
    LayerProfile& row = to_.layers[it->second];
    const std::string name = s.op.name;
    const auto same = ("+" + row.type + "+").find("+" + name + "+") != std::string::npos;
    if (!same) row.type += (row.type.empty() ? "" : "+") + name;
    row.output = s.outputs[0]->shape();
    row.macs += s.op.macs;
    to_.macs += s.op.macs;
    for (const Tensor* y : s.outputs) {
      const int64_t bytes = y->size() * static_cast<int64_t>(sizeof(real));
      row.activations += bytes, to_.activations += bytes;
    }
  }

 private:
  Profile& to_;
  std::map<std::string, size_t> rows_;
};

}  // namespace

Profile measure(const Network& net) {
  Profile profile;
  profile.params = net.params->count();
  Watch watch(profile);
  {
    Observing on(watch);
    net.model->forward(Run{}, net.input.zeros(1));
  }
  for (const auto& e : net.params->entries()) {
    if (e.buffer) continue;
    const std::string owner = parent(e.name);
    auto row =
        std::find_if(profile.layers.begin(), profile.layers.end(), [&](const auto& l) { return l.name == owner; });
    if (row == profile.layers.end()) row = profile.layers.insert(row, {owner, "table", e.value.shape(), 0, 0, 0});
    row->params += e.value.size();
  }
  return profile;
}

double omega_msa(double h, double w, double C) { return omega_wmsa(h, w, C, h * w); }
double omega_wmsa(double h, double w, double C, double m) { return 4 * h * w * C * C + 2 * m * h * w * C; }

double omega_sra(double h, double w, double C, double m) {
  const double N = h * w, conv = m == N ? 0 : N * C * C;
  return 2 * N * C * C + conv + 2 * m * C * C + 2 * N * m * C;
}

double omega_msa(const Places& places) {
  double sum = 0;
  for (const Site& s : places.sites) sum += omega_msa(s.trained.q.h, s.trained.q.w, s.dim);
  return sum;
}

std::optional<double> omega_wmsa(const Places& places) {
  double sum = 0;
  bool any = false;
  for (const Site& s : places.sites) {
    const Window& window = s.trained.window;
    any |= window.h > 0;
    const double m = window.h > 0 ? window.h * window.w : s.trained.q.h * s.trained.q.w;
    sum += omega_wmsa(s.trained.q.h, s.trained.q.w, s.dim, m);
  }
  return any ? std::optional(sum) : std::nullopt;
}

std::optional<double> omega_sra(const Network& net) {
  double sum = 0;
  bool any = false;
  for (const Site& s : net.places.sites) {
    const Layout& l = s.trained;
    if (l.reduce > 1 && !net.params->find(s.path + ".sr.weight")) return {};  // reduced in another way (CvT)
    any |= l.reduce > 1;
    sum += l.window.h > 0 ? omega_wmsa(l.q.h, l.q.w, s.dim, l.window.h * l.window.w)
                          : omega_sra(l.q.h, l.q.w, s.dim, l.k.h * l.k.w);
  }
  return any ? std::optional(sum) : std::nullopt;
}

}  // namespace tessera::cli
