#include "tessera/train/training/fine_tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "tessera/core/io/checksum.h"
#include "tessera/core/io/json.h"
#include "tessera/models/model.h"
#include "tessera/models/weights_metadata.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

/// The file that train.weights names.
std::string file_of(const std::string& weights) {
  std::error_code none;
  if (!std::filesystem::is_directory(weights, none)) return weights;
  const std::string file = weights + "/weights.safetensors";
  if (!std::filesystem::is_regular_file(file, none))
    fail("train",
         "train.weights: {} has no weights.safetensors; a run has one when it has ended (tessera train --resume {})",
         weights, weights);
  return file;
}

/// The first parameter of `head` that the file holds in another shape, as "head.weight (1000, 192)"; "" if there is none.
std::string of_other_classes(const io::TensorFile& file, const std::vector<Rename>& rows,
                             const std::vector<std::string>& head, const Params& params) {
  std::vector<std::string> names;
  for (const auto& info : file.tensors()) names.push_back(info.name);
  const std::vector<Rename> dialect = io::rows_for(names, rows);
  for (const auto& info : file.tensors()) {
    const std::string ours = io::renamed(info.name, dialect).to;
    if (!contains(head, ours)) continue;
    const Shape has = io::shape_of(info, file.path());
    if (has != params.find(ours)->value.shape()) return fmt::format("{} {}", info.name, has.str());
  }
  return "";
}

/// The classes of the run directory that train.weights names; none where it is a file, or the run does not say them.
std::vector<std::string> classes_of(const std::string& weights) try {
  std::error_code none;
  if (!std::filesystem::is_directory(weights, none)) return {};
  const io::Json summary = io::read_json(weights + "/summary.json", io::limit::summary, "train");
  return summary.at("data").at("classes").get<std::vector<std::string>>();
} catch (const std::exception&) {
  return {};
}

/// "cat, dog, owl and 7 more"
std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t listed = 3;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), listed); ++i) text += (i > 0 ? ", " : "") + shown(names[i]);
  return names.size() > listed ? fmt::format("{} and {} more", text, names.size() - listed) : text;
}

/// The parameters that are of another shape, or not there, when the option `key` is another number.
std::vector<std::string> shaped_by(const std::string& name, const Options& options, const std::string& key) {
  const ModelRow& row = model(name);
  const auto standard = row.defaults.find(key);
  if (standard == row.defaults.end()) return {};
  const auto said = options.find(key);
  const int n =
      std::get<int>(convert("model." + key, said == options.end() ? standard->second : said->second, Value(0)));
  const auto built = [&](Params& params, int k) {
    Options all = options;
    all[key] = k;
    row.make(Scope(params), all, position("none"));
  };
  Params is(0, Draw::no), other(0, Draw::no);
  built(is, n), built(other, n < 2 ? n + 1 : n - 1);
  std::vector<std::string> names;
  for (const auto& e : is.entries())
    if (const auto* o = other.find(e.name); !o || o->value.shape() != e.value.shape()) names.push_back(e.name);
  return names;
}

/// The weight of a convolution (O, I, k, k) over the channels of an image for another number J of them, as timm has it: their sum for
/// one channel, else the same ones again and again, times I / J. Empty if it is none of that kind.
Tensor for_channels(const Tensor& w, const Shape& wanted) {
  const Shape has = w.shape();
  if (has.rank != 4 || wanted.rank != 4 || has[0] != wanted[0] || has[2] != wanted[2] || has[3] != wanted[3]) return {};
  if (has[1] < 1) return {};  // a file may hold a weight of no channels
  const int64_t I = has[1], J = wanted[1], kk = int64_t{has[2]} * has[3];
  Tensor to = zeros(wanted);
  for (int64_t o = 0; o < has[0]; ++o)
    for (int64_t c = 0; c < (J == 1 ? I : J); ++c)
      for (int64_t i = 0; i < kk; ++i) {
        const real from = w[(o * I + c % I) * kk + i];
        if (J == 1) {
          to[o * kk + i] += from;
        } else {
          to[(o * J + c) * kk + i] = from * static_cast<real>(I) / static_cast<real>(J);
        }
      }
  return to;
}

/// "blocks.3" of a site "blocks.3.attn"
std::string block_of(const Site& site) { return site.path.substr(0, site.path.rfind('.')); }

bool inside(const std::string& name, const std::string& block) { return name.starts_with(block + "."); }

}  // namespace

std::vector<std::string> head_of(const std::string& name, const Options& options) {
  return shaped_by(name, options, "num_classes");
}

std::vector<std::string> start_from(const RunConfig& config, const std::vector<std::string>& classes,
                                    const PositionTables& positions, Params& params) {
  if (config.train.weights.empty()) return {};
  const ModelRow& row = model(config.model);
  const io::TensorFile file(file_of(config.train.weights));
  const auto from = places_of(file.metadata(), row, config.model_options);
  std::vector<std::string> lines{fmt::format("weights: those of {}", file.path())};
  io::LoadOptions how = io::resampling(
      positions, from, [&](const std::string& line) { lines.push_back(line); }, row.dialect);
  how.fit = [&, tables = how.fit, stem = shaped_by(config.model, config.model_options, "in_chans")](
                const Params::Entry& entry, const Tensor& w) {
    if (!contains(stem, entry.name)) return tables(entry, w);
    const Tensor to = for_channels(w, entry.value.shape());
    if (to) lines.push_back(fmt::format("{} goes from {} to {} channels", entry.name, w.dim(1), to.dim(1)));
    return to;
  };
  const std::vector<std::string> head = head_of(config.model, config.model_options);
  const std::vector<std::string> theirs = classes_of(config.train.weights);
  std::string other = of_other_classes(file, row.dialect, head, params);
  if (!other.empty()) other = "the file's is for other classes, " + other;
  const bool known = !theirs.empty() && !classes.empty();
  if (other.empty() && known && theirs != classes)
    other = fmt::format("the run's is for other classes, {}", some_of(theirs));
  if (config.train.reset_head && head.empty())
    fail("train", "train.reset_head: {} has no head of classes", config.model);
  if (config.train.reset_head || (!head.empty() && !other.empty())) {
    how.fresh = head;
    lines.push_back(fmt::format("the head ({}) is fresh{}{}", fmt::join(head, ", "), other.empty() ? "" : ": ", other));
  } else if (!head.empty() && !known) {
    lines.push_back(
        fmt::format("the head ({}) is kept, though nothing says for which classes it is; --reset-head makes it fresh",
                    fmt::join(head, ", ")));
  }
  io::load(params, file, how);
  if (from)
    if (const std::string moved = positions.encoding->unit_warning(*from, positions.places); !moved.empty())
      lines.push_back("warning: " + moved);
  return lines;
}

std::string started_from(const RunConfig& config) {
  if (config.train.weights.empty()) return "";
  const std::string path = file_of(config.train.weights);
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("train", "train.weights: cannot read {}", path);
  io::Checksum sum;
  int64_t bytes = 0;
  for (std::vector<char> part(1 << 20); file;) {
    file.read(part.data(), static_cast<std::streamsize>(part.size()));
    sum.add(part.data(), static_cast<size_t>(file.gcount())), bytes += file.gcount();
  }
  const io::Json all{{"format", 1}, {"weights", path}, {"bytes", bytes}, {"checksum", "fnv1a-64:" + sum.hex()}};
  return all.dump(2, ' ', false, io::Json::error_handler_t::replace) + "\n";
}

std::string weights_checksum(const std::string& text) try {
  return text.empty() ? "" : io::parse_json(text, "started_from.json").at("checksum").get<std::string>();
} catch (const std::exception&) {
  return "";
}

void freeze(Params& params, const std::string& patterns) {
  size_t at = 0, read = 0;
  while (at < patterns.size()) {
    size_t end = patterns.find_first_of(", ", at);
    if (end == std::string::npos) end = patterns.size();
    const std::string pattern = patterns.substr(at, end - at);
    at = end + 1;
    if (pattern.empty()) continue;
    ++read;
    std::vector<std::string> names;
    bool any = false;
    for (const auto& e : params.entries()) {
      names.push_back(e.name);
      if (!io::matches(pattern, e.name)) continue;
      if (e.buffer) continue;
      any = true, e.value.leaf()->trainable = false;
    }
    if (!any) unknown("optim.freeze: parameter", pattern, names);
  }
  if (!patterns.empty() && read == 0) fail("train", "optim.freeze=\"{}\" holds no pattern", patterns);
  if (!patterns.empty() &&
      std::ranges::none_of(params.entries(), [](const auto& e) { return !e.buffer && e.value.leaf()->trainable; }))
    fail("train", "optim.freeze={} leaves nothing to train", patterns);
}

namespace {

/// Those of layer_decay.
std::vector<double> layer_rates(const RunConfig& config, const PositionTables& positions, const Params& params) {
  const double decay = config.optim.layer_decay;
  std::vector<std::string> blocks;
  for (const Site& s : positions.places.sites)
    if (!contains(blocks, block_of(s))) blocks.push_back(block_of(s));
  if (blocks.empty())
    fail("train", "optim.layer_decay is {}, but {} has no blocks of attention; leave it out", decay, config.model);
  const std::vector<std::string> head = head_of(config.model, config.model_options);
  const auto& entries = params.entries();
  // from the last entry down: what is of no block goes with the one declared after it, or with the last
  std::vector<int> layer(entries.size());
  const int top = static_cast<int>(blocks.size()) + 1;
  const auto layer_of = [&](const std::string& name, int otherwise) {
    const auto block = std::ranges::find_if(blocks, [&](const std::string& b) { return inside(name, b); });
    return block == blocks.end() ? otherwise : static_cast<int>(block - blocks.begin()) + 1;
  };
  size_t stem = entries.size();  // entries before this one are declared before all blocks
  for (size_t i = 0; i < entries.size(); ++i)
    if (!contains(positions.names, entries[i].name) && layer_of(entries[i].name, 0) > 0) stem = std::min(stem, i);
  int next = top - 1;
  for (size_t i = entries.size(); i-- > 0;) {
    const std::string& name = entries[i].name;
    if (contains(positions.names, name) || i < stem) {
      layer[i] = layer_of(name, 0);
    } else {
      layer[i] = contains(head, name) ? top : next = layer_of(name, next);
    }
  }
  std::vector<double> rates;
  for (const int l : layer) rates.push_back(std::pow(decay, top - l));
  return rates;
}

}  // namespace

std::vector<double> learning_rates(const RunConfig& config, const PositionTables& positions, const Params& params) {
  const auto scales = lr_scales(config.optim.lr_scale);
  if (config.optim.layer_decay == 1 && scales.empty()) return {};
  const auto& entries = params.entries();
  std::vector<double> rates(entries.size(), 1), factors(entries.size(), 1);
  if (config.optim.layer_decay != 1) rates = layer_rates(config, positions, params);
  for (const auto& [pattern, factor] : scales) {
    bool any = false;
    std::vector<std::string> names;
    for (size_t e = 0; e < entries.size(); ++e) {
      if (entries[e].buffer) continue;
      names.push_back(entries[e].name);
      if (io::matches(pattern, entries[e].name)) factors[e] = factor, any = true;
    }
    if (!any) unknown("optim.lr_scale: parameter", pattern, names);
  }
  for (size_t e = 0; e < entries.size(); ++e) rates[e] *= factors[e];
  return rates;
}

std::vector<std::string> not_hidden(const RunConfig& config, const PositionTables& positions, const Params& params) {
  if (config.optim.opt != "muon") return {};
  std::vector<std::string> at_the_ends;
  for (const char* of_the_data : {"num_classes", "in_chans", "input_dim", "vocab_size", "target_vocab_size"}) try {
      const auto shaped = shaped_by(config.model, config.model_options, of_the_data);
      for (const std::string& name : shaped) {
        at_the_ends.push_back(name);
        // the first layer is one: what is as wide as it (behind whitening filters, whose number follows the channels) is hidden
        if (of_the_data == std::string_view("in_chans") && params.find(name)->value.rank() > 1) break;
      }
    } catch (const Error&) {
      continue;  // two vocabularies that are one: what they share is an embedding by its name
    }
  std::vector<std::string> names;
  for (const auto& e : params.entries()) {
    const bool named = e.name.find("embed") != std::string::npos;
    if (named || contains(positions.names, e.name) || contains(at_the_ends, e.name)) names.push_back(e.name);
  }
  return names;
}

}  // namespace TESSERA_NS
}  // namespace tessera
