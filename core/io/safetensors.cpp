#include "tessera/core/io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "tessera/core/error.h"
#include "tessera/core/io/checksum.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/text.h"

namespace tessera::io {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is read as it is");

constexpr size_t chunk = 1 << 15;
constexpr const char* checksum_key = "tessera.fnv1a64";       // of the data
constexpr const char* header_key = "tessera.header.fnv1a64";  // of the metadata and the table of tensors

void add(Checksum& sum, std::string_view text) {
  sum.add(text.data(), text.size());
  sum.add("", 1);  // where it ends
}

/// What the header says, apart from its own checksum: a bit that changes in a number there is as bad as one in the data.
std::string digest_of(const Header& header) {
  Checksum sum;
  for (const auto& [key, value] : header.metadata)
    if (key != header_key) add(sum, key), add(sum, value);
  for (const TensorInfo& t : header.tensors) {
    add(sum, t.name), add(sum, name(t.dtype));
    for (const int64_t extent : t.shape) add(sum, std::to_string(extent));
    add(sum, std::to_string(t.begin)), add(sum, std::to_string(t.end));
  }
  return sum.hex();
}

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, mantissa = h & 0x3ff;
  const int exponent = (h >> 10) & 31;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24 is exact in float
    const float v = static_cast<float>(mantissa) * 0x1p-24F;
    return sign ? -v : v;
  }
  return std::bit_cast<float>(sign | (static_cast<uint32_t>(exponent + 112) << 23) | (mantissa << 13));
}
float bfloat_to_float(uint16_t b) { return std::bit_cast<float>(static_cast<uint32_t>(b) << 16); }

template <class Stored, class T, class Convert>
void each(const char* from, std::span<T> to, Convert convert) {
  for (size_t i = 0; i < to.size(); ++i) {
    Stored v;
    std::memcpy(&v, from + i * sizeof(Stored), sizeof(Stored));
    to[i] = static_cast<T>(convert(v));
  }
}

template <class T>
void convert_chunk(DType dtype, const char* from, std::span<T> to) {
  const auto same = [](auto v) { return v; };
  switch (dtype) {
    case DType::f64:
      return each<double>(from, to, same);
    case DType::f32:
      return each<float>(from, to, same);
    case DType::f16:
      return each<uint16_t>(from, to, half_to_float);
    case DType::bf16:
      return each<uint16_t>(from, to, bfloat_to_float);
    case DType::i64:
      return each<int64_t>(from, to, same);
    case DType::i32:
      return each<int32_t>(from, to, same);
    case DType::i16:
      return each<int16_t>(from, to, same);
    case DType::i8:
      return each<int8_t>(from, to, same);
    case DType::u64:
      return each<uint64_t>(from, to, same);
    case DType::u32:
      return each<uint32_t>(from, to, same);
    case DType::u16:
      return each<uint16_t>(from, to, same);
    case DType::u8:
      return each<uint8_t>(from, to, same);
    case DType::boolean:
      return each<uint8_t>(from, to, [](uint8_t v) { return v != 0; });
  }
}

}  // namespace

SafeTensors::SafeTensors(const std::string& path) : path_(path), file_(std::in_place, path, "safetensors") {
  file_size_ = file_->size();
  open();
}

SafeTensors SafeTensors::from_bytes(std::string bytes, std::string label) {
  SafeTensors file;
  file.path_ = std::move(label);
  file.file_size_ = bytes.size();
  file.bytes_ = std::move(bytes);
  file.open();
  return file;
}

void SafeTensors::open() {
  if (file_size_ < 8)
    fail("safetensors", "{}: {} bytes are too few for a safetensors file; it is truncated or empty", path_, file_size_);
  uint64_t length = 0;
  fetch(0, reinterpret_cast<char*>(&length), 8);
  if (length > max_header) {
    fail("safetensors", "{}: a header of {} bytes is beyond the limit of {}; is it a safetensors file?", path_, length,
         max_header);
  }
  if (length > file_size_ - 8) {
    fail("safetensors",
         "{}: the header should have {} bytes, but only {} follow; the file is truncated or no safetensors file", path_,
         length, file_size_ - 8);
  }
  std::string json(length, '\0');
  fetch(8, json.data(), length);
  data_start_ = 8 + length;
  header_ = parse_header(json, file_size_ - data_start_, path_);
  for (size_t i = 0; i < header_.tensors.size(); ++i) by_name_[header_.tensors[i].name] = i;
}

const TensorInfo* SafeTensors::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &header_.tensors[it->second];
}

void SafeTensors::fetch(uint64_t offset, char* to, size_t count) const {
  if (bytes_) {
    std::memcpy(to, bytes_->data() + offset, count);
    return;
  }
  file_->read_at(offset, to, count);
}

template <class T>
void SafeTensors::convert(const TensorInfo& info, std::span<T> to) const {
  if (static_cast<int64_t>(to.size()) != info.size()) {
    fail("safetensors", "{}: {} has {} values, asked for {}", path_, shown(info.name), info.size(), to.size());
  }
  const size_t w = width(info.dtype), step = chunk / w;
  std::array<char, chunk> buffer;
  for (size_t i = 0; i < to.size(); i += step) {
    const auto part = to.subspan(i, std::min(step, to.size() - i));
    fetch(data_start_ + info.begin + i * w, buffer.data(), part.size() * w);
    convert_chunk(info.dtype, buffer.data(), part);
  }
}

void SafeTensors::read(const TensorInfo& info, std::span<float> to) const { convert(info, to); }
void SafeTensors::read(const TensorInfo& info, std::span<double> to) const { convert(info, to); }

void SafeTensors::read_bytes(const TensorInfo& info, std::span<char> to) const {
  if (to.size() != info.end - info.begin)
    fail("safetensors", "{}: {} has {} bytes, asked for {}", path_, shown(info.name), info.end - info.begin, to.size());
  fetch(data_start_ + info.begin, to.data(), to.size());
}

void SafeTensors::verify(bool required) const {
  const auto of_header = header_.metadata.find(header_key), expected = header_.metadata.find(checksum_key);
  const bool none = of_header == header_.metadata.end() || expected == header_.metadata.end();
  if (none && required)
    fail("safetensors", "{}: its checksum is missing; the file is damaged, use another copy", path_);
  if (of_header != header_.metadata.end() && digest_of(header_) != of_header->second) {
    fail("safetensors", "{}: the checksum of its header is {} but should be {}; the file is damaged, use another copy",
         path_, digest_of(header_), of_header->second);
  }
  if (expected == header_.metadata.end()) return;
  Checksum sum;
  std::array<char, chunk> buffer;
  for (uint64_t at = data_start_; at < file_size_; at += chunk) {
    const size_t part = std::min<uint64_t>(chunk, file_size_ - at);
    fetch(at, buffer.data(), part);
    sum.add(buffer.data(), part);
  }
  if (sum.hex() != expected->second) {
    fail("safetensors", "{}: its checksum is {} but should be {}; the file is damaged, use another copy", path_,
         sum.hex(), expected->second);
  }
}

void write_safetensors(const std::string& path, std::span<const TensorBytes> tensors, const Metadata& metadata) {
  std::vector<const TensorBytes*> order;
  std::set<std::string_view> names;
  for (const auto& t : tensors) {
    uint64_t bytes = width(t.dtype);
    for (int64_t extent : t.shape)
      if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes))
        fail("safetensors", "{}: {} has an extent of {}, which no tensor has", path, shown(t.name), extent);
    if (bytes != t.bytes.size())
      fail("safetensors", "{}: {} has {} bytes, its shape says {}", path, shown(t.name), t.bytes.size(), bytes);
    if (t.name == "__metadata__" || !names.insert(t.name).second)
      fail("safetensors", "{}: the name {} cannot be used twice", path, shown(t.name));
    order.push_back(&t);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return width(a->dtype) > width(b->dtype); });

  const auto writable = [&](std::string_view what, std::string_view text) {
    if (!is_utf8(text)) fail("safetensors", "{}: the {} '{}' is no UTF-8", path, what, printable(text));
  };
  for (const TensorBytes& t : tensors) writable("name", t.name);
  for (const auto& [key, value] : metadata) writable("metadata", key), writable("metadata", value);

  Checksum sum;
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  uint64_t at = 0;
  Header said{.tensors = {}, .metadata = metadata};
  auto& meta = header["__metadata__"];
  for (const auto& [key, text] : metadata) meta[key] = text;
  for (const TensorBytes* t : order) {
    sum.add(t->bytes.data(), t->bytes.size());
    header[t->name] = {{"dtype", name(t->dtype)}, {"shape", t->shape}, {"data_offsets", {at, at + t->bytes.size()}}};
    said.tensors.push_back({t->name, t->dtype, t->shape, at, at + t->bytes.size()});
    at += t->bytes.size();
  }
  header["__metadata__"][checksum_key] = said.metadata[checksum_key] = sum.hex();
  header["__metadata__"][header_key] = digest_of(said);

  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > SafeTensors::max_header)
    fail("safetensors", "{}: the header would be larger than the format allows", path);
  const uint64_t length = json.size();
  replace_file(path, [&](Sink& sink) {
    sink.write(&length, 8);
    sink.write(json);
    for (const TensorBytes* t : order) sink.write(t->bytes.data(), t->bytes.size());
  });
}

}  // namespace tessera::io
