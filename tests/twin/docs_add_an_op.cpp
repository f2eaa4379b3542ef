// The op of docs/add_an_op.md, from the code on that page: it must compile and pass the checks that the page promises.
#include <algorithm>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tests/twin/interpreter.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// header and source of the page, each a part of this file
#include "add_an_op.0.inc"
#include "add_an_op.1.inc"

// the page's rows, kept out of the table of core's own ops
#undef OP_ROWS
#define OP_ROWS(name) void name##_of_the_page(std::vector<Row>& rows, std::vector<ErrorRow>& errors)
#include "add_an_op.2.inc"

#define OP(NAME, ...)                                                             \
  {                                                                               \
#NAME, [](const Kept& o, const Tensors& x) -> Tensors { return __VA_ARGS__; } \
  }
const std::pair<const char*, Rule> rule_of_the_page =
#include "add_an_op.3.inc"
    ;

}  // namespace

TWIN_CASE("docs/add_an_op.md: every step of the page is code that is compiled, and files that it names exist") {
  const std::string page = io::read_file(TESSERA_SOURCE_DIR "/docs/add_an_op.md");
  for (const char* part : {"void forward(const Tensor& x", "void backward(const Tensor& x", "core/ops/sharp_softplus.h",
                           "tests/twin/interpreter.cpp", "train/cli/bench_ops.cpp"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  const std::string bench = io::read_file(TESSERA_SOURCE_DIR "/train/cli/bench_ops.cpp");
  CHECK(bench.find("> cases = {") != std::string::npos);
  CHECK_THROWS_WITH_AS(sharp_softplus(zeros({2}), std::nan("")), doctest::Contains("beta is nan"), Error);
  CHECK(double(sharp_softplus(full({1}, 1000), 4)[0]) == doctest::Approx(1000));  // no overflow
}

TWIN_CASE("docs/add_an_op.md: its op and its rows are as the page says") {
  std::vector<Row> rows;
  std::vector<ErrorRow> errors;
  softplus_of_the_page(rows, errors);
  REQUIRE(rows.size() == 4);
  REQUIRE(errors.size() == 1);
  CHECK_THROWS_WITH_AS(errors[0].run(), doctest::Contains(errors[0].says.c_str()), Error);
  interpreter().insert(rule_of_the_page);
  for (const Row& row : rows) {
    INFO(row.name);
    Array x(row.in[0].shape);
    Tensor in(x.shape);
    for (int64_t i = 0; i < x.size(); ++i)
      x[i] = 0.1 * static_cast<double>(i % 61 - 30), in[i] = static_cast<real>(x[i]);
    const Array expected = row.reference(x)[0];
    Recorder seen;
    const Tensor y = [&] {
      const Observing here(seen);
      return row.run(in)[0];
    }();
    CHECK(std::ranges::equal(computed(seen.ops, {}, y)[0].read(), y.read()));
    for (int64_t i = 0; i < x.size(); ++i)
      CHECK(double(y[i]) == doctest::Approx(expected[i]).epsilon(sizeof(real) == 8 ? 1e-12 : 1e-6));
    if constexpr (sizeof(real) == 8) CHECK(gradient_error(row) <= 1e-6);
  }
  interpreter().erase(rule_of_the_page.first);
}

}  // namespace TESSERA_NS
}  // namespace tessera
