// The op of docs/add_an_op.md, from the code on that page: it must compile and pass the checks that the page promises.
#include "core/error.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// what the page leaves to its reader
void forward(const Tensor& x, double b, Tensor& y) {
  for (int64_t i = 0; i < x.size(); ++i) y[i] = static_cast<real>(std::log1p(std::exp(b * double(x[i]))) / b);
}
void backward(const Tensor& x, double b, const Tensor& dy, Back& back) {
  if (!back.wants(x)) return;
  const auto [dx, beta] = back.into(x);
  for (int64_t i = 0; i < x.size(); ++i) {
    const real d = dy[i] * static_cast<real>(1 / (1 + std::exp(-b * double(x[i]))));
    dx[i] = beta == 0 ? d : dx[i] + d;
  }
}

#include "add_an_op.0.inc"

// the page's rows, kept out of the table of core's own ops
#undef OP_ROWS
#define OP_ROWS(name) void name##_of_the_page(std::vector<Row>& rows, std::vector<ErrorRow>& errors)
#include "add_an_op.1.inc"

}  // namespace

TWIN_CASE("docs/add_an_op.md: its op and its rows are as the page says") {
  std::vector<Row> rows;
  std::vector<ErrorRow> errors;
  softplus_of_the_page(rows, errors);
  REQUIRE(rows.size() == 4);
  REQUIRE(errors.size() == 1);
  CHECK_THROWS_WITH_AS(errors[0].run(), doctest::Contains(errors[0].says.c_str()), Error);
  for (const Row& row : rows) {
    INFO(row.name);
    Array x(row.in[0].shape);
    Tensor in(x.shape);
    for (int64_t i = 0; i < x.size(); ++i)
      x[i] = 0.1 * static_cast<double>(i % 61 - 30), in[i] = static_cast<real>(x[i]);
    const Array expected = row.reference(x)[0];
    const Tensor y = row.run(in)[0];
    for (int64_t i = 0; i < x.size(); ++i)
      CHECK(double(y[i]) == doctest::Approx(expected[i]).epsilon(sizeof(real) == 8 ? 1e-12 : 1e-6));
    if constexpr (sizeof(real) == 8) CHECK(gradient_error(row) <= 1e-6);
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
