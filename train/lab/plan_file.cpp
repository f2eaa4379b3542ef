// A plan as TOML and as words of the command line, in both directions.
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "tessera/core/blas.h"
#include "tessera/core/io/json.h"
#include "tessera/core/io/read_file.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/nesting.h"
#include "tessera/train/lab/plan.h"
#include "tessera/train/training/environment.h"

namespace tessera::lab {
using namespace cli;
namespace {

/// A value as it would be typed: 4, 0.001, true, rope_axial, [0.9, 0.99].
std::optional<std::string> typed(const toml::node& n) {
  if (const auto* b = n.as_boolean()) return text(Value(b->get()));
  if (const auto* s = n.as_string()) return s->get();
  if (const auto* f = n.as_floating_point()) return text(Value(f->get()));
  if (const auto* i = n.as_integer()) return std::to_string(i->get());
  const auto* a = n.as_array();
  if (!a) return {};
  std::string list;
  for (const toml::node& e : *a) {
    const auto v = typed(e);
    if (!v || e.is_array()) return {};
    list += (list.empty() ? "" : ", ") + *v;
  }
  return "[" + list + "]";
}

/// Text as a TOML value that reads back to it: without quotes where it needs none.
std::string toml_of(const std::string& value) {
  const std::string quoted = io::Json(value).dump();
  if (value.find_first_of("0123456789") == std::string::npos && value != "true" && value != "false") return quoted;
  try {
    check_nesting(value, "");
    const toml::table t = toml::parse("x = " + value);
    if (t.size() == 1 && typed(*t.get("x")) == value) return value;
  } catch (const std::exception&) {}
  return quoted;
}

struct Reader {
  std::string source;

  std::string at(const toml::node& n) const {
    return fmt::format("{}:{}:{}", source, n.source().begin.line, n.source().begin.column);
  }
  std::string value(const std::string& key, const toml::node& n) const {
    if (const auto v = typed(n)) return *v;
    wrong_usage("{}: {} must be true or false, a number, a word or a list of these", at(n), shown(key));
  }
  std::vector<std::string> list(const std::string& key, const toml::node& n) const {
    const auto* a = n.as_array();
    if (!a || a->empty()) wrong_usage("{}: {} must be a list of values, such as [\"a\", \"b\"]", at(n), shown(key));
    std::vector<std::string> all;
    for (const toml::node& e : *a) all.push_back(value(key, e));
    return all;
  }

  struct Leaf {
    std::string key;
    const toml::node* node;
  };
  /// All values below a table, sub-tables as dotted keys, in the order of the text (the parser sorts them by name).
  std::vector<Leaf> leaves(const toml::table& table) const {
    std::vector<Leaf> all;
    const auto walk = [&](const auto& self, const toml::table& t, const std::string& prefix) -> void {
      for (const auto& [key, node] : t) {
        const std::string name = prefix + std::string(key.str());
        if (const auto* inner = node.as_table())
          self(self, *inner, name + ".");
        else
          all.push_back({name, &node});
      }
    };
    walk(walk, table, "");
    std::stable_sort(all.begin(), all.end(), [](const Leaf& a, const Leaf& b) {
      const auto &p = a.node->source().begin, &q = b.node->source().begin;
      return p.line != q.line ? p.line < q.line : p.column < q.column;
    });
    return all;
  }

  void add(Assignments& to, const Leaf& leaf, std::vector<std::string> values, bool list) const {
    const std::string key = full_key(leaf.key);
    if (key == "train.seed") wrong_usage("{}: the seeds of a study are [run] seeds = [1, 2, 3]", at(*leaf.node));
    for (const Assignment& a : to)
      if (a.key == key) wrong_usage("{}: {} is said twice", at(*leaf.node), shown(key));
    to.push_back({key, std::move(values), list, at(*leaf.node)});
  }

  const toml::table& table(const std::string& name, const toml::node& n) const {
    if (const auto* t = n.as_table()) return *t;
    wrong_usage("{}: {} must be a section, [{}]", at(n), name, name);
  }

  std::vector<int64_t> seeds(const Leaf& leaf) const {
    std::string all;
    if (!leaf.node->is_array())
      all = value(leaf.key, *leaf.node);
    else
      for (const std::string& s : list(leaf.key, *leaf.node)) all += (all.empty() ? "" : ",") + s;
    try {
      return seeds_of(all);
    } catch (const Usage& e) {
      wrong_usage("{}: {}", at(*leaf.node), e.what());
    }
  }

  void run(Words& w, const toml::table& t) const {
    for (const Leaf& leaf : leaves(t)) {
      if (leaf.key == "recipe") {
        w.recipe = value(leaf.key, *leaf.node);
      } else if (leaf.key == "recipe_text") {
        w.recipe_text = value(leaf.key, *leaf.node);
      } else if (leaf.key == "seeds") {
        w.seeds = seeds(leaf);
      } else {
        add(w.run, leaf, {value(leaf.key, *leaf.node)}, false);
      }
    }
  }

  void report(Words& w, const toml::table& t) const {
    for (const Leaf& leaf : leaves(t)) {
      const toml::node& n = *leaf.node;
      if (leaf.key == "baseline") {
        w.baseline = value(leaf.key, n);
      } else if (leaf.key == "stop_worse") {
        const auto margin = n.value<double>();
        if (!n.is_number() || !(*margin >= 0 && *margin <= 1))
          wrong_usage("{}: stop_worse is a difference of accuracy, in [0, 1]: 0.1 is ten points", at(n));
        w.stop_worse = *margin;
      } else if (leaf.key == "stop_epochs") {
        const auto epochs = n.value<int>();
        if (!n.is_integer() || !epochs || *epochs < 1) wrong_usage("{}: stop_epochs is a number of validations", at(n));
        w.stop_epochs = *epochs;
      } else {
        const bool several = n.is_array() && !n.as_array()->empty();
        w.report.push_back({leaf.key, several ? list(leaf.key, n) : std::vector{value(leaf.key, n)}, several});
      }
    }
  }
};

int64_t seed_of(std::string_view word, const std::string& all) {
  int64_t seed = -1;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), seed);
  if (error != std::errc() || end != word.data() + word.size() || seed < 0)
    wrong_usage("seeds {}: expected whole numbers such as 1..5 or 1,2,7", shown(all));
  return seed;
}

/// At commas that are in no brackets.
std::vector<std::string> parts(const std::string& text) {
  std::vector<std::string> all{""};
  int depth = 0;
  for (const char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth <= 0)
      all.emplace_back();
    else
      all.back() += c;
  }
  return all;
}

}  // namespace

std::string arithmetic() { return fmt::format("{} / {}", name(isa()), blas::description()); }

std::string full_key(std::string_view word) {
  std::string dashed(word);
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  for (const Shortcut& s : shortcuts())
    if (dashed == s.option) return s.key;
  return word.find('.') == std::string_view::npos ? "model." + std::string(word) : std::string(word);
}

std::vector<int64_t> seeds_of(const std::string& text) {
  std::vector<int64_t> all;
  for (const std::string& part : parts(text)) {
    const size_t dots = part.find("..");
    const int64_t first = seed_of(std::string_view(part).substr(0, dots), text);
    const int64_t last = dots == std::string::npos ? first : seed_of(std::string_view(part).substr(dots + 2), text);
    if (last < first || last - first >= 10'000) wrong_usage("seeds {}: {} is no range", shown(text), shown(part));
    for (int64_t i = 0; i <= last - first; ++i) {  // the last one may be the largest number there is
      const int64_t s = first + i;
      if (std::find(all.begin(), all.end(), s) != all.end()) wrong_usage("seeds {}: {} is there twice", shown(text), s);
      all.push_back(s);
    }
  }
  return all;
}

void assign(Words& w, const std::string& word, const std::string& values) {
  const std::string key = full_key(word);
  if (key == "train.seed") wrong_usage("the seeds of a study are --seeds 1..5");
  std::vector<std::string> all = parts(values);
  for (const std::string& v : all)
    if (v.empty()) wrong_usage("{}={}: a value is empty", word, shown(values));
  const auto same = [&](const Assignment& a) { return a.key == key; };
  if (all.size() == 1) {
    std::erase_if(w.grid, same), std::erase_if(w.run, same);
    return w.run.push_back({key, all, false});
  }
  const auto axis = std::find_if(w.grid.begin(), w.grid.end(), same);
  if (axis != w.grid.end())
    *axis = {key, all, true};
  else
    w.grid.push_back({key, all, true});
}

Words read_plan(std::string_view toml, const std::string& source) {
  const Reader reader{source};
  Words w;
  check_nesting(toml, source);
  try {
    const toml::table root = toml::parse(toml, source);
    for (const auto& [key, node] : root) {
      const std::string section(key.str());
      if (section == "run") {
        reader.run(w, reader.table(section, node));
      } else if (section == "grid") {
        for (const auto& leaf : reader.leaves(reader.table(section, node)))
          reader.add(w.grid, leaf, reader.list(leaf.key, *leaf.node), true);
      } else if (section == "extra") {
        const auto* all = node.as_array();
        if (!all || !all->is_homogeneous(toml::node_type::table))
          wrong_usage("{}: single cells are [[extra]], with two brackets", reader.at(node));
        for (const toml::node& e : *all) {
          w.extra.emplace_back();
          Extra& extra = w.extra.back();
          for (const auto& leaf : reader.leaves(*e.as_table()))
            if (leaf.key == "seeds")
              extra.seeds = reader.seeds(leaf);
            else
              reader.add(extra.said, leaf, {reader.value(leaf.key, *leaf.node)}, false);
        }
      } else if (section == "report") {
        reader.report(w, reader.table(section, node));
      } else if (section == "made") {
        w.arithmetic = reader.table(section, node)["arithmetic"].value_or(std::string());
      } else {
        const std::string known[] = {"run", "grid", "extra", "report"};
        const std::string near = nearest(section, known);
        wrong_usage("{}: a plan has no {}; {}", reader.at(node), shown(section),
                    near.empty() ? "it has [run], [grid], [[extra]] and [report]" : "did you mean " + near + "?");
      }
    }
  } catch (const toml::parse_error& e) {
    std::string what(e.description());
    std::replace(what.begin(), what.end(), '\n', ' ');
    if (what.find("cannot redefine existing string") != std::string::npos)  // data = "where" beside data.val_size = 3
      what += "; beside a name alone, write \"section.key\" in quotes";
    wrong_usage("{}:{}:{}: {}", source, e.source().begin.line, e.source().begin.column, what);
  }
  return w;
}

Words read_plan_file(const std::string& path) {
  std::string content;
  try {
    content = io::read_file(path, io::limit::recipe, "plan");
  } catch (const Error& e) {
    wrong_usage("{}", e.what());
  }
  return read_plan(content, path);
}

std::string plan_text(const Words& w) {
  const auto quoted = [](const std::string& s) { return io::Json(s).dump(); };
  const auto several = [](const std::vector<std::string>& values) {
    std::string all;
    for (const std::string& v : values) all += (all.empty() ? "" : ", ") + toml_of(v);
    return "[" + all + "]";
  };
  const auto lines = [&](const Assignments& of) {
    std::string all;
    for (const Assignment& a : of)
      all += fmt::format("{} = {}\n", quoted(a.key), a.list ? several(a.values) : toml_of(a.values[0]));
    return all;
  };
  std::string out =
      "# The whole study, as it is worked on in this folder. `tessera ablate plan.toml --out ANOTHER` repeats it.\n";
  out += fmt::format("[made]\nby = {}\narithmetic = {}\n\n[run]\n",
                     quoted(fmt::format("tessera {}, commit {}", version(), commit())), quoted(w.arithmetic));
  if (!w.recipe.empty()) {
    const bool plain = w.recipe_text.find("'''") == std::string::npos && w.recipe_text.find('\r') == std::string::npos;
    out += fmt::format("recipe = {}\nrecipe_text = {}\n", quoted(w.recipe),
                       plain ? "'''\n" + w.recipe_text + "'''" : quoted(w.recipe_text));
  }
  const auto seeds = [](const std::vector<int64_t>& of) { return fmt::format("seeds = [{}]\n", fmt::join(of, ", ")); };
  out += seeds(w.seeds) + lines(w.run);
  if (!w.grid.empty()) out += "\n[grid]\n" + lines(w.grid);
  for (const Extra& e : w.extra) out += "\n[[extra]]\n" + (e.seeds.empty() ? "" : seeds(e.seeds)) + lines(e.said);
  out += "\n[report]\n";
  if (!w.baseline.empty()) out += fmt::format("baseline = {}\n", quoted(w.baseline));
  if (w.stop_worse.value_or(0) > 0)
    out += fmt::format("stop_worse = {}\nstop_epochs = {}\n", *w.stop_worse, w.stop_epochs.value_or(StopRule().epochs));
  return out + lines(w.report);
}

}  // namespace tessera::lab
