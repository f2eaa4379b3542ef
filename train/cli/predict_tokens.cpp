#include "tessera/train/cli/predict_tokens.h"

#include <charconv>

#include "tessera/core/io/text.h"
#include "tessera/models/decode.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/training/text.h"

namespace tessera::cli {
namespace {

constexpr int first = SpecialTokens::symbols, plus = 10;  // the symbol of sequences:add

/// The symbols of a question, as the model's tokens.
Index tokens_of(const std::string& question, int vocabulary, bool adds) {
  Index tokens;
  const int symbols = vocabulary - first;
  for (size_t at = 0; (at = question.find_first_not_of(" ,\t", at)) != std::string::npos;) {
    const size_t end = std::min(question.find_first_of(" ,\t", at), question.size());
    const std::string word = question.substr(at, end - at);
    int symbol = -1;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), symbol);
    const bool whole = error == std::errc() && rest == word.data() + word.size();
    const bool is_plus = adds && word == "+";
    if (is_plus) symbol = plus;
    if (!(whole || is_plus) || symbol < 0 || symbol >= symbols)
      fail("predict", "{} in {}: expected symbols from 0 to {}{}", shown(word), shown(question), symbols - 1,
           adds ? " or +" : "");
    tokens.push_back(static_cast<int32_t>(first + symbol));
    at = end;
  }
  if (tokens.empty()) fail("predict", "{}: a question needs at least one symbol, such as \"3 1 2\"", shown(question));
  return tokens;
}

/// Numbers, and null for what is no symbol: an untrained model may answer with padding.
Json symbols_of(const Index& tokens) {
  Json symbols = Json::array();
  for (const int32_t t : tokens) symbols.push_back(t < first ? Json() : Json(t - first));
  return symbols;
}

std::string words_of(const Index& tokens) {
  std::string words;
  for (const int32_t t : tokens)
    words += (words.empty() ? "" : " ") + (t < first ? std::string("_") : std::to_string(t - first));
  return words;
}

Decoded answer(const SavedRun& run, const Index& question, int beam) {
  Input in;
  in.tokens = Ints(question).reshape(1, static_cast<int>(question.size()));
  return decode(*run.net.model, in, {.beam = beam, .most = std::max(16, 2 * static_cast<int>(question.size()))})[0];
}

}  // namespace

int predict_tokens(const SavedRun& run, const std::string& rundir, const std::vector<std::string>& questions, int beam,
                   bool json) {
  const InputShape& in = run.net.input;
  if (in.kind != InputShape::Kind::tokens || in.target == 0)
    fail("predict", "--tokens asks a model that answers sequences with sequences; {} is one of {}", rundir, in.str());
  const bool adds = run.config.data.name.starts_with("sequences:add");
  Json list = Json::array();
  int failed = 0;
  for (const std::string& question : questions) try {
      const Index tokens = tokens_of(question, in.vocabulary, adds);
      const Decoded d = answer(run, tokens, beam);
      list.push_back(Json{{"tokens", symbols_of(tokens)},
                          {"answer", symbols_of(d.tokens)},
                          {"log_probability", d.log_probability},
                          {"ended", d.ended},
                          {"beam", beam}});
      if (!json)
        print(io::printable(fmt::format("{}:  {}   (log probability {:.3f}{})\n", question, words_of(d.tokens),
                                        d.log_probability,
                                        d.ended ? "" : fmt::format(", cut after {} tokens", d.tokens.size()))));
    } catch (const Error& e) {
      say_error(e.what());
      list.push_back(Json{{"tokens", question}, {"error", e.what()}});
      ++failed;
    }
  if (json) print_json(list);
  return failed > 0 ? failure : done;
}

}  // namespace tessera::cli
