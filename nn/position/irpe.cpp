// Image relative position encoding.  Wu et al. 2021 (iRPE), conventions of the released code.          offsets are query minus key
//   contextual:  on k: s_ij += scale q_i . r[I(i,j)]     on q: s_ij += scale k_j . r[I(j,i)]     on v: o_i += sum_j p_ij r[I(i,j)]
//   bias:        on k: s_ij += r[I(i,j)]                 on q: s_ij += r[I(j,i)]                 unscaled
//   The code looks up by the token that brings the content (k for the table on q) and transposes the scores, in either mode.
//   I by `method`: product (g(dy), g(dx));  cross: two tables g(dy), g(dx), summed;  euclidean g(round |offset|);
//                  quant_code g(dy^2 + dx^2), as released;  quant_paper g(rank of |offset| among the grid's distances)
//   g(x) = round x up to alpha, then alpha + ln(x / alpha) / ln(gamma / alpha) (beta - alpha) rounded half to even and truncated at beta;
//   alpha = ratio, beta = 2 ratio, gamma = 8 ratio
//   hooks: query, key, value, bias      parameters: buckets d per table and block (per head: shared_head = false), zero at the start
//   cost: q r^T, N buckets d a head, then a lookup a pair          class tokens: one more bucket for every pair with one
//   another resolution: buckets recomputed, their number is fixed (quant_paper's ranks follow the grid)
#include <set>

#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/irpe_index.h"
#include "tessera/nn/position/learned_scale.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Irpe final : PositionEncoding {
  struct Config {
    std::string method = "product", mode = "contextual", on = "k";
    double ratio = 1.9;
    bool shared_head = true;
  };
  static bool letters(const Value& v) {
    const auto& on = std::get<std::string>(v);
    return !on.empty() && on.find_first_not_of("qkv") == std::string::npos &&
           std::set<char>(on.begin(), on.end()).size() == on.size();
  }
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"method", &Config::method, "which offsets share a bucket",
         one_of("product", "cross", "euclidean", "quant_code", "quant_paper")},
        {"mode", &Config::mode, "whether a bucket's row meets the content", one_of("contextual", "bias")},
        {"on", &Config::on, "any of the letters q, k, v", such_that(letters, "letters of q, k, v, each once")},
        {"ratio", &Config::ratio, "alpha of the piecewise index; beta and gamma are 2 and 8 times it", within(1, 64)},
        {"shared_head", &Config::shared_head, "one table for all heads of a block"},
    };
    return table;
  }
  static void check(const Config& c) {
    if (c.mode == "bias" && c.on.find('v') != std::string::npos)
      fail("position irpe", "a bias on values has no meaning; use mode=contextual for v");
  }

  static std::string refuses(const Places& at, const Config& c) {
    const bool of_keys = c.mode == "contextual" && c.on.find('q') != std::string::npos;
    return of_keys ? refuses_learned_scale(at, "what on=q adds are products of keys alone") : "";
  }

  struct Table {
    char on;
    IrpeMethod method;
    Tensor weight;  // contextual q, k: (heads or 1, d, buckets); v: (.., buckets, d); bias: (.., buckets)
  };

  Irpe(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      own.emplace_back();
      for (char on : c.on)
        for (IrpeMethod m : methods())
          own.back().push_back({on, m, table(net / s.path / (std::string("rpe_") + on), s, on, m)});
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    Terms t;
    for (const Table& o : own.at(static_cast<size_t>(s.id))) {
      const RelativeIndex& rho = irpe_pairs(now, o.method, config.ratio, o.on == 'q');
      if (config.mode == "bias") {
        t.add({Relative::bias, o.weight.reshape({o.weight.dim(0), o.weight.dim(1), 1}), 0, rho});
      } else if (o.on == 'v') {
        t.add({Relative::value, o.weight, 0, rho});
      } else {
        t.add({o.on == 'k' ? Relative::query : Relative::key, permute(o.weight, {0, 2, 1}), 0, rho});
      }
    }
    return t;
  }

 private:
  std::vector<IrpeMethod> methods() const {
    if (config.method == "cross") return {IrpeMethod::rows, IrpeMethod::columns};
    if (config.method == "product") return {IrpeMethod::product};
    if (config.method == "euclidean") return {IrpeMethod::euclidean};
    return {config.method == "quant_code" ? IrpeMethod::quant_code : IrpeMethod::quant_paper};
  }
  Tensor table(const Scope& scope, const Site& s, char on, IrpeMethod m) const {
    const Scope at = m == IrpeMethod::rows ? scope / "rp_rows" : m == IrpeMethod::columns ? scope / "rp_cols" : scope;
    const int heads = config.shared_head ? 1 : s.heads,
              buckets = irpe_buckets(m, config.ratio) + (s.trained.q.prefix && !s.trained.window.h);
    if (config.mode == "bias") return at.param("lookup_table_bias", {heads, buckets}, constant(0), Decay::no);
    const Shape shape = on == 'v' ? Shape{heads, buckets, s.head_dim} : Shape{heads, s.head_dim, buckets};
    return at.param("lookup_table_weight", shape, constant(0), Decay::no);
  }
  Config config;
  std::vector<std::vector<Table>> own;  // by Site::id
};

}  // namespace

Encoding irpe() { return encoding<Irpe>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
