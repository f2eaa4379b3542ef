#pragma once
// Tensors in safetensors files: core/io/safetensors.h checks the bytes, here they become tensors of `real`.
#include <string>
#include <utility>
#include <vector>

#include "tessera/core/io/safetensors.h"
#include "tessera/core/tensor.h"

namespace tessera::io {
inline namespace TESSERA_NS {

using NamedTensor = std::pair<std::string, Tensor>;

class TensorFile : public SafeTensors {
 public:
  /// Throws Error, one line, on a file that is malformed in any way (see parse_header).
  explicit TensorFile(const std::string& path) : SafeTensors(path) {}
  explicit TensorFile(SafeTensors file) : SafeTensors(std::move(file)) {}

  std::vector<std::string> names() const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Throws Error if there is no such tensor, or if it is larger than a Tensor can be.
  Shape shape(std::string_view name) const;
  /// The tensor, its values converted to real.
  Tensor read(std::string_view name) const;
  using SafeTensors::read;

 private:
  const TensorInfo& get(std::string_view name) const;
};

/// "(8, 65, 192)" or an Error: at most six dimensions of 32 bits.
Shape shape_of(const TensorInfo& info, const std::string& file);

/// Writes tensors as F32 (F64 in the double twin) in the order given. Throws Error as write_safetensors.
void write_tensors(const std::string& path, const std::vector<NamedTensor>& tensors, const Metadata& metadata = {});

}  // namespace TESSERA_NS
}  // namespace tessera::io
