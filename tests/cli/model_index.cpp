// docs/models/index.md is written by this test: TESSERA_WRITE_MODELS=docs/models/index.md tessera_cli_tests -tc="*models/index*". Without the
// variable it checks that the committed page says what the code does.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tessera/train/cli/profile.h"
#include "tests/cli/program.h"

namespace tessera::cli {
namespace {

/// "1 table, 6 attentions in windows, 8 gaps"
std::string where_positions_enter(const Places& at) {
  int global = 0, windows = 0, reduced = 0, cross = 0;
  for (const Site& s : at.sites) {
    const Layout& l = s.trained;
    ++(l.cross ? cross : l.window.h > 0 ? windows : l.reduce > 1 ? reduced : global);
  }
  std::vector<std::string> parts;
  const auto say = [&](size_t n, const char* one, const char* many) {
    if (n > 0) parts.push_back(fmt::format("{} {}", n, n == 1 ? one : many));
  };
  say(at.tokens.size(), "patch embedding", "patch embeddings");
  say(static_cast<size_t>(global), "attention", "attentions");
  say(static_cast<size_t>(windows), "attention in windows", "attentions in windows");
  say(static_cast<size_t>(reduced), "attention over reduced keys", "attentions over reduced keys");
  say(static_cast<size_t>(cross), "attention between sequences", "attentions between sequences");
  say(at.between.size(), "gap between blocks", "gaps between blocks");
  return parts.empty() ? "nowhere" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string size_of(const InputShape& shape) {
  if (shape.kind == InputShape::Kind::image) return fmt::format("{} x {}", shape.h, shape.w);
  return fmt::format("{} {}", shape.batch(1)[1], shape.kind == InputShape::Kind::frames ? "frames" : "tokens");
}

/// What a row's tables of positions are made for: of sequences the length, which nothing else is made for.
std::string made_for(const ModelRow& row) {
  for (const auto& [option, unit] : {std::pair("num_frames", "frames"), std::pair("max_length", "tokens")})
    if (const auto length = row.defaults.find(option); length != row.defaults.end())
      return fmt::format("{} {}", std::get<int>(length->second), unit);
  return size_of(row.input({}));
}

RunConfig of(const ModelRow& row) {
  RunConfig c;
  c.model = row.name, c.position = row.position, c.model_options = row.defaults;
  return c;
}

std::string page() {
  std::ostringstream s;
  s << "# Models\n\n"
       "Every family of models, with its own defaults, which are for small data. Parameters and multiply-accumulates "
       "are counted on the built model for one "
       "sample;\n"
       "*positions enter* says where an encoding may act: after patch embeddings, in attentions, in the gaps between "
       "blocks ([which encoding in which "
       "model](../matrix.md)).\n"
       "The test `tests/cli/model_index.cpp` writes this page and checks it. Click a family for what it is, its "
       "formulas and "
       "its traps.\n\n"
       "| family | source | its own positions | parameters | MACs | at | positions enter "
       "|\n|---|---|---|---:|---:|---|---|\n";
  for (const ModelRow& row : models()) {
    if (row.name != row.family) continue;
    const Network net = build(of(row), 0, Draw::no);
    const Profile p = measure(net);
    const std::string source = TESSERA_SOURCE_DIR "/docs/models/";
    std::string link = "`" + row.name + "`";
    for (std::string name = row.name;; name = name.substr(0, name.rfind('_'))) {  // swin_v2 is told on the page swin.md
      if (std::filesystem::exists(source + name + ".md")) {
        link = fmt::format("[{}]({}.md)", link, name);
        break;
      }
      if (name.find('_') == std::string::npos) break;
    }
    s << fmt::format("| {} | {} | `{}` | {} | {:.2f} M | {} | {} |\n", link, row.reference, row.position, p.params,
                     p.macs * 1e-6, size_of(net.input), where_positions_enter(net.places));
  }
  s << "\n## Named configurations\n\n| name | family | made for | parameters |\n|---|---|---|---:|\n";
  for (const ModelRow& row : models()) {
    if (row.name == row.family || row.family == "toy") continue;  // that one is a test's
    Params params(0, Draw::no);
    row.make(Scope(params), row.defaults, position(row.position));
    s << fmt::format("| `{}` | `{}` | {} | {} |\n", row.name, row.family, made_for(row), params.count());
  }
  return s.str();
}

TEST_CASE("docs/models/index.md says what the code does, and every family has its page") {
  const std::string text = page();
  if (const char* path = std::getenv("TESSERA_WRITE_MODELS")) {
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  CHECK_MESSAGE(test::read(TESSERA_SOURCE_DIR "/docs/models/index.md") == text,
                "docs/models/index.md is not what this build does; write it anew with "
                "TESSERA_WRITE_MODELS=docs/models/index.md tessera_cli_tests -tc=*models/index*");
  for (const ModelRow& row : models())
    if (row.name == row.family) CHECK_MESSAGE(text.find("| [`" + row.name + "`]") != std::string::npos, row.name);
}

}  // namespace
}  // namespace tessera::cli
