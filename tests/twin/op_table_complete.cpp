// Is the op table whole? Every op has a row, every op of several tensors one of what it refuses, said in one line.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "tests/error_of.h"
#include "tests/twin/op_table_rows.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Ops under core/ops that need no row of this table, each with the reason.
const std::set<std::string> without_rows = {
    "argmax",             // host data, no gradient: has its own case in ops_reduce.cpp
    "heads",              // a view: no computation
    "attention",          // compared with plain_attention over all kinds of terms in its own tests
    "plain_attention",    // the same
    "attention_weights",  // untracked
};

TWIN_CASE("op table: bad calls give one clear line") {
  for (const ErrorRow& bad : op_errors()) {
    INFO(bad.op << " (" << bad.name << ")");
    const std::string said = test::error_of(bad.run);
    CHECK_MESSAGE((said.starts_with("[" + bad.op + "]") || said.starts_with("[" + bad.op + " ")), "it said: " << said);
    CHECK_MESSAGE(said.find(bad.says) != std::string::npos, "it said: " << said);
    CHECK(said.find('\n') == std::string::npos);
  }
}

TWIN_CASE("op table: every op declared under core/ops has a row") {
  // free functions that return tensors (or an Index), declared at the beginning of a line as all our headers do
  const std::regex declaration(R"(^(?:Tensor|std::pair<Tensor, Tensor>|std::vector<Tensor>|Heads|Index) (\w+)\()");
  std::set<std::string> declared, tested;
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(TESSERA_SOURCE_DIR) / "core" / "ops")) {
    if (file.path().extension() != ".h") continue;
    std::ifstream in(file.path());
    std::smatch m;
    for (std::string line; std::getline(in, line);)
      if (std::regex_search(line, m, declaration)) declared.insert(m[1]);
  }
  for (const Row& r : op_rows()) tested.insert(r.op);
  CHECK(declared.size() >= 2);
  for (const std::string& op : declared)
    CHECK_MESSAGE((tested.contains(op) || without_rows.contains(op)),
                  op << " has no row: add one to a file in tests/twin");
  for (const std::string& op : without_rows)
    CHECK_MESSAGE(!tested.contains(op), op << " has a row now: take it out of without_rows");
  for (const std::string& op : tested) CHECK_MESSAGE(declared.contains(op), op << " has a row but is not declared");
}

TWIN_CASE("op table: every op of several tensors has a row of what it refuses") {
  std::set<std::string> several, refusing;
  for (const Row& r : op_rows())
    if (r.in.size() > 1) several.insert(r.op);
  for (const ErrorRow& e : op_errors()) refusing.insert(e.op);
  CHECK(several.size() > 10);
  for (const std::string& op : several)
    CHECK_MESSAGE(refusing.contains(op), op << " has no error row: which shapes do not go together?");
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
