// tessera predict: the classes of pictures.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/cli/commands.h"
#include "train/cli/console.h"
#include "train/cli/json.h"
#include "train/cli/saved_run.h"
#include "train/data/image.h"

namespace tessera::cli {
namespace {

struct Request {
  std::string run;
  std::vector<std::string> images;
  int k = 5, threads = 0;
  bool json = false;
};

/// The picture as the model saw its training images: size, channels, normalisation.
Tensor prepare(const std::string& path, const SavedRun& run) {
  const Shape& in = run.net.input;
  const int h = in[1], w = in[2], C = in[3];
  data::Image image = data::read_image(path);
  if (image.h != h || image.w != w) image = data::fit(image, h, w);
  Tensor x({1, h, w, C});
  for (int64_t p = 0; p < int64_t{h} * w; ++p) {
    const uint8_t* rgb = image.pixels.data() + 3 * p;
    for (int c = 0; c < C; ++c) {
      const auto i = static_cast<size_t>(c);
      const double value = C == 1 ? 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] : rgb[c];
      x[p * C + c] = static_cast<real>((value / 255 - static_cast<double>(run.stats.mean[i])) /
                                       static_cast<double>(run.stats.std[i]));
    }
  }
  return x;
}

std::vector<double> probabilities(const Tensor& logits) {
  std::vector<double> p;
  const auto top = static_cast<double>(*std::max_element(logits.values().begin(), logits.values().end()));
  for (const real z : logits.values()) p.push_back(std::exp(static_cast<double>(z) - top));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  return p;
}

int predict(const Request& r) {
  use_threads(r.threads);
  const SavedRun run = open_run(r.run);
  if (run.net.input.rank != 4 || (run.net.input[3] != 1 && run.net.input[3] != 3))
    fail("predict", "{} is a model of {}, not of pictures", r.run, run.net.input.str());
  Json list = Json::array();
  std::string lines;
  for (const std::string& path : r.images) {
    const std::vector<double> p = probabilities(run.net.model->forward(Run{}, prepare(path, run)).logits);
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    order.resize(std::min(order.size(), static_cast<size_t>(r.k)));
    Json classes = Json::array();
    lines += path + ":";
    for (const size_t c : order) {
      const std::string name = c < run.classes.size() ? run.classes[c] : std::to_string(c);
      classes.push_back(Json{{"class", c}, {"name", name}, {"probability", p[c]}});
      lines += fmt::format("  {} {:.1f} %", name, 100 * p[c]);
    }
    list.push_back(Json{{"image", path}, {"classes", classes}});
    lines += "\n";
  }
  if (r.json) {
    print_json(list);
  } else {
    print(lines);
  }
  return done;
}

}  // namespace

void add_predict(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("predict", "Classes of PNG or JPEG pictures, with probabilities");
  auto r = std::make_shared<Request>();
  sub->add_option("--run", r->run, "The run directory")->required()->type_name("RUNDIR");
  sub->add_option("IMAGE", r->images, "PNG or JPEG files")->required();
  sub->add_option("--top", r->k, "Classes shown")->check(CLI::Range(1, 1000000))->capture_default_str();
  sub->add_option("--threads", r->threads, "Worker threads [cores available]")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  sub->add_flag("--json", r->json, "One JSON document on stdout");
  sub->callback([&chosen, r] { chosen = [=] { return predict(*r); }; });
}

}  // namespace tessera::cli
