// Beam search.  Every live answer is continued by every token; of all these the `beam` likeliest stay. Those that end are set aside, the
// others live on, until `beam` answers have ended or none is left. With a beam of 1 that is: take the likeliest token until it is the end.
#include "tessera/models/decode.h"

#include <algorithm>
#include <cmath>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Live = Decoded;  // not ended yet

struct Candidate {
  double log_probability;
  size_t from;  ///< which live answer
  int token;
};

/// n samples, each of them the one of x (1, ...).
Tensor repeated(const Tensor& x, int n) {
  if (!x || n == 1) return x;
  Shape shape = x.shape();
  shape[0] = n;
  Tensor y(shape);
  for (int i = 0; i < n; ++i) std::copy_n(x.read().data(), x.size(), y.data() + i * x.size());
  return y;
}
Ints repeated(const Ints& x, int n) {
  if (!x || n == 1) return x;
  Ints y(n, x.width());
  for (int i = 0; i < n; ++i) std::copy(x.begin(), x.end(), y.data() + static_cast<size_t>(i) * x.size());
  return y;
}

/// The sample `one` asked as often as there are live answers, and what they are so far.
Input question(const Input& one, const std::vector<Tensor>& state, const std::vector<Live>& live) {
  const auto n = static_cast<int>(live.size());
  Input in(repeated(one.x, n));
  in.tokens = repeated(one.tokens, n), in.lengths = repeated(one.lengths, n);
  for (const Tensor& s : state) in.state.push_back(repeated(s, n));
  const auto S = static_cast<int>(live[0].tokens.size()) + 1;
  in.target = Ints(n, S);
  for (int i = 0; i < n; ++i) {
    int32_t* row = in.target.data() + int64_t{i} * S;
    *row = SpecialTokens::begin;
    std::ranges::copy(live[static_cast<size_t>(i)].tokens, row + 1);
  }
  return in;
}

/// Every live answer continued by every token; logits (n, S, K).
std::vector<Candidate> continuations(const Tensor& logits, const std::vector<Live>& live) {
  const auto [n, S, K] = logits.dims<3>();
  std::vector<Candidate> all;
  for (size_t i = 0; i < live.size(); ++i) {
    const auto z = logits.read().subspan(
        (i * static_cast<size_t>(S) + static_cast<size_t>(S) - 1) * static_cast<size_t>(K), static_cast<size_t>(K));
    if (!std::ranges::all_of(z, [](real v) { return std::isfinite(v); })) fail("decode", "the logits are not finite");
    const auto most = static_cast<double>(*std::ranges::max_element(z));
    double sum = 0;
    for (const real v : z) sum += std::exp(static_cast<double>(v) - most);
    for (int k = 0; k < K; ++k)
      all.push_back(
          {live[i].log_probability + static_cast<double>(z[static_cast<size_t>(k)]) - most - std::log(sum), i, k});
  }
  return all;
}

double score(const Decoded& d, double alpha) {
  return d.log_probability / std::pow((5.0 + static_cast<double>(d.tokens.size())) / 6, alpha);
}

Decoded search(const Model& model, const Input& one, const DecodeOptions& o) {
  const auto beam = static_cast<size_t>(o.beam);
  std::vector<Live> live(1);
  std::vector<Decoded> ended;
  std::vector<Tensor> state;
  while (!live.empty() && ended.size() < beam) {
    const Output out = model.forward(Run{}, question(one, state, live));
    if (out.logits.rank() != 3 || out.logits.dim(1) != static_cast<int>(live[0].tokens.size()) + 1)
      fail("decode", "the model's output is {}, expected logits of every token of the target",
           out.logits.shape().str());
    if (live[0].tokens.empty()) state = out.state;
    std::vector<Candidate> all = continuations(out.logits, live);
    const auto keep = static_cast<std::ptrdiff_t>(std::min(beam, all.size()));
    std::partial_sort(all.begin(), all.begin() + keep, all.end(), [](const Candidate& a, const Candidate& b) {
      return a.log_probability != b.log_probability ? a.log_probability > b.log_probability
             : a.from != b.from                     ? a.from < b.from
                                                    : a.token < b.token;
    });
    all.resize(static_cast<size_t>(keep));
    std::vector<Live> next;
    for (const Candidate& c : all) {
      Decoded d{live[c.from].tokens, c.log_probability, c.token == SpecialTokens::end};
      if (!d.ended) d.tokens.push_back(c.token);
      (d.ended ? ended : next).push_back(std::move(d));
    }
    if (!next.empty() && next[0].tokens.size() > static_cast<size_t>(o.most)) break;  // `live` is as long as may be
    live = std::move(next);
  }
  std::vector<Decoded>& of = ended.empty() ? live : ended;
  return *std::ranges::max_element(of, {}, [&](const Decoded& d) { return score(d, o.length_penalty); });
}

}  // namespace

std::vector<Decoded> decode(const Model& model, const Input& input, const DecodeOptions& options) {
  if (options.beam < 1 || options.most < 1)
    fail("decode", "a beam of {} and at most {} tokens; expected at least 1", options.beam, options.most);
  const NoGrad untracked;
  std::vector<Decoded> all;
  for (int i = 0; i < input.size(); ++i) {
    Input one = input.rows(i, i + 1);
    one.features = false, one.state.clear();
    all.push_back(search(model, one, options));
  }
  return all;
}

}  // namespace TESSERA_NS
}  // namespace tessera
