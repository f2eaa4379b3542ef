#include "tessera/core/io/tensor_file.h"

#include <limits>

namespace tessera::io {
inline namespace TESSERA_NS {

Shape shape_of(const TensorInfo& info, const std::string& file) {
  if (info.shape.size() > Shape::max_rank) {
    fail("safetensors", "{}: {} has {} dimensions, but a tensor has at most {}", file, shown(info.name),
         info.shape.size(), Shape::max_rank);
  }
  Shape shape;
  for (int64_t extent : info.shape) {
    if (extent > std::numeric_limits<int>::max())
      fail("safetensors", "{}: {} has an extent of {}, beyond 32 bits", file, shown(info.name), extent);
    shape.d[static_cast<size_t>(shape.rank++)] = static_cast<int>(extent);
  }
  return shape;
}

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  for (const auto& t : tensors()) names.push_back(t.name);
  return names;
}

const TensorInfo& TensorFile::get(std::string_view name) const {
  const TensorInfo* info = find(name);
  if (!info) fail("safetensors", "{}: there is no tensor {} in it", path(), name);
  return *info;
}

Shape TensorFile::shape(std::string_view name) const { return shape_of(get(name), path()); }

Tensor TensorFile::read(std::string_view name) const {
  const TensorInfo& info = get(name);
  Tensor t(shape_of(info, path()));
  read(info, t.values());
  return t;
}

void write_tensors(const std::string& path, const std::vector<NamedTensor>& tensors, const Metadata& metadata) {
  std::vector<TensorBytes> bytes;
  bytes.reserve(tensors.size());
  for (const auto& [name, t] : tensors) {
    bytes.push_back({name,
                     sizeof(real) == 4 ? DType::f32 : DType::f64,
                     {t.shape().begin(), t.shape().end()},
                     {reinterpret_cast<const char*>(t.read().data()), static_cast<size_t>(t.size()) * sizeof(real)}});
  }
  write_safetensors(path, bytes, metadata);
}

}  // namespace TESSERA_NS
}  // namespace tessera::io
