#include "tests/twin/model_matrix.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "tessera/nn/weights.h"
#include "tests/twin/small_models.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Kind = InputShape::Kind;

bool finite(const Tensor& t) {
  for (real v : t.values())
    if (!std::isfinite(v)) return false;
  return true;
}

double noise(int64_t i) { return std::sin(12.9898 * static_cast<double>(i) + 1); }

Ints numbers(int rows, int width, int below) {
  Ints n(rows, width);
  for (size_t i = 0; i < n.size(); ++i) n.data()[i] = static_cast<int32_t>(i * 7 % static_cast<size_t>(below));
  return n;
}

/// Two samples of the size the model is built for, or of another; sequences differ in length.
Input input_of(const InputShape& shape, bool other) {
  Input in;
  const int T = other ? 13 : 9;
  if (shape.kind == Kind::image)
    in.x = Tensor({2, other ? 2 * shape.h : shape.h, other ? shape.w * 3 / 2 : shape.w, shape.channels});
  if (shape.kind == Kind::frames) in.x = Tensor({2, T, shape.features});
  if (shape.kind != Kind::image) in.lengths = Ints{T, T - 3};
  if (shape.kind == Kind::tokens)
    in.tokens = numbers(2, T, shape.vocabulary), in.target = numbers(2, 5, shape.vocabulary);
  for (int64_t i = 0; in.x && i < in.x.size(); ++i) in.x[i] = static_cast<real>(noise(i));
  return in;
}

/// Built, a training step's gradients for every parameter, evaluated, saved and loaded to the same logits, run at another size.
void walk(const ModelRow& row, const std::string& encoding) {
  const Options options = small_options(row);
  Params params(1), copy(2);
  const auto net = row.make(Scope(params), options, position(encoding));
  const InputShape shape = row.input(options);
  const Input in = input_of(shape, false);
  Grads grads;
  {
    std::vector<BatchStatistics> statistics;
    Collecting collecting(statistics);
    Tape tape;
    const Tensor y = net->forward(Run{.mode = Mode::train}, in).logits;
    CHECK(finite(y));
    tape.backward(y, full(y.shape(), 1), grads);
  }
  for (const auto& e : params.entries()) {
    if (e.buffer || !e.value.leaf()->trainable) continue;
    CAPTURE(e.name);
    CHECK(grads.has(e.value));
    if (grads.has(e.value)) CHECK(finite(grads.of(e.value)));
  }
  const Tensor y = net->forward(Run{}, in).logits;
  CHECK(finite(y));
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("tessera_matrix_" + std::to_string(getpid()) + ".safetensors");
  const auto second = row.make(Scope(copy), options, position(encoding));
  io::save(params, file.string());
  io::load(copy, file.string());
  std::filesystem::remove(file);
  const Tensor z = second->forward(Run{}, in).logits;
  REQUIRE(z.size() == y.size());
  for (int64_t i = 0; i < y.size(); ++i) REQUIRE(z[i] == y[i]);
  CHECK(finite(net->forward(Run{}, input_of(shape, true)).logits));
}

/// "" where it works, or the sentence that refuses.
std::string refusal(const ModelRow& row, const std::string& encoding) {
  CAPTURE(row.name);
  CAPTURE(encoding);
  try {
    walk(row, encoding);
    return "";
  } catch (const Error& e) {
    const std::string why = e.what();
    const size_t from = why.find("] ");
    return from == std::string::npos ? why : why.substr(from + 2);
  }
}

}  // namespace

std::string model_table() {
  std::vector<const ModelRow*> families;
  for (const ModelRow& row : models())
    if (row.name == row.family) families.push_back(&row);
  std::ostringstream head, rows;
  head << "| encoding |";
  for (const ModelRow* f : families) head << " `" << f->name << "` |";
  head << "\n|---|";
  for (size_t i = 0; i < families.size(); ++i) head << "---|";
  std::vector<std::string> reasons;
  for (const auto& p : positions()) {
    rows << "\n| `" << p.name << "` |";
    for (const ModelRow* f : families) {
      const std::string why = refusal(*f, p.name);
      if (why.empty()) {
        rows << " works |";
        continue;
      }
      auto at = std::find(reasons.begin(), reasons.end(), why);
      if (at == reasons.end()) at = reasons.insert(reasons.end(), why);
      rows << " no (" << at - reasons.begin() + 1 << ") |";
    }
  }
  rows << "\n";
  for (size_t i = 0; i < reasons.size(); ++i) rows << (i ? "" : "\n") << i + 1 << ". " << reasons[i] << "\n";
  return head.str() + rows.str();
}

}  // namespace TESSERA_NS
}  // namespace tessera
