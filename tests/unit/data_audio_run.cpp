// A run on recordings from its start to its evaluation, with a toy model of frames.
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/splits.h"
#include "tests/error_of.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_wav.h"
#include "tests/unit/run_bed.h"
#include "tests/unit/toy_rows.h"

namespace tessera::test {
namespace {

/// The registry knows it from the first test on.
void know_toy() {
  static const bool known = (add_model(toy::frames_row("toy_sound")), true);
  (void)known;
}

RunConfig on_tones(const std::string& folder) {
  know_toy();
  RunConfig c;
  c.model = "toy_sound", c.position = "none";
  c.data.name = "audiofolder:" + folder;
  c.data.val_size = 6, c.data.bucket = 2;
  c.augment.freq_masks = 1, c.augment.freq_width = 10, c.augment.time_masks = 1;
  c.train.epochs = 12, c.train.batch_size = 8, c.optim.lr = 0.05;
  return c;
}

}  // namespace

TEST_CASE("a run on recordings: trained, resumed to the bit, its normalisation kept, its report without pictures") {
  const Temporary dir;
  write_tones(dir, "tones", 20);
  RunConfig c = on_tones(dir / "tones");
  const RunResult r = train_run(c, dir / "whole", false);
  CHECK(r.test_acc1 == 1);  // a low and a high tone
  c.train.max_steps = 7;
  train_run(c, dir / "parts", false);
  CHECK(bytes(dir / "parts/config.toml").find("sample_rate = 8000") != std::string::npos);
  c.train.max_steps = 0, c.data.sample_rate = 8000, c.data.workers = 3;
  train_run(c, dir / "parts", true);
  CHECK(bytes(dir / "whole/weights.safetensors") == bytes(dir / "parts/weights.safetensors"));
  CHECK(metrics(dir / "whole") == metrics(dir / "parts"));
  const json data = summary(dir / "whole")["data"];
  CHECK(data["mean"].size() == 40);
  CHECK(data["train_images"] == 34);
  CHECK(data["classes"] == json({"high", "low"}));
  const json report = json::parse(bytes(dir / "whole/report_data.json"));
  CHECK(report["samples"].empty());
  CHECK(report["confusion"].size() == 2);
}

TEST_CASE("a run on recordings: options of pictures, and of recordings elsewhere, are refused") {
  const Temporary dir;
  write_tones(dir, "tones", 8);
  const auto refused = [&](auto change) {
    RunConfig c = on_tones(dir / "tones");
    change(c);
    return error_of([&] { train_run(c, "", false); });
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(has(refused([](RunConfig& c) { c.augment.flip = true; }), "flip works on images"));
  CHECK(has(refused([](RunConfig& c) { c.augment.mixup = 0.2; }), "mixup works on images"));
  CHECK(has(refused([](RunConfig& c) { c.augment.freq_width = 41; }), "freq_width = 41"));
  CHECK(has(refused([](RunConfig& c) { c.data.img_size = 32; }), "data.img_size"));
  CHECK(has(refused([](RunConfig& c) { c.model = "vit", c.position = ""; }), "vit takes images"));
  const auto on_where = [](auto change) {
    RunConfig c = tiny(1);
    change(c);
    return error_of([&] { train_run(c, "", false); });
  };
  CHECK(has(on_where([](RunConfig& c) { c.data.n_mels = 80; }), "data.n_mels does nothing with where"));
  CHECK(has(on_where([](RunConfig& c) { c.data.bucket = 4; }), "data.bucket is 4 but does nothing"));
  CHECK(has(on_where([](RunConfig& c) { c.augment.time_masks = 1; }), "time_masks masks frames of sound"));
  CHECK(has(error_of([&] {
              RunConfig c = on_tones(dir / "tones");
              c.augment.freq_masks = 0;
              check(c);
            }),
            "freq_width"));
}

}  // namespace tessera::test
