// A model that a program adds, of frames instead of images, goes through the commands that know no model. In this
// process.
#include <algorithm>

#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/profile.h"
#include "tests/cli/program.h"
#include "tests/unit/toy_rows.h"

namespace tessera::cli {

TEST_CASE("a row of frames is resolved, built, measured and answers files, with lengths or without") {
  add_model(toy::frames_row());
  ConfigLayers config;
  config.set("model.name", "toy_frames");
  config.assign("input_dim=4");
  CHECK(config.help().find("model.input_dim=4") != std::string::npos);
  CHECK(config.help().find("model.img_size") == std::string::npos);
  const Network net = build(config.resolve(), 3);
  CHECK(net.input == InputShape{.kind = InputShape::Kind::frames, .features = 4});
  CHECK(measure(net).params == 15);
  CHECK(measure(net).macs > 0);

  const test::Folder folder;
  io::save(*net.params, folder / "w");
  const auto forward = [&](const std::vector<io::NamedTensor>& x) {
    io::write_tensors(folder / "x", x);
    CLI::App app;
    Action chosen;
    add_forward(app, chosen);
    std::vector<std::string> words{"forward", "--model",    "toy_frames", "input_dim=4", "--weights", folder / "w",
                                   "--input", folder / "x", "--output",   folder / "y",  "--features"};
    std::reverse(words.begin(), words.end());
    app.parse(words);
    return chosen();
  };
  Tensor x({2, 7, 4});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(i % 5);
  CHECK(forward({{"input", x}, {"lengths", full({2}, 7)}, {"cotangent", full({2, 3}, 1)}}) == done);
  const io::TensorFile y(folder / "y");
  const Tensor logits = y.read("logits"), want = net.model->forward(Run{}, x).logits;
  for (int64_t i = 0; i < want.size(); ++i) CHECK(logits[i] == want[i]);
  CHECK(y.read("grad.input").shape() == x.shape());
  CHECK_THROWS_WITH_AS(forward({{"input", zeros({2, 7, 5})}}), doctest::Contains("5 features, the model takes 4"),
                       Error);
  CHECK_THROWS_WITH_AS(forward({{"input", zeros({2, 4, 7, 7})}}), doctest::Contains("(B, T, F)"), Error);
  CHECK_THROWS_WITH_AS(forward({{"input", x}, {"lengths", full({2}, 8)}}), doctest::Contains("0 to 7"), Error);
}

}  // namespace tessera::cli
