#pragma once
// A network as a list of the ops that ran: an observer that keeps them, and an interpreter (interpreter.cpp) that computes them again from
// nothing but their names, attributes and inputs. Whoever writes an export can read it as the list of what an op shows.
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tessera/core/tape.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {

/// One op with copies of its attributes.
class Kept {
 public:
  std::string op, path;
  Tensors in, out;  ///< handles: they keep the identities of the values

  explicit Kept(const Seen& s);
  /// The attribute `key`, or the nth of that key. Throws Error if the op shows none, or one of another kind.
  int64_t integer(const char* key, int nth = 0) const { return get(key, Attribute::Kind::integer, nth).integer; }
  double number(const char* key, int nth = 0) const { return get(key, Attribute::Kind::number, nth).number; }
  const std::string& text(const char* key, int nth = 0) const { return get(key, Attribute::Kind::text, nth).text; }
  const Index& list(const char* key, int nth = 0) const { return get(key, Attribute::Kind::list, nth).list; }
  int number_of(const char* key) const;
  int i(const char* key, int nth = 0) const { return static_cast<int>(integer(key, nth)); }
  /// Attributes nobody has asked for.
  std::string unused() const;

 private:
  struct Value {
    std::string key;
    Attribute::Kind kind;
    int64_t integer = 0;
    double number = 0;
    std::string text = {};
    Index list = {};
    mutable bool used = false;
  };
  const Value& get(const char* key, Attribute::Kind kind, int nth) const;
  std::vector<Value> attributes_;
};

/// Keeps all ops of a pass, with copies of their outputs.
struct Recorder : Observer {
  std::vector<Kept> ops;
  std::vector<std::vector<double>> values;  ///< of each output, in order, when it was made
  void saw(const Seen& s) override;
  /// An op that gives an input as its output, or one that wrote into an earlier value; "" if none did.
  std::string not_fresh() const;
  /// Overwrites every output with NaN, so that computing() can only use what is given.
  void spoil() const;
};

/// Computes the ops again, in order, where inputs are constants and parameters as they are, but for the pairs (was, is) of `given`; then
/// gives what the handles `wanted` stand for.
Tensors computed(const std::vector<Kept>& ops, const std::vector<std::pair<Tensor, Tensor>>& given,
                 const Tensors& wanted);

/// How each op is computed from what it shows. Tests may add ops of their own.
using Rule = std::function<Tensors(const Kept& op, const Tensors& x)>;
std::map<std::string, Rule>& interpreter();

}  // namespace TESSERA_NS
}  // namespace tessera
