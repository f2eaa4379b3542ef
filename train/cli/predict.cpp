// tessera predict: the classes of pictures, or of recordings; of a model that answers sequences, its answers.
#include <algorithm>
#include <filesystem>
#include <numeric>
#include <optional>

#include "tessera/core/io/text.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/cli/predict_tokens.h"
#include "tessera/train/cli/saved_run.h"
#include "tessera/train/data/class_folders.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/log_mel.h"
#include "tessera/train/data/named.h"
#include "tessera/train/data/sound.h"
#include "tessera/train/training/decoded.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/finite.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/text.h"

namespace tessera::cli {
namespace {

struct Request {
  std::string run;
  std::vector<std::string> images, tokens;
  int k = 5, threads = 0, beam = 1;
  bool best = false, json = false, top_said = false, beam_said = false;
};

/// The picture as the model saw its training images: size, channels, normalisation.
Tensor prepare(const std::string& path, const SavedRun& run) {
  const int h = run.net.input.h, w = run.net.input.w, C = run.net.input.channels;
  data::Image image = data::read_image(path);
  if (image.h != h || image.w != w) image = data::fit(image, h, w);
  Tensor x({1, h, w, C});
  for (int64_t p = 0; p < int64_t{h} * w; ++p) {
    const uint8_t* rgb = image.pixels.data() + 3 * p;
    for (int c = 0; c < C; ++c) {
      const auto i = static_cast<size_t>(c);
      const double value = C == 1 ? 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] : rgb[c];
      x[p * C + c] = static_cast<real>((value / 255 - static_cast<double>(run.normalisation.mean[i])) /
                                       static_cast<double>(run.normalisation.std[i]));
    }
  }
  return x;
}

/// What a run is asked about.
struct Kind {
  const char* one;   ///< "picture"
  const char* key;   ///< of the JSON
  const char* read;  ///< "PNG or JPEG"
  const data::FileKind& files;
};
const Kind& picture() {
  static const Kind kind{"picture", "image", "PNG or JPEG", data::picture_files()};
  return kind;
}
const Kind& recording() {
  static const Kind kind{"recording", "recording", "WAV, FLAC or Ogg", data::recording_files()};
  return kind;
}

/// By the model and by the data it was trained on: frames may be of anything.
const Kind& kind_of(const SavedRun& run, const std::string& rundir) {
  const InputShape& in = run.net.input;
  if (in.kind == InputShape::Kind::image && (in.channels == 1 || in.channels == 3)) return picture();
  const data::NamedData* named = data::find_named(run.config.data.name);
  if (in.kind == InputShape::Kind::frames && named && named->sound) return recording();
  fail("predict", "{} is a model of {}, not of pictures or recordings", rundir, in.str());
}

/// What was named, each folder replaced by the files in it and below it, sorted.
data::FilesBelow files(const std::vector<std::string>& named, const Kind& kind) {
  data::FilesBelow all;
  for (const std::string& word : named) {
    std::error_code error;
    if (!std::filesystem::is_directory(word, error)) {
      all.paths.push_back(word);
      continue;
    }
    const data::FilesBelow found = data::files_below(kind.files, word);
    if (found.paths.empty()) fail("predict", "{} holds no {} file", word, kind.read);
    all.paths.insert(all.paths.end(), found.paths.begin(), found.paths.end());
    all.skipped += found.skipped;
  }
  return all;
}

/// The recording as frames, as the model heard its training set: of the same rate, under the same normalisation.
Input listen(const std::string& path, const SavedRun& run, const data::LogMel& mel) {
  const data::Sound sound = data::read_sound(path);
  if (sound.rate != mel.options().sample_rate)
    fail("predict", "{} has {} samples a second, but the model was trained on {}: bring it to that first", path,
         sound.rate, mel.options().sample_rate);
  const std::vector<float> frames = data::frames(mel, sound, path);
  const int features = mel.options().n_mels, T = static_cast<int>(frames.size()) / features;
  Input input(Tensor({1, T, features}));
  const std::vector<float>&mean = run.normalisation.mean, &std = run.normalisation.std;
  for (size_t k = 0; k < frames.size(); ++k) {
    const size_t f = k % mean.size();
    input.x.data()[k] = static_cast<real>((frames[k] - mean[f]) / std[f]);
  }
  input.lengths = Ints(1);
  input.lengths.data()[0] = T;
  return input;
}

std::vector<double> answer(const SavedRun& run, const std::string& path, const data::LogMel* mel) {
  const Input x = mel ? listen(path, run, *mel) : Input(prepare(path, run));
  Tensor logits;
  try {
    logits = run.net.model->forward(Run{}, x).logits;
  } catch (const Error& e) {  // of a recording with too few frames
    fail("predict", "{}: {}", path, e.what());
  }
  if (named_class(logits.values()) == no_class)
    fail("predict", "the answer to {} is not finite; first {}", path,
         first_not_finite(*run.net.model, *run.net.params, Run{}, x));
  return probabilities(logits.values());
}

/// Goes on past a file that cannot be answered, with a line of error for each of them, and then exits with 1.
int predict(const Request& r) {
  use_threads(r.threads);
  if (r.images.empty() && r.tokens.empty())
    wrong_usage("nothing to predict: name files or folders, or say --tokens \"3 1 2\"");
  if (!r.images.empty() && !r.tokens.empty())
    wrong_usage("files and --tokens are of different models: name one of them");
  if (r.tokens.empty() && r.beam_said) wrong_usage("--beam is of answers that are sequences: it needs --tokens");
  if (!r.tokens.empty() && r.top_said) wrong_usage("--top is of classes: leave it out beside --tokens");
  const SavedRun run = open_run(r.run, r.best ? Weights::best : Weights::final);
  if (!r.tokens.empty()) return predict_tokens(run, r.run, r.tokens, r.beam, r.json);
  const Kind& kind = kind_of(run, r.run);
  std::optional<data::LogMel> mel;
  if (&kind == &recording()) {
    if (run.normalisation.mean.size() != static_cast<size_t>(run.config.data.n_mels))
      fail("run", "{}: data.mean is not a number for each of {} features", r.run, run.config.data.n_mels);
    mel.emplace(sound_of(run.config.data));
  }
  const data::FilesBelow all = files(r.images, kind);
  if (all.skipped > 0)
    say("{} skipped that {} {}", plural(static_cast<int64_t>(all.skipped), "file"),
        all.skipped == 1 ? "is no" : "are no", kind.read);
  Json list = Json::array();
  int64_t failed = 0;
  for (const std::string& path : all.paths) {
    std::vector<double> p;
    try {
      p = answer(run, path, mel ? &*mel : nullptr);
    } catch (const Error& e) {
      say_error(e.what());
      list.push_back(Json{{kind.key, path}, {"error", e.what()}});
      ++failed;
      continue;
    }
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    order.resize(std::min(order.size(), static_cast<size_t>(r.k)));
    Json classes = Json::array();
    std::string line = path + ":";
    for (const size_t c : order) {
      const std::string name = c < run.classes.size() ? run.classes[c] : std::to_string(c);
      classes.push_back(Json{{"class", c}, {"name", name}, {"probability", p[c]}});
      line += fmt::format("  {} {:.1f} %", name, 100 * p[c]);
    }
    list.push_back(Json{{kind.key, path}, {"classes", classes}});
    if (!r.json) print(io::printable(line) + "\n");
  }
  if (r.json) print_json(list);
  if (failed > 0 && all.paths.size() > 1)
    say("{} of {} could not be answered", failed, plural(static_cast<int64_t>(all.paths.size()), kind.one));
  return failed > 0 ? failure : done;
}

}  // namespace

void add_predict(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("predict",
                                 "Classes of pictures or recordings, with probabilities; answers to typed sequences");
  auto r = std::make_shared<Request>();
  sub->add_option("--run", r->run, "The run directory")->required()->type_name("RUNDIR");
  sub->add_flag("--best", r->best, "The weights that were best in validation (best.ckpt) instead of the final ones");
  sub->add_option("FILE", r->images,
                  "PNG or JPEG files, for a run on recordings WAV, FLAC or Ogg files, or folders of them");
  sub->add_option("--tokens", r->tokens,
                  "A question to a model that answers sequences: its symbols from 0 on, \"3 1 2\"; may be said again")
      ->type_name("\"A B ...\"")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  sub->add_option("--beam", r->beam, "Answers followed at once with --tokens; 1: greedy")
      ->check(CLI::Range(1, most_beam))
      ->capture_default_str();
  sub->add_option("--top", r->k, "Classes shown")->check(CLI::Range(1, 1000000))->capture_default_str();
  sub->add_option("--threads", r->threads, "Worker threads [cores available]")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  sub->add_flag("--json", r->json, "One JSON document on stdout");
  sub->callback([&chosen, r, sub] {
    r->top_said = sub->count("--top") > 0, r->beam_said = sub->count("--beam") > 0;
    chosen = [=] { return predict(*r); };
  });
}

}  // namespace tessera::cli
