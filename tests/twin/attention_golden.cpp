// Attention on the tiny case of a 2 x 2 grid: logits and outputs of published encodings, written by an independent
// program. L0, L3: logits of queries 0 and 3; O0, O3: their outputs. Softmax is invariant to a constant, so logits are
// read from weights as differences of logarithms.
#include "tests/twin/attention_cases.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

struct Tiny {
  Tensor q{Shape{1, 4, 4}}, k{Shape{1, 4, 4}}, v{Shape{1, 4, 4}};
  Terms where;
  Pattern who = global_pattern(4, 4);
  double scale = 0.5;

  Tiny() {
    for (int i = 0; i < 4; ++i)
      for (int c = 0; c < 4; ++c) {
        q[i * 4 + c] = static_cast<real>(std::sin(0.3 * (i + 1) * (c + 1)));
        k[i * 4 + c] = static_cast<real>(std::cos(0.2 * (i + 1) * (c + 2)));
        v[i * 4 + c] = static_cast<real>(((4 * i + c) % 5) / 5.0 - 0.4);
      }
  }
  /// T(m)[c] = sin(step (m w + c + 1)).
  static Tensor table(int rows, int w, double step) {
    Tensor t({1, rows, w});
    for (int i = 0; i < t.size(); ++i) t[i] = static_cast<real>(std::sin(step * (i + 1)));
    return t;
  }
  static Tensor column(const std::vector<double>& values) {
    return tensor({1, static_cast<int>(values.size()), 1}, values);
  }
  template <class F>
  Tiny& term(Relative::Kind kind, const Tensor& t, int first, F index) {
    RelativeIndex::Spec p{who->n, who->m, t.dim(1), {}, 1};
    for (int i = 0; i < p.n; ++i)
      for (int j = 0; j < p.m; ++j) p.at.push_back(index(i, j));
    where.add({kind, t, first, std::move(p)});
    return *this;
  }
  /// Angles angle(token, pair).
  template <class F>
  Tiny& rotate(F angle) {
    Tensor co({1, 4, 2}), si({1, 4, 2});
    for (int i = 0; i < 4; ++i)
      for (int t = 0; t < 2; ++t) {
        co[i * 2 + t] = static_cast<real>(std::cos(angle(i, t)));
        si[i * 2 + t] = static_cast<real>(std::sin(angle(i, t)));
      }
    where.rotary = {co, si, co, si, false};
    return *this;
  }

  using Row = std::vector<double>;
  static constexpr double tolerance = sizeof(real) == 8 ? 1.01e-6 : 4e-6;
  /// L0 and L3 up to a constant per row, O0, O3; an empty row is not checked.
  void expect(const Row& L0, const Row& L3, const Row& O0, const Row& O3) {
    const Tensor w = attention_weights({heads(q, 1), heads(k, 1), heads(v, 1), who, scale}, where);
    const auto logits = [&](int i, const Row& want) {
      for (size_t j = 0; j < want.size(); ++j) {
        const auto log_weight = [&](int64_t at) { return std::log(double(w[i * 4 + at])); };
        CHECK(std::abs(log_weight(static_cast<int64_t>(j)) - log_weight(0) - (want[j] - want[0])) < 2 * tolerance);
      }
    };
    logits(0, L0), logits(3, L3);
    for (const Function f : {&attention, &plain_attention}) {
      const Tensor o = f({heads(q, 1), heads(k, 1), heads(v, 1), who, scale}, where, {});
      for (size_t c = 0; c < O0.size(); ++c) CHECK(std::abs(double(o[static_cast<int64_t>(c)]) - O0[c]) < tolerance);
      for (size_t c = 0; c < O3.size(); ++c)
        CHECK(std::abs(double(o[12 + static_cast<int64_t>(c)]) - O3[c]) < tolerance);
    }
  }
};

int clip(int x, int K) { return std::clamp(x, -K, K); }
int dy(int i, int j) { return j / 2 - i / 2; }  // key minus query on the 2 x 2 grid
int dx(int i, int j) { return j % 2 - i % 2; }
constexpr auto query = Relative::query, key_ = Relative::key, value = Relative::value, bias = Relative::bias,
               gate = Relative::gate;

TWIN_CASE("attention golden: plain") {
  Tiny().expect({0.893772, -0.000122, -0.760768, -0.908103}, {0.284706, 0.660795, 0.748386, 0.283803},
                {-0.112246, -0.143978, -0.052281, 0.054253}, {0.099218, 0.010535, -0.104575, -0.102589});
}

TWIN_CASE("attention golden: Shaw, keys, and keys with values") {
  const auto index = [](int i, int j) { return clip(j - i, 1) + 1; };
  Tiny()
      .term(query, Tiny::table(3, 4, 0.1), 0, index)
      .expect({1.710641, 1.136589, 0.375943, 0.228609}, {0.138978, 0.515067, 0.602658, 0.198080},
              {-0.059434, -0.133696, -0.061876, 0.027503}, {0.098018, 0.012827, -0.098471, -0.106187});
  Tiny()
      .term(query, Tiny::table(3, 4, 0.1), 0, index)
      .term(value, Tiny::table(3, 4, 0.07), 0, index)
      .expect({}, {}, {0.409804, 0.395382, 0.524450, 0.668206}, {0.224658, 0.208083, 0.164445, 0.223101});
}

TWIN_CASE("attention golden: Shaw as in the Conformer, query minus key") {
  Tiny()
      .term(query, Tiny::table(7, 4, 0.1), 0, [](int i, int j) { return i - j + 3; })
      .expect({2.170864, 1.136589, 0.056101, -0.540042}, {0.476293, 0.834691, 0.877137, 0.347081},
              {-0.151478, -0.181920, -0.060138, 0.096768}, {0.098072, 0.000120, -0.110751, -0.093721});
}

TWIN_CASE("attention golden: Transformer-XL as a query, a bias and a one-row key term") {
  Tensor R({1, 7, 4}), vR({1, 7, 1}), u({1, 1, 4});
  for (int r = 0; r < 7; ++r) {
    double dot = 0;
    for (int t = 0; t < 2; ++t) {
      const double a = (r - 3) * std::pow(1e4, -2.0 * t / 4);
      R[r * 4 + t] = static_cast<real>(std::sin(a)), R[r * 4 + 2 + t] = static_cast<real>(std::cos(a));
    }
    for (int c = 0; c < 4; ++c) dot += -0.05 * (c + 1) * double(R[r * 4 + c]);
    vR[r] = static_cast<real>(0.5 * dot);  // the bias stands outside of scale
  }
  for (int c = 0; c < 4; ++c) u[c] = static_cast<real>(0.1 * (c + 1));
  const auto index = [](int i, int j) { return i - j + 3; };
  Tiny()
      .term(query, R, 0, index)
      .term(bias, vR, 0, index)
      .term(key_, u, 0, [](int, int) { return 0; })
      .expect({1.917608, 0.414813, -0.956082, -1.235707}, {0.392208, 0.576354, 0.051036, -0.966212},
              {-0.226751, -0.195100, -0.037840, 0.129846}, {0.070363, -0.108854, -0.133111, -0.014199});
}

TWIN_CASE("attention golden: Huang's methods 1 to 4") {
  std::vector<double> one, two;
  for (int m = 0; m < 4; ++m) one.push_back(1 + 0.1 * m);
  for (int m = -3; m < 4; ++m) two.push_back(1 + 0.1 * m);
  Tiny()
      .term(gate, Tiny::column(one), 0, [](int i, int j) { return std::abs(j - i); })
      .expect({0.893772, -0.000134, -0.912922, -1.180534}, {0.370118, 0.792954, 0.823225, 0.283803},
              {-0.119807, -0.160584, -0.057232, 0.068811}, {0.104679, 0.000443, -0.113143, -0.095990});
  const auto signed_index = [](int i, int j) { return j - i + 3; };
  Tiny()
      .term(gate, Tiny::column(two), 0, signed_index)
      .expect({}, {0.199294, 0.528636, 0.673548, 0.283803}, {}, {0.093880, 0.020519, -0.095469, -0.109465});
  const Tensor T = Tiny::table(7, 4, 0.1);
  Tiny()
      .term(gate, T, 0, signed_index)
      .expect({0.884631, 0.014549, -0.532638, -0.379045}, {-0.052125, 0.377612, 0.672700, 0.287230},
              {-0.094633, -0.110136, -0.034821, 0.019795}, {0.104511, 0.048593, -0.095167, -0.128969});
  Tiny()
      .term(query, T, 0, signed_index)
      .term(key_, T, 0, signed_index)
      .expect({3.638792, 1.534600, -0.342861, -0.872244}, {0.475086, 0.685714, -0.007409, -0.854898},
              {-0.301750, -0.207643, -0.023842, 0.166617}, {0.069710, -0.126433, -0.124510, -0.009384});
}

TWIN_CASE("attention golden: stand-alone self-attention, borders masked and zero-padded") {
  // the 3 x 3 neighbourhood of each token is its own group; rows' half first
  for (const bool padded : {false, true}) {
    Pattern::Spec who;
    who.groups = 4, who.n = 1, who.m = 9;
    who.absent = padded ? Pattern::Absent::zero_key : Pattern::Absent::masked;
    for (int i = 0; i < 4; ++i) {
      who.q.push_back(i);
      for (int a = -1; a <= 1; ++a)
        for (int b = -1; b <= 1; ++b) {
          const int y = i / 2 + a, x = i % 2 + b;
          who.k.push_back(y < 0 || y > 1 || x < 0 || x > 1 ? -1 : y * 2 + x);
        }
    }
    Tiny tiny;
    tiny.who = who, tiny.scale = 1;
    tiny.term(query, Tiny::table(3, 2, 0.1), 0, [](int, int j) { return j / 3; })
        .term(query, Tiny::table(3, 2, 0.07), 2, [](int, int j) { return j % 3; });
    if (padded) {
      tiny.expect({}, {}, {-0.152885, -0.128824, -0.021449, 0.087297}, {0.091376, 0.065521, -0.118657, -0.086823});
    } else {
      tiny.expect({}, {}, {-0.237837, -0.200406, -0.033367, 0.135805}, {0.134966, 0.096778, -0.175261, -0.128241});
    }
  }
}

TWIN_CASE("attention golden: axial concat") {
  Tiny()
      .term(query, Tiny::table(3, 2, 0.1), 0, [](int i, int j) { return dx(i, j) + 1; })
      .term(query, Tiny::table(3, 2, 0.07), 2, [](int i, int j) { return dy(i, j) + 1; })
      .expect({1.257812, 0.440562, -0.282836, -0.353527}, {0.313348, 0.845052, 0.678236, 0.369268},
              {-0.097275, -0.135293, -0.050756, 0.041662}, {0.109392, -0.017903, -0.094910, -0.098290});
}

TWIN_CASE("attention golden: iRPE, product and cross") {
  // offsets are query minus key; on 2 x 2 the piecewise map is the identity; 7 values an axis
  const auto product = [](int i, int j) { return (3 - dy(i, j)) * 7 + 3 - dx(i, j); };
  const Tensor T = Tiny::table(49, 4, 0.1);
  Tiny()
      .term(query, T, 0, product)
      .expect({0.317427, -0.085412, 0.165559, -0.399530}, {0.171771, 0.496453, 0.802905, 0.405587},
              {0.012994, -0.008648, -0.093519, -0.055414}, {0.095786, 0.045441, -0.094676, -0.123276});
  Tiny()
      .term(key_, T, 0, [&](int i, int j) { return product(j, i); })
      .expect({0.311032, -0.161213, -0.940322, -1.515198}, {0.786854, 0.805544, 0.882119, 0.829066},
              {-0.045074, -0.146223, -0.084395, 0.037846}, {0.054671, 0.009865, -0.054424, -0.105056});
  Tiny()
      .term(value, T, 0, product)
      .expect({}, {}, {-0.154605, -0.245574, -0.212100, -0.162192}, {-0.105803, -0.189590, -0.297804, -0.286991});
  Tiny()
      .term(query, Tiny::table(7, 4, 0.1), 0, [](int i, int j) { return 3 - dy(i, j); })
      .term(query, Tiny::table(7, 4, 0.07), 0, [](int i, int j) { return 3 - dx(i, j); })
      .expect({3.281190, 2.165567, 1.486270, 1.117206}, {0.461934, 0.797704, 0.860142, 0.355240},
              {-0.146506, -0.150216, -0.053491, 0.075107}, {0.095559, 0.003304, -0.107781, -0.095541});
  std::vector<double> b;
  for (int id = 0; id < 49; ++id) b.push_back(0.02 * (id - 24));
  Tiny()
      .term(bias, Tiny::column(b), 0, product)
      .expect({0.893772, -0.020122, -0.900768, -1.068103}, {0.444706, 0.800795, 0.768386, 0.283803},
              {-0.120846, -0.155633, -0.052956, 0.064717}, {0.096010, -0.010284, -0.106811, -0.089458});
}

TWIN_CASE("attention golden: Swin's bias") {
  std::vector<double> b;
  for (int id = 0; id < 9; ++id) b.push_back(0.1 * id - 0.4);
  Tiny()
      .term(bias, Tiny::column(b), 0, [](int i, int j) { return (1 - dy(i, j)) * 3 + 1 - dx(i, j); })
      .expect({0.893772, -0.100122, -1.060768, -1.308103}, {0.684706, 0.960795, 0.848386, 0.283803},
              {-0.137837, -0.165982, -0.053281, 0.078550}, {0.087085, -0.029314, -0.112073, -0.072849});
}

TWIN_CASE("attention golden: rotary, one-dimensional, axial and mixed") {
  Tiny()
      .rotate([](int i, int t) { return i * std::pow(1e4, -t / 2.0); })
      .expect({0.893772, 0.027490, -0.621173, -0.476986}, {-1.106765, -0.031206, 0.512443, 0.283803}, {}, {});
  Tiny()
      .rotate([](int i, int t) { return double(t == 0 ? i % 2 : i / 2); })
      .expect({0.893772, 0.025986, -0.378806, -0.581952}, {0.407128, 0.627782, 0.513959, 0.283803},
              {-0.091271, -0.108984, -0.054223, 0.027239}, {0.075715, -0.018113, -0.080329, -0.088637});
  Tiny()
      .rotate([](int i, int t) {
        const int y = i / 2, x = i % 2;
        return x * (t ? -0.3 : 0.8) + y * (t ? 0.7 : 0.2);
      })
      .expect({0.893772, 0.005347, -0.528743, -0.752233}, {0.143136, 0.638371, 0.571195, 0.283803}, {}, {});
}

TWIN_CASE("attention golden: ALiBi and KERPLE as fixed biases") {
  const auto fixed = [](auto f, const Tiny::Row& L3) {
    std::vector<double> b;
    for (int i = 0; i < 16; ++i) b.push_back(f(i / 4, i % 4));
    Tiny().term(bias, Tiny::column(b), 0, [](int i, int j) { return i * 4 + j; }).expect({}, L3, {}, {});
  };
  fixed([](int i, int j) { return -0.25 * std::abs(i - j); }, {-0.465294, 0.160795, 0.498386, 0.283803});
  fixed([](int i, int j) { return -0.25 * std::hypot(dy(i, j), dx(i, j)); }, {-0.068848, 0.410795, 0.498386, 0.283803});
  fixed([](int i, int j) { return -0.5 * std::log(1 + 0.7 * std::abs(i - j)); },
        {-0.280995, 0.223060, 0.483072, 0.283803});
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
