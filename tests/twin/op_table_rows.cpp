// The rows that every file of this folder adds to the op table, and their inputs.
#include "tests/twin/op_table_rows.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "tessera/core/rng.h"

namespace tessera {
inline namespace TESSERA_NS {

std::vector<RowMaker>& row_makers() {
  static std::vector<RowMaker> makers;
  return makers;
}

namespace {

struct Table {
  std::vector<Row> rows;
  std::vector<ErrorRow> errors;
};
const Table& table() {
  static const Table t = [] {
    Table made;
    for (RowMaker make : row_makers()) make(made.rows, made.errors);
    // the order of static initialisation may differ between the twins
    std::stable_sort(made.rows.begin(), made.rows.end(),
                     [](const Row& a, const Row& b) { return std::tie(a.op, a.name) < std::tie(b.op, b.name); });
    return made;
  }();
  return t;
}

}  // namespace

const std::vector<Row>& op_rows() { return table().rows; }
const std::vector<ErrorRow>& op_errors() { return table().errors; }

std::string title(const Row& r) { return r.op + " (" + r.name + ")"; }

Arrays draw(const Row& row) {
  Arrays all;
  for (size_t k = 0; k < row.in.size(); ++k) {
    const In& in = row.in[k];
    const rng::Stream random(rng::hash(title(row)) + k);
    Array a(in.shape);
    const int64_t n = a.size();
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = n - 1; i > 0; --i)
      std::swap(order[static_cast<size_t>(i)],
                order[random.below(static_cast<uint64_t>(i), static_cast<uint32_t>(i + 1))]);
    for (int64_t i = 0; i < n; ++i) {
      double u = in.distinct ? (static_cast<double>(order[static_cast<size_t>(i)]) + 0.5) / static_cast<double>(n)
                             : random.uniform(static_cast<uint64_t>(i));
      double v = in.lo + (in.hi - in.lo) * u;
      for (double kink : in.kinks)
        if (std::abs(v - kink) < 0.01) v = kink + 0.01 + std::abs(v - kink);
      a[i] = static_cast<double>(static_cast<float>(v));
    }
    all.push_back(std::move(a));
  }
  return all;
}

Tensor to_tensor(const Array& a) { return tensor(a.shape, a.v); }
std::vector<double> to_doubles(const Tensor& t) {
  return t ? std::vector<double>(t.data(), t.data() + t.size()) : std::vector<double>();
}
Tensors to_tensors(const Arrays& a) {
  Tensors t;
  for (const Array& x : a) t.push_back(to_tensor(x));
  return t;
}

Tensors cotangents(const Row& row, const Tensors& y) {
  Tensors u;
  for (size_t k = 0; k < y.size(); ++k) {
    const rng::Stream random(rng::hash("cotangent " + title(row)) + k);
    Tensor t(y[k].shape());
    for (int64_t i = 0; i < t.size(); ++i) {
      const double v = random.uniform(static_cast<uint64_t>(i)) - 0.5;
      t[i] = static_cast<real>(static_cast<float>(v < 0 ? v - 0.5 : v + 0.5));
    }
    u.push_back(t);
  }
  return u;
}

}  // namespace TESSERA_NS
}  // namespace tessera
