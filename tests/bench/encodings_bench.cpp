// What each position encoding costs one shard: forward and backward of 8 images through the 0.8M ViT (65 tokens, 4 heads of 32, fp32),
// relative to `none`, in turn with it on one thread. Processor time and the best of many, so that other programs disturb little;
// whole steps by the clock are position_cost.py's.
//   ninja -C build/release encodings_bench && build/release/tests/encodings_bench [ROUNDS] [NAME ...]
#include <fmt/format.h>
#include <tessera/tessera.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tessera/core/ops/attention/attention.h"

namespace {

using namespace tessera;

double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
}

/// 0.15 per bias or one-row term, 0.3 per query term, 0.4 per key or value term; 0 if there is none.
double allowance(const Terms& terms) {
  double sum = 0;
  for (int t = 0; t < terms.count; ++t) {
    const Relative& r = terms.relative[static_cast<size_t>(t)];
    const bool inner = r.kind == Relative::query || r.kind == Relative::key || r.kind == Relative::value;
    if (r.kind == Relative::bias || (inner && r.rho->rows == 1)) {
      sum += 0.15;
    } else if (inner) {
      sum += r.kind == Relative::query ? 0.3 : 0.4;
    }
  }
  return sum;
}

struct Net {
  Params params{1};
  std::unique_ptr<Model> net;
  Grads grads;
  Places places;
  std::unique_ptr<PositionEncoding> twin;  // a second one, to ask for its terms
  Params twin_params{1};
  Net(const std::string& name, bool with_class) {
    Options options;
    if (!with_class) options["class_token"] = false, options["global_pool"] = std::string("avg");
    const ModelRow& row = model("vit_cifar_small");
    net = row.make(Scope(params), options, position(name));
    places = row.places(options);
    twin = position(name)(Scope(twin_params), places);
  }
  double step(const Tensor& x, const Batch& shard, uint64_t number) {
    const double start = now();
    Tape tape;
    grads.next_step();
    const Tensor loss = soft_cross_entropy(net->forward({Mode::train, 1, number, 0}, x).logits, shard, 0.1);
    tape.backward(loss, grads);
    return now() - start;
  }
};

}  // namespace

int main(int argc, char** argv) try {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 40;
  std::vector<std::string> names(argv + std::min(argc, 2), argv + argc);
  if (names.empty())
    for (const auto& row : positions()) names.emplace_back(row.name);
  const parallel::Shard shard_here;
  Tensor x({8, 32, 32, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(rng::Stream(1).normal(static_cast<uint64_t>(i)));
  const Index labels{0, 1, 2, 3, 4, 5, 6, 7};
  const Batch batch{x, labels, Tensor(), 0, 8};
  fmt::print("{:26} {:>8} {:>8} {:>7} {:>7}\n", "encoding", "ms", "none", "ratio", "limit");
  for (const std::string& name : names) {
    const bool with_class = name != "sasa";
    Net none("none", with_class), own(name, with_class);
    double a = 1e9, b = 1e9;
    for (int r = 0; r < rounds; ++r) {
      const auto number = static_cast<uint64_t>(r);
      a = std::min(a, none.step(x, batch, number)), b = std::min(b, own.step(x, batch, number));
    }
    const Site& site = own.places.sites[0];
    const Tensor tokens = zeros({1, site.trained.q.tokens(), site.dim});
    const double more = allowance(own.twin->terms(site, site.trained, {tokens, tokens}, {}));
    fmt::print("{:26} {:8.2f} {:8.2f} {:7.3f} {:>7}{}\n", name, b, a, b / a,
               more > 0 ? fmt::format("{:.2f}", 1 + more) : "-", more > 0 && b / a > 1 + more ? "  over" : "");
    std::fflush(stdout);
  }
} catch (const std::exception& e) {
  fmt::print(stderr, "{}\n", e.what());
  return 2;
}
