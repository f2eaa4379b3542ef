#pragma once
// What matrix products compute in. bf16 is no type of tensors: all tensors, sums, weights and the optimiser's state are fp32. Under it the
// products of linear layers, convolutions, matmul and attention round both operands to bfloat16 (8 bits of mantissa, ties to even) and add
// the exact products in fp32. Depthwise convolutions (one channel to one is such), linear attention, norms, softmax, loss and optimiser compute
// as ever, and so does what encodings compute from places.
#include <string_view>

namespace tessera {

enum class Precision { f32, bf16 };

/// The process's; at first f32. It may change between steps, not inside of one. The double twin has no other than its own.
Precision precision();
void set_precision(Precision p);

std::string_view name(Precision p);
/// The precision of that name; throws Error naming those there are.
Precision precision(std::string_view name);

/// One precision for as long as this object lives.
class Computing {
 public:
  explicit Computing(Precision p) : before_(precision()) { set_precision(p); }
  ~Computing() { set_precision(before_); }
  Computing(const Computing&) = delete;
  Computing& operator=(const Computing&) = delete;

 private:
  Precision before_;
};

}  // namespace tessera
