#pragma once
// Parameters are born named: scope.param("weight", {out, in}, normal(0.02)) creates, names, initialises and lists one.
// The order of declaration is the order of checkpoints. Every parameter draws from (seed, its own name), so that adding
// one changes no other.
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "tessera/core/run.h"
#include "tessera/core/tensor.h"

namespace tessera {

/// How a parameter starts.
struct Init {
  enum Kind { constant, normal, uniform, truncated } kind = constant;
  double a = 0;     ///< the constant; the standard deviation; the half width; the deviation (truncated at 2 of them)
  double mean = 0;  ///< of the random kinds
};
inline Init constant(double v) { return {Init::constant, v}; }
inline Init normal(double std) { return {Init::normal, std}; }
inline Init uniform(double half_width) { return {Init::uniform, half_width}; }
/// U(low, high)
inline Init uniform_between(double low, double high) { return {Init::uniform, (high - low) / 2, (high + low) / 2}; }
/// timm's trunc_normal_(std): truncated at the absolute values -2 and 2, in practice a plain normal.
inline Init tn02() { return normal(0.02); }
/// U(+-sqrt(6 / (fan_in + fan_out)))
Init xavier_uniform(int fan_in, int fan_out);
/// LeCun's normal as JAX draws it: variance 1 / fan_in after truncation at two standard deviations.
Init lecun_normal(int fan_in);
/// torch's default for Linear and Conv: U(+-1 / sqrt(fan_in)), weight and bias alike.
Init torch_default(int fan_in);

/// Are weights drawn at birth, or left at 0 because a file will fill them or only their shapes matter?
enum class Draw { yes, no };

/// Does weight decay apply? Said at birth, because the sources differ (PVT decays pos_embed, timm does not).
enum class Decay { yes, no };

inline namespace TESSERA_NS {

class Params {
 public:
  explicit Params(uint64_t seed = 0, Draw draw = Draw::yes);
  Params(const Params&) = delete;  // two lists of the same parameters would give new ones the same identity
  Params& operator=(const Params&) = delete;
  struct Entry {
    std::string name;
    Tensor value;
    Decay decay = Decay::yes;
    bool buffer = false;  ///< running statistics: saved, never trained
  };
  /// Throws Error if the name is taken, or if all parameters together would have more than 2^30 numbers.
  Tensor make(const std::string& name, const Shape& shape, Init init, Decay decay, bool buffer);
  const std::deque<Entry>& entries() const { return entries_; }
  /// Null if there is none.
  const Entry* find(std::string_view name) const;
  /// Stops the gradients of all parameters whose name starts with `prefix`; returns how many.
  int freeze(std::string_view prefix, bool frozen = true);
  /// Parameters (without buffers) as timm counts them.
  int64_t count() const;
  /// Runs `start` on the parameter of that name: at once if it is there already, else right after its own initialisation.
  void preset(const std::string& name, std::function<void(Tensor&)> start);
  /// A promise that no pointer, span or reference from Tensor::data(), values() and [] is written through any more: products keep
  /// the panels of these weights again. Never needed for right numbers; without it a weight once lent is packed at every product.
  void commit();
  uint64_t seed() const { return seed_; }

 private:
  std::deque<Entry> entries_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, std::function<void(Tensor&)>> presets_;
  uint64_t seed_;
  Draw draw_;
  uint64_t serial_;  // of this Params in the process; its parameters carry it
  int64_t numbers_ = 0;
};

/// A place in the tree of names, used while a model is built.
class Scope {
 public:
  Scope(Params& params, std::string path = "")
      : params_(&params), path_(std::move(path)) {}  // NOLINT: implicit by design
  /// The child scope "path.name".
  Scope operator/(std::string_view name) const;
  Scope operator/(int index) const { return *this / std::to_string(index); }
  Tensor param(std::string_view name, const Shape& shape, Init init, Decay decay = Decay::yes) const;
  Tensor buffer(std::string_view name, const Shape& shape, Init init) const;
  const std::string& path() const { return path_; }
  /// The key of the randomness of the layer built here.
  Key key() const { return tessera::key(path_); }
  Params& params() const { return *params_; }

 private:
  Params* params_;
  std::string path_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
