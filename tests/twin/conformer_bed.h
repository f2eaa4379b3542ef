#pragma once
// What the tests of the Conformer share: small models off their neutral values, and frames.
#include <cmath>

#include "tessera/models/model.h"
#include "tests/error_of.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace conformer_test {

constexpr bool twin = sizeof(real) == 8;

inline double noise(int64_t i) { return std::sin(12.9898 * static_cast<double>(i) + 1); }

/// A model whose parameters and running statistics are all off their neutral values.
struct Net {
  Params params{1};
  std::unique_ptr<Model> model;
  Net(const char* row, const Options& options, const char* encoding, const Options& of_encoding = {}) {
    model = tessera::model(row).make(Scope(params), options, position(encoding, of_encoding));
    int64_t n = 0;
    for (const auto& e : params.entries()) {
      const bool variance = e.name.ends_with("running_var");
      const real size =
          static_cast<real>(variance ? 0.3 : 1 / std::sqrt(static_cast<double>(e.value.size() / e.value.dim(0)) + 8));
      for (int64_t i = 0; i < e.value.size(); ++i) e.value[i] += size * static_cast<real>(noise(n++));
    }
    params.commit();
  }
  Tensor operator()(const Input& in, Mode mode = Mode::eval) const {
    return model->forward(Run{.mode = mode}, in).logits;
  }
};

inline Tensor frames(int B, int T, int F) {
  Tensor x({B, T, F});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(noise(i));
  return x;
}

inline Options small(const Options& more) {
  Options o = more;
  for (const auto& [key, value] : Options{{"input_dim", 9},
                                          {"num_classes", 3},
                                          {"embed_dim", 16},
                                          {"num_layers", 2},
                                          {"num_heads", 2},
                                          {"ffn_dim", 24},
                                          {"depthwise_conv_kernel_size", 5}})
    o.emplace(key, value);
  return o;
}

inline double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= most)) most = d;
  }
  return most;
}

}  // namespace conformer_test
}  // namespace TESSERA_NS
}  // namespace tessera
