// docs/matrix.md is written by this test: TESSERA_WRITE_MATRIX=docs/matrix.md tessera_tests -tc="*matrix*". Without the variable it checks
// that the committed page says what the code does.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/twin/model_matrix.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

bool finite(const Tensor& t) {
  for (real v : t.values())
    if (!std::isfinite(v)) return false;
  return true;
}

/// Built, run forward and backward, run on another grid; "works", or the sentence that refuses.
std::string verdict(const Bench& b, const char* name) {
  try {
    const Net net(b, name, {});
    const Tensor x =
        random_image(2, std::get<int>(b.options.at("img_size")), std::get<int>(b.options.at("img_width")), 2);
    Grads grads;
    {
      Tape tape;
      const Tensor y = net(x);
      CHECK(finite(y));
      tape.backward(y, full(y.shape(), 1), grads);
    }
    for (const auto& e : net.params.entries())
      if (!e.buffer) CHECK_MESSAGE(grads.has(e.value), name << " " << e.name);
    CHECK(finite(net(random_image(1, 16, 12, 2))));
    return "works";
  } catch (const Error& e) {
    const std::string why = e.what();
    const size_t from = why.find("] ");
    return "refused: " + (from == std::string::npos ? why : why.substr(from + 2));
  }
}

/// For a cell of a table.
std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\|");
  return text;
}

/// Parameters that an encoding adds to a model of the registry.
int64_t added(const char* model_name, const char* name) {
  Params params;
  position(name)(Scope(params), model(model_name).places({}));
  return params.count();
}
std::string added_or_dash(const char* model_name, const char* name) {
  try {
    return std::to_string(added(model_name, name));
  } catch (const Error&) {
    return "-";
  }
}

std::string page() {
  std::ostringstream s;
  s << "# Which position encoding runs in which model\n\n"
       "This page is written by `tests/twin/position_matrix.cpp` and checked by it on every run of the tests. *Works* "
       "means: built with its\n"
       "defaults, run forward and backward, a gradient for every parameter, and run again on a grid of another height "
       "and width.\n"
       "`tests/twin/position_walk.cpp` says much more of each. The columns `vit` and `swin` count the parameters that "
       "an encoding adds to the\n"
       "two families' defaults for 32 x 32 images (8 x 8 tokens and a class token, 6 blocks of 4 heads of 32; windows "
       "of 4 x 4, 6 blocks).\n\n"
       "| encoding | what it is | hooks |";
  for (const Bench& b : benches()) s << " " << b.title << " |";
  s << " another resolution | adds to `vit` | adds to `swin` |\n|---|---|---|---|---|---|---|---:|---:|\n";
  for (const auto& row : positions()) {
    s << "| `" << row.name << "` | " << cell(row.title) << " | ";
    for (size_t i = 0; i < row.hooks.size(); ++i) s << (i ? ", " : "") << row.hooks[i];
    s << " |";
    for (const Bench& b : benches()) s << " " << verdict(b, row.name) << " |";
    s << " " << row.resolution << " | " << added_or_dash("vit", row.name) << " | " << added_or_dash("swin", row.name)
      << " |\n";
  }
  s << "\n## In every family of models\n\n"
       "A small model of each family, under each encoding, is trained a step (a finite gradient for every parameter), "
       "evaluated, saved and "
       "loaded\n"
       "into a second one with the same logits to the bit, and run at another size: images twice as high and one and a "
       "half times as wide, "
       "sequences of\n"
       "other lengths. A number in brackets is the reason below the table.\n\n"
    << model_table()
    << "\n## Compositions\n\n"
       "`--position a+b` adds token hooks in order and appends the terms of the attention. There is one rotation and "
       "one attention, so two of\n"
       "either are refused, and so are terms beside an encoding that computes the attention itself.\n\n"
       "| composition |";
  for (const Bench& b : benches()) s << " " << b.title << " |";
  s << "\n|---|---|---|---|\n";
  for (const char* name : {"learned+rope_axial", "sincos2d+relative_position_bias", "peg+shaw_axial_kv",
                           "rope_mixed+alibi_2d", "irpe+log_cpb", "learned+irpe", "learned+gpsa", "sinusoidal+sasa",
                           "cpe+peg", "learned+sincos2d", "rope+rope_axial", "gpsa+sasa", "gpsa+relative_position_bias",
                           "sasa+rope", "learned+pvt", "shaw+conformer_shaw", "learned+learned"}) {
    s << "| `" << name << "` |";
    for (const Bench& b : benches()) s << " " << verdict(b, name) << " |";
    s << "\n";
  }
  return s.str();
}

TWIN_CASE("matrix: docs/matrix.md says what the code does") {
  if (sizeof(real) == 4) return;  // once is enough
  const std::string text = page();
  if (const char* path = std::getenv("TESSERA_WRITE_MATRIX")) {
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  std::ifstream file(TESSERA_SOURCE_DIR "/docs/matrix.md", std::ios::binary);
  const std::string committed((std::istreambuf_iterator<char>(file)), {});
  CHECK_MESSAGE(committed == text,
                "docs/matrix.md is not what this build does; write it anew with "
                "TESSERA_WRITE_MATRIX=docs/matrix.md tessera_tests -tc=*matrix*");
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
