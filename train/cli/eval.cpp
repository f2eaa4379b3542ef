// tessera eval: how good a finished run, or any model with weights from a file, is on a split of its data, or of other data, or at another
// image size.
#include <fmt/format.h>

#include <algorithm>

#include "tessera/core/parallel.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/data_name.h"
#include "tessera/train/cli/image_size.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/cli/saved_run.h"
#include "tessera/train/data/named.h"
#include "tessera/train/data/subset.h"
#include "tessera/train/training/complete.h"
#include "tessera/train/training/decoded.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/finite.h"
#include "tessera/train/training/sequence_task.h"
#include "tessera/train/training/shortest.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/trainer.h"
#include "tessera/train/training/views.h"

namespace tessera::cli {
namespace {

/// What --weights are asked about: which samples, and how recordings become frames.
constexpr std::string_view data_keys[] = {"data.train_size", "data.val_size", "data.test_size",   "data.fraction",
                                          "data.seed",       "data.img_size", "data.sample_rate", "data.n_mels",
                                          "data.window_ms",  "data.hop_ms"};

struct Request {
  std::string run, weights, precision, data, data_dir, split = "test", img_size, tta = "none";
  ModelOptions model;  // of the weights
  int beam = 1;
  bool best = false, json = false;

  bool of_run() const { return weights.empty(); }
  const std::string& name() const { return of_run() ? run : weights; }
};

void check_usage(const Request& r) {
  if (r.run.empty() == r.weights.empty()) wrong_usage("expected either --run RUNDIR or --model NAME --weights FILE");
  const ModelOptions& m = r.model;
  if (r.of_run() && !(m.model.empty() && m.position.empty() && m.assignments.empty() && r.precision.empty()))
    wrong_usage("--run {} says its model itself: --model, --position, --precision and keys go with --weights", r.run);
  if (!r.of_run() && m.model.empty()) wrong_usage("--weights {} are of which model? Say --model NAME", r.weights);
  if (!r.of_run() && r.best) wrong_usage("--best is of a run's validation, --weights {} have none", r.weights);
}

/// Which data are asked: those of the run, or others; what was said of them has to make sense with them.
DataConfig data_of(const Request& r, SavedRun& run) try {
  DataConfig data = run.config.data;
  if (r.data.empty() && !r.of_run()) {
    const DefaultData found = default_data(r.data_dir);
    data.name = found.name;
    say(found.line);
  } else if (!r.data.empty() && r.data != data.name) {
    data.name = r.data;
    // how the run cut its own set says nothing about another one, which may be smaller; what is made is as many as asked for
    if (r.of_run() && data::find_named(r.data)->most_made == 0) data.train_size = data.val_size = 0, data.fraction = 1;
  }
  check_data_dir(data.name, r.data_dir);
  if (!r.data_dir.empty()) data.dir = r.data_dir;
  if (r.of_run()) return data;
  run.config.data = data;
  check(run.config);
  return data;
} catch (const Error& e) {
  throw Usage(e.what());
}

/// Builds the model for samples like these and reads its weights. Pictures are normalised by the training split of their own set, and
/// classes are the data's, in their order.
void read_weights(const Request& r, SavedRun& run, const data::Source& like) {
  try {
    complete(run.config, like);
  } catch (const Misfit& e) {
    throw Usage(e.what());
  }
  run.net = build(run.config, 0, Draw::no);
  load(run.net, run.config, r.weights);
  if (const std::string lost = not_finite(*run.net.params); !lost.empty())
    fail("eval", "{}: {}, so these weights answer nothing", r.weights, lost);
}

/// Who was asked.
Json subject(const Request& r, const SavedRun& run) {
  if (!r.of_run())
    return {{"model", run.config.model}, {"position", run.config.position}, {"weights", r.weights}, {"epoch", Json()}};
  return {{"run", r.run}, {"weights", r.best ? "best" : "final"}, {"epoch", r.best ? Json(run.epoch) : Json()}};
}

/// Pictures for a model of pictures, frames of as many features for one of frames.
void check_kind(const SavedRun& run, const data::Source& source) {
  const InputShape &in = run.net.input, form = source.form();
  if (in.kind != form.kind || in.channels != form.channels || in.features != form.features ||
      in.vocabulary != form.vocabulary || in.target != form.target)
    fail("eval", "{} takes {}, but {} holds {}", run.config.model, in.str(), source.name, form.str());
}

/// Pictures at the size that was asked for. Throws Error for data that are no pictures.
std::shared_ptr<const data::Source> of_size(const std::shared_ptr<const data::Source>& source, const ImageSize& size) {
  if (size.h == 0) return source;
  const auto set = std::dynamic_pointer_cast<const data::Set>(source);
  if (!set) fail("eval", "--img-size resizes pictures, {} holds {}", source->name, source->form().str());
  return resized(set, size);
}

/// Throws Error if the encoding cannot follow pictures of this size.
void check_size(const SavedRun& run, const InputShape& now) {
  const InputShape& built = run.net.input;
  if (now.kind != InputShape::Kind::image || (now.h == built.h && now.w == built.w)) return;
  if (const std::string why = fixed_size(run.config.position); !why.empty())
    fail("eval", "{} ({} x {}, not {} x {})", why, built.h, built.w, now.h, now.w);
}

/// Is the model that was named, or what was said of it, made for pictures of the size that is asked for?
bool made_for(const RunConfig& config, const ImageSize& size) {
  const InputShape in = model(config.model).input(config.model_options);
  return in.kind == InputShape::Kind::image && in.h == size.h && in.w == size.w;
}

/// Of sequences that answer sequences: given the right tokens so far, and decoded.
int show_answers(const Request& r, const SavedRun& run, const data::Source& source, const std::string& data,
                 const Evaluation& e) {
  int longest = 1;
  for (size_t i = 0; i < source.size(); ++i) longest = std::max(longest, static_cast<int>(source.answer(i).size()));
  const DecodedScores decoded = evaluate_decoded(*run.net.model, source, {.beam = r.beam, .most = 2 * longest});
  if (r.json) {
    Json document = subject(r, run);
    document.update({{"data", data},
                     {"split", r.split},
                     {"sequences", source.size()},
                     {"loss", e.loss},
                     {"acc1", e.acc1},
                     {"tokens", e.tally.of[1].value()},
                     {"beam", r.beam},
                     {"decoded", decoded.right.value()},
                     {"token_error_rate", decoded.errors.value()},
                     {"seconds", e.seconds + decoded.seconds}});
    print_json(document);
    return done;
  }
  print(fmt::format("{} {}: {} of at most {} steps\n", data, r.split,
                    plural(static_cast<int64_t>(source.size()), "sequence"), source.form().T));
  print(fmt::format("{:<14} {:6.2f} % right   token error rate {:.2f} %   {:.0f} sequences/s\n",
                    r.beam > 1 ? fmt::format("beam of {}", r.beam) : "greedy", 100 * decoded.right.value(),
                    100 * decoded.errors.value(), static_cast<double>(source.size()) / decoded.seconds));
  print(fmt::format("{:<14} {:6.2f} % right   {:.2f} % of the tokens   loss {:.4f}\n", "teacher forced", 100 * e.acc1,
                    100 * e.tally.of[1].value(), e.loss));
  return done;
}

int eval(const Request& r) {
  check_usage(r);
  if (r.split != "test" && r.split != "val" && r.split != "train")
    wrong_usage("--split {}: expected test, val or train", r.split);
  check_data_name(r.data);
  const ImageSize size = r.img_size.empty() ? ImageSize{} : image_size(r.img_size, "--img-size");
  use_threads(r.model.threads);
  if (!r.precision.empty()) use_precision(r.precision);
  SavedRun run = r.of_run() ? open_run(r.run, r.best ? Weights::best : Weights::final)
                            : SavedRun{r.model.said("eval", data_keys), {}, {}, {}, {}, 0};
  DataConfig data = data_of(r, run);
  const data::Splits splits = open_splits(data);
  if (!splits.note.empty()) say(splits.note);
  auto source = r.split == "test" ? splits.test : r.split == "val" ? splits.val : splits.train;
  if (!source)
    fail("eval", "{} has no {} split{}", data.name, r.split,
         r.split == "val" ? " (data.val_size is 0)"
         : splits.val     ? "; it has a validation split: --split val"
                          : "");
  if (r.data.empty() && !run.digest.empty() && splits.train->digest != run.digest)
    say_warning(fmt::format("{} holds other data than those that {} was trained on", data.name, r.run));
  if (!r.of_run()) {
    run.config.data = data;
    const bool resize_first = made_for(run.config, size);  // weights of 224 x 224 are not brought to 32 x 32 and back
    read_weights(r, run, *(resize_first ? of_size(source, size) : splits.train));
  }
  // as the model was trained, also where the run's own folder is another by now
  check_kind(run, *source);
  if (r.of_run()) source = data::under_names(source, run.classes);
  if (!run.normalisation.mean.empty()) source = source->normalised_by(run.normalisation);
  source = of_size(source, size);
  check_size(run, source->form());
  const InputShape form = source->form();
  const auto task = task_of(run.net.input, *source, 0);
  ask_shortest(*run.net.model, source.get(), *task);
  check_views(r.tta, *source, "--tta");
  const Evaluation e = evaluate(*run.net.model, *source, *task);
  if (e.undecided > 0)
    fail("eval", "the answers of {} to {} of {} {}s are not finite; first {}", r.name(), e.undecided, source->size(),
         form.unit(), first_not_finite(*run.net.model, *run.net.params, *source, *task, e));
  const bool answers = dynamic_cast<const SequenceTask*>(task.get());
  if (!answers && r.beam > 1) fail("eval", "--beam is of answers that are sequences; {} has none", data.name);
  if (answers) return show_answers(r, run, *source, data.name, e);
  const bool views = r.tta != "none";
  const Evaluation of_views = views ? evaluate(Views(*run.net.model, r.tta), *source, *task) : Evaluation{};
  if (of_views.undecided > 0)
    fail("eval", "the answers of {} to views ({}) of {} of {} {}s are not finite, those to the {}s themselves are",
         r.name(), r.tta, of_views.undecided, source->size(), form.unit(), form.unit());
  if (r.json) {
    constexpr size_t most_dense = 1000;  // classes; more make a matrix of gigabytes
    Json confusion = e.confusion.size() <= most_dense ? Json(e.confusion.dense()) : Json();
    Json cells = Json::array();
    for (const Confusion::Cell& c : e.confusion.cells()) cells.push_back({c.label, c.prediction, c.count});
    Json document = subject(r, run);
    document.update({{"data", data.name}, {"split", r.split}});
    document[form.ragged() ? "sequences" : "images"] = source->size();
    if (!form.ragged()) document["img_size"] = form.h, document["img_width"] = form.w;
    document.update({{"loss", e.loss},
                     {"acc1", e.acc1},
                     {"acc5", e.acc5},
                     {"classes", source->class_names},
                     {"confusion", std::move(confusion)},
                     {"confused", std::move(cells)},
                     {"seconds", e.seconds}});
    if (views) document.update({{"tta", r.tta}, {"tta_acc1", of_views.acc1}, {"tta_loss", of_views.loss}});
    print_json(document);
    return done;
  }
  print(fmt::format("{} {}: {} of {}{}\n", data.name, r.split,
                    plural(static_cast<int64_t>(source->size()), form.unit()),
                    form.ragged() ? fmt::format("at most {} steps", form.T) : fmt::format("{} x {}", form.h, form.w),
                    r.best ? fmt::format(", with the weights of epoch {}, best in validation", run.epoch) : ""));
  print(fmt::format("accuracy {:.2f} %   top-5 {:.2f} %   loss {:.4f}   {:.0f} {}s/s\n", 100 * e.acc1, 100 * e.acc5,
                    e.loss, static_cast<double>(source->size()) / e.seconds, form.unit()));
  if (views)
    print(fmt::format("{:<8} {:.2f} %   top-5 {:.2f} %   loss {:.4f}   {:.0f} {}s/s with {}\n", "", 100 * of_views.acc1,
                      100 * of_views.acc5, of_views.loss, static_cast<double>(source->size()) / of_views.seconds,
                      form.unit(), r.tta));
  for (size_t k = 0; k < e.confusion.size(); ++k) {
    const int64_t all = e.confusion[k].sum();
    if (all == 0 || e.confusion.size() > 100) continue;
    const auto& names = source->class_names;
    print(fmt::format("  {:<20} {:6.2f} % of {}\n", k < names.size() ? names[k] : std::to_string(k),
                      100.0 * static_cast<double>(e.confusion[k][k]) / static_cast<double>(all), all));
  }
  return done;
}

}  // namespace

void add_eval(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("eval", "Accuracy of a finished run, or of a model with weights from a file");
  auto r = std::make_shared<Request>();
  sub->add_option("--run", r->run, "The run directory; or:")->type_name("RUNDIR");
  sub->add_option("--weights", r->weights, "Weights under the original's names, of --model NAME")
      ->type_name("W.safetensors");
  r->model.add_to(*sub, false, data_keys);
  sub->add_option("--precision", r->precision,
                  "What --weights are multiplied in: f32 or bf16 [f32; a run has its own]");
  sub->add_flag("--best", r->best, "The weights that were best in validation (best.ckpt) instead of the final ones");
  sub->add_option("--data", r->data, "Other data of the same classes [the run's; cifar10 if it is found, else where]")
      ->type_name("SPEC");
  sub->add_option("--data-dir", r->data_dir,
                  "Where the files of a named set are, or now the folder of SPEC:DIR [as in training]")
      ->type_name("DIR");
  sub->add_option("--split", r->split, "test, val or train")->capture_default_str();
  sub->add_option("--img-size", r->img_size, "Resize the images: the encoding follows by its rule")->type_name("N|HxW");
  sub->add_option(
         "--tta", r->tta,
         "Also the mean answer to several views: flip (image and mirror) or flip_shift (moved by a pixel, too)")
      ->check(CLI::IsMember({"none", "flip", "flip_shift"}))
      ->capture_default_str();
  sub->add_option("--beam", r->beam, "Answers followed at once where sequences are decoded; 1: greedy")
      ->check(CLI::Range(1, most_beam))
      ->capture_default_str();
  sub->add_flag("--json", r->json, "One JSON document on stdout");
  sub->callback([&chosen, r] { chosen = [=] { return eval(*r); }; });
}

}  // namespace tessera::cli
