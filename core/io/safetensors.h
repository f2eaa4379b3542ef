#pragma once
// The safetensors format: 8 bytes of little-endian header length, a JSON header
//   {"__metadata__": {"key": "text", ...}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]},
//   ...}
// and the tensors' bytes, whose offsets count from the end of the header. Nothing in a file is believed: every field is
// checked before it is used, and nothing larger than the file is allocated. Free of `real`; tensors:
// core/io/tensor_file.h.
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/core/io/read_file.h"

namespace tessera::io {

enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean };
/// "F32", and the bytes of one element.
std::string_view name(DType dtype);
size_t width(DType dtype);
/// A name out of a file, made fit for one line: quoted, printable (core/io/text.h), of at most 120 of its bytes.
std::string shown(std::string_view text);

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< bytes, counted from the end of the header
  int64_t size() const { return static_cast<int64_t>((end - begin) / width(dtype)); }
};

using Metadata = std::map<std::string, std::string>;

struct Header {
  std::vector<TensorInfo> tensors;  ///< in the header's order
  Metadata metadata;
};
/// Parses and checks a header that stands before `data_bytes` bytes of data; `file` is for the messages. Throws Error:
/// malformed JSON, duplicate tensors or fields, unknown dtypes or fields, shapes whose product overflows, sizes that
/// disagree, offsets that are misordered, overlap, leave a hole or leave the file, bytes after the last tensor.
Header parse_header(std::string_view json, uint64_t data_bytes, const std::string& file);

/// A file open for reading. Only the header is held in memory.
class SafeTensors {
 public:
  static constexpr uint64_t max_header = 100'000'000;  ///< the format's own limit

  /// Throws Error as parse_header, or when the file cannot be read.
  explicit SafeTensors(const std::string& path);
  /// The same from memory; `label` stands for the path in messages.
  static SafeTensors from_bytes(std::string bytes, std::string label);
  SafeTensors(SafeTensors&& other) noexcept = default;
  SafeTensors& operator=(SafeTensors&&) = delete;

  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const Metadata& metadata() const { return header_.metadata; }
  /// Null if there is none.
  const TensorInfo* find(std::string_view name) const;
  /// The values converted to float or double; `to` has info.size() elements. Throws Error when the disk fails.
  void read(const TensorInfo& info, std::span<float> to) const;
  void read(const TensorInfo& info, std::span<double> to) const;
  /// The bytes as they are in the file, little-endian; `to` has end - begin bytes.
  void read_bytes(const TensorInfo& info, std::span<char> to) const;
  /// Compares header and data with the checksums that write_safetensors left in the metadata; files of other programs
  /// have none and pass unless these are `required`. Throws Error if a bit has changed.
  void verify(bool required = false) const;
  const std::string& path() const { return path_; }

 private:
  SafeTensors() = default;
  void open();
  void fetch(uint64_t offset, char* to, size_t count) const;
  template <class T>
  void convert(const TensorInfo& info, std::span<T> to) const;

  std::string path_;
  std::optional<RegularFile> file_;  ///< or
  std::optional<std::string> bytes_;
  uint64_t file_size_ = 0, data_start_ = 0;
  Header header_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

/// A tensor to be written, its bytes little-endian as in memory.
struct TensorBytes {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::span<const char> bytes;
};

/// Writes a file through replace_file, in the order given except that wider elements come first, so that every tensor
/// is aligned to its element; data start at a multiple of 8. Equal input gives equal bytes. Throws Error on duplicate
/// names, sizes that disagree and failing writes.
void write_safetensors(const std::string& path, std::span<const TensorBytes> tensors, const Metadata& metadata = {});

}  // namespace tessera::io
