#pragma once
// What a model costs, counted by watching one forward pass of one sample: every op tells its multiply-accumulates.
#include <optional>
#include <string>
#include <vector>

#include "tessera/train/cli/network.h"

namespace tessera::cli {

struct LayerProfile {
  std::string name, type;  ///< "blocks.0.attn.qkv", "linear"
  Shape output;            ///< for a batch of one, channels last
  int64_t params = 0;
  double macs = 0;
  int64_t activations = 0;  ///< bytes written by its ops for one sample
};

struct Profile {
  int64_t params = 0;
  double macs = 0;
  int64_t activations = 0;
  std::vector<LayerProfile> layers;  ///< in order of execution
};

/// Runs one sample through the network.
Profile measure(const Network& net);

/// Multiply-accumulates of one attention layer with its four projections, softmax excluded (Liu et al. 2021, eq. 1 and
/// 2): 4 h w C^2 + 2 (h w)^2 C, and 4 h w C^2 + 2 m h w C for windows of m tokens.
double omega_msa(double h, double w, double C);
double omega_wmsa(double h, double w, double C, double m);
/// Keys and values of m cells that a convolution made of the map (Wang et al. 2021): 2 N C^2 + N C^2 + 2 m C^2 + 2 N m C for N = h w; its
/// middle term, the convolution, is not there when m = N.
double omega_sra(double h, double w, double C, double m);
/// The same summed over a model's attentions, as if all were global; with their windows, if there are any; and with their reduced keys, if
/// there are any whose reduction is that convolution (PVT, Twins).
double omega_msa(const Places& places);
std::optional<double> omega_wmsa(const Places& places);
std::optional<double> omega_sra(const Network& net);

}  // namespace tessera::cli
