#include "tessera/train/lab/measures_session.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/core/parallel.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/training/sequence_task.h"
#include "tessera/train/training/splits.h"

namespace tessera::lab {
namespace {

constexpr size_t shard_size = 8, chunk = 32 * shard_size;  // asked between two looks at Hooks::stop

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// The model of a run once more, with its encoding under a probe.
cli::Network under_probe(const cli::SavedRun& run, const Probe& probe) {
  const RunConfig& c = run.config;
  const ModelRow& row = model(c.model);
  cli::Network n;
  n.places = run.net.places, n.input = run.net.input;
  n.params = std::make_unique<Params>(0, Draw::no);
  n.model = row.make(Scope(*n.params), c.model_options,
                     probed(remember_tables(position(c.position, c.position_options), n.positions), probe));
  auto from = run.net.params->entries().begin();
  for (const Params::Entry& e : n.params->entries())
    std::ranges::copy((from++)->value.read(), e.value.rewrite().begin());
  return n;
}

/// Pixels of a picture to a cell of its first map.
cli::ImageSize patch_of(const cli::Network& net) {
  if (net.places.tokens.empty()) return {1, 1};
  const Grid& map = net.places.tokens.front().trained;
  return {std::max(1, net.input.h / std::max(1, map.h)), std::max(1, net.input.w / std::max(1, map.w))};
}

std::optional<cli::ImageSize> window_of(const cli::Network& net) {
  std::optional<cli::ImageSize> largest;
  for (const Site& s : net.places.sites) {
    const Window& w = s.trained.window;
    const Grid& map = s.trained.q;
    if (w.h == 0 || w.h >= map.h || w.w >= map.w) continue;
    const cli::ImageSize pixels{w.h * net.input.h / map.h, w.w * net.input.w / map.w};
    if (!largest || *largest < pixels) largest = pixels;
  }
  return largest;
}

}  // namespace

void go_on(const Hooks& hooks) {
  if (hooks.stop && hooks.stop()) throw Stopped{};
}

void Numbers::add(std::map<std::string, double>& to, const std::string& name, double value) {
  if (std::isfinite(value)) {
    to[name] = value;
  } else {
    leave_out(name, "it is no finite number");
  }
}

double Answers::acc1() const {
  return static_cast<double>(std::ranges::count(right, 1)) / static_cast<double>(right.size());
}

double Answers::consistency(const Answers& o) const {
  int64_t same = 0;
  for (size_t i = 0; i < prediction.size(); ++i) same += prediction[i] == o.prediction[i];
  return static_cast<double>(same) / static_cast<double>(prediction.size());
}

Answers ask(const Model& model, const data::Source& source, std::span<const int32_t> which, const Task& task,
            const Hooks& hooks) {
  const size_t n = which.size();
  Answers a{std::vector<uint8_t>(n), Index(n), 0};
  std::vector<Outcome> outcomes(n);
  for (size_t begin = 0; begin < n; begin += chunk) {
    go_on(hooks);
    const size_t end = std::min(n, begin + chunk);
    parallel::shards(static_cast<int>((end - begin + shard_size - 1) / shard_size), [&](int s) {
      const size_t first = begin + at(s) * shard_size, count = std::min(shard_size, end - first);
      Batch batch = data::gather(source, which.subspan(first, count));
      batch.first = static_cast<int64_t>(first), batch.of = static_cast<int>(n);
      Run run;
      run.first = batch.first;
      const Output said = model.forward(run, task.input(batch));
      for (int i = 0; i < static_cast<int>(count); ++i) {  // one by one: a task counts, and does not say who was right
        Tally tally;
        Output one;
        one.logits = said.logits.rows(i, i + 1), one.lengths = said.lengths.rows(i, i + 1);
        task.judge(one, batch.rows(i, i + 1), tally, std::span(outcomes).subspan(first + at(i), 1));
        a.right[first + at(i)] = tally.of[0].count == tally.of[0].of && tally.undecided == 0;
      }
    });
  }
  for (size_t i = 0; i < n; ++i) a.prediction[i] = outcomes[i].prediction;
  if (source.classes > 0) a.undecided = at(std::ranges::count(a.prediction, no_class));
  return a;
}

Answers ask(const Model& model, const data::Source& source, const Task& task, const Hooks& hooks) {
  return ask(model, source, spread(source.size(), 0), task, hooks);
}

Index spread(size_t all, int count) {
  const size_t n = count == 0 ? all : std::min(all, at(count));
  Index which(n);
  for (size_t i = 0; i < n; ++i) which[i] = static_cast<int32_t>(i * all / n);
  return which;
}

Session::Session(const std::string& dir, const MeasureOptions& o, const Hooks& h)
    : options(o), hooks(h), rundir(dir), run(cli::open_run(dir)) {
  summary = io::read_json(dir + "/summary.json", io::limit::summary, "measure");
  probe.seed = static_cast<uint64_t>(o.seed);
  net = under_probe(run, probe);
  DataConfig data = run.config.data;
  const data::Splits splits = open_splits(data);
  if (!run.digest.empty() && splits.train->digest != run.digest)
    fail("measure", "{} holds other data than those that {} was trained on", data.name, dir);
  if (!splits.test) fail("measure", "{} has no test split, and nothing is measured on another", data.name);
  test = splits.test;
  task = task_of(net.input, *test, 0);
  answers = ask(*net.model, *test, *task, hooks);
  if (answers.undecided > 0)
    fail("measure", "the answers of {} to {} of {} {}s are not finite (tessera eval --run {} says where)", dir,
         answers.undecided, test->size(), test->form().unit(), dir);
  part = spread(test->size(), o.images);
  base = part.size() == test->size() ? answers : ask(*net.model, *test, part, *task, hooks);
  out.add("last_acc1", answers.acc1()), out.add("subset_acc1", base.acc1());
  if (const auto set = std::dynamic_pointer_cast<const data::Set>(test)) {
    images = std::make_shared<data::Set>(data::subset(*set, part));
    size = {set->h, set->w}, patch = patch_of(net), window = window_of(net);
  }
}

std::optional<Answers> Session::changed_answers(const data::Source& changed, std::initializer_list<std::string> names) {
  const auto none = [&](const std::string& why) {
    for (const std::string& name : names) out.leave_out(name, why);
    return std::nullopt;
  };
  try {
    Answers a = ask(*net.model, changed, *task, hooks);
    if (a.undecided == 0) return a;
    return none(fmt::format("{} of {} answers are not finite", a.undecided, a.prediction.size()));
  } catch (const Error& e) {  // the model does not take it
    return none(e.what());
  }
}

bool Session::has_images(std::initializer_list<std::string> names) {
  if (!images)
    for (const std::string& name : names)
      out.leave_out(name, fmt::format("{} holds {}", test->name, test->form().str()));
  return images != nullptr;
}

}  // namespace tessera::lab
