// The header's JSON, read by events: no document is built, and duplicate keys, which a document would swallow, are
// seen.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "tessera/core/error.h"
#include "tessera/core/io/safetensors.h"
#include "tessera/core/io/text.h"

namespace tessera::io {
namespace {

constexpr size_t max_rank = 32;

struct DTypeRow {
  std::string_view name;
  size_t width;
};
constexpr std::array<DTypeRow, 13> dtypes = {{{"F64", 8},
                                              {"F32", 4},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"I64", 8},
                                              {"I32", 4},
                                              {"I16", 2},
                                              {"I8", 1},
                                              {"U64", 8},
                                              {"U32", 4},
                                              {"U16", 2},
                                              {"U8", 1},
                                              {"BOOL", 1}}};

class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(const std::string& file, Header& header) : file_(file), header_(header) {}

  bool null() override { wrong_value("null"); }
  bool boolean(bool) override { wrong_value("a boolean"); }
  bool number_integer(number_integer_t) override { wrong_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { wrong_value("a fraction or a number beyond 64 bits"); }
  bool binary(binary_t&) override { wrong_value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ != 3) wrong_value("a number");
    if (field_ == Field::shape) {
      if (value > INT64_MAX) refuse("an extent of {} is larger than any tensor", where());
      if (now_.shape.size() == max_rank) refuse("{} has more than {} dimensions", where(), max_rank);
      now_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offsets_ == 2) refuse("data_offsets of {} has more than two numbers", where());
      (offsets_++ == 0 ? now_.begin : now_.end) = value;
    }
    return true;
  }

  bool string(string_t& value) override {
    if (depth_ == 2 && in_metadata_) {
      header_.metadata[key_] = value;
    } else if (depth_ == 2 && field_ == Field::dtype) {
      const auto row = std::find_if(dtypes.begin(), dtypes.end(), [&](const DTypeRow& r) { return r.name == value; });
      if (row == dtypes.end()) refuse("{} has the unknown dtype {}", where(), shown(value));
      now_.dtype = static_cast<DType>(row - dtypes.begin());
    } else {
      wrong_value("a string");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ >= 2) wrong_value("an object");
    ++depth_;
    seen_.clear();
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    if (depth_ == 1) {
      if (!names_.insert(value).second) refuse("{} occurs twice", shown(value));
      in_metadata_ = value == "__metadata__";
      now_ = {};
      now_.name = value;
      offsets_ = 0;
      return true;
    }
    if (!seen_.insert(value).second) refuse("field {} of {} occurs twice", shown(value), where());
    if (in_metadata_) return true;
    if (value == "dtype") {
      field_ = Field::dtype;
    } else if (value == "shape") {
      field_ = Field::shape;
    } else if (value == "data_offsets") {
      field_ = Field::offsets;
    } else {
      refuse("{} has the unknown field {}", where(), shown(value));
    }
    return true;
  }

  bool end_object() override {
    if (depth_-- == 2 && !in_metadata_) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (!seen_.contains(field)) refuse("{} has no {}", where(), field);
      }
      if (offsets_ != 2) refuse("data_offsets of {} has {} numbers instead of two", where(), offsets_);
      header_.tensors.push_back(std::move(now_));
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || field_ == Field::dtype) wrong_value("an array");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    refuse("the header is malformed JSON near its byte {}", position);
  }

 private:
  enum class Field { dtype, shape, offsets };

  template <class... A>
  [[noreturn]] void refuse(fmt::format_string<A...> facts, A&&... a) const {
    fail("safetensors", "{}: {}", file_, fmt::format(facts, std::forward<A>(a)...));
  }
  [[noreturn]] void wrong_value(std::string_view what) const {
    if (depth_ == 0) refuse("the header is {} instead of an object", what);
    if (depth_ == 1) refuse("{} is {} instead of an object", shown(key_), what);
    refuse("{} of {} is not what the format says: found {}", shown(key_), where(), what);
  }
  std::string where() const { return in_metadata_ ? std::string("__metadata__") : "tensor " + shown(now_.name); }

  const std::string& file_;
  Header& header_;
  int depth_ = 0;
  bool in_metadata_ = false;
  Field field_ = Field::dtype;
  std::string key_;
  TensorInfo now_;
  int offsets_ = 0;
  std::set<std::string, std::less<>> names_, seen_;
};

void check_sizes(const Header& header, uint64_t data_bytes, const std::string& file) {
  for (const auto& t : header.tensors) {
    uint64_t bytes = width(t.dtype);
    for (int64_t extent : t.shape) {
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes) || bytes > INT64_MAX) {
        fail("safetensors", "{}: the shape of tensor {} overflows 64 bits", file, shown(t.name));
      }
    }
    if (t.begin > t.end) {
      fail("safetensors", "{}: the offsets [{}, {}] of tensor {} are misordered", file, t.begin, t.end, shown(t.name));
    }
    if (t.end > data_bytes) {
      fail("safetensors",
           "{}: tensor {} ends at byte {} of the data, but the file has {}; it is truncated or no safetensors file",
           file, shown(t.name), t.end, data_bytes);
    }
    if (t.end - t.begin != bytes) {
      fail("safetensors", "{}: tensor {} has {} bytes, but its shape and dtype say {}", file, shown(t.name),
           t.end - t.begin, bytes);
    }
  }
}

/// The tensors have to tile the data: a hole or an overlap hides bytes or serves them twice.
void check_tiling(const Header& header, uint64_t data_bytes, const std::string& file) {
  std::vector<const TensorInfo*> order;
  for (const auto& t : header.tensors) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t at = 0;
  for (const TensorInfo* t : order) {
    if (t->begin < at) fail("safetensors", "{}: tensor {} overlaps the one before it", file, shown(t->name));
    if (t->begin > at) {
      fail("safetensors", "{}: there is a hole of {} bytes before tensor {}", file, t->begin - at, shown(t->name));
    }
    at = t->end;
  }
  if (at != data_bytes) fail("safetensors", "{}: {} bytes trail after the last tensor", file, data_bytes - at);
}

}  // namespace

std::string shown(std::string_view text) {
  constexpr size_t most = 120;
  if (text.size() <= most) return "'" + printable(text) + "'";
  size_t n = most;
  while (n > most - 4 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n;  // not inside a UTF-8 sequence
  return "'" + printable(text.substr(0, n)) + "...'";
}

std::string_view name(DType dtype) { return dtypes[static_cast<size_t>(dtype)].name; }
size_t width(DType dtype) { return dtypes[static_cast<size_t>(dtype)].width; }

Header parse_header(std::string_view json, uint64_t data_bytes, const std::string& file) {
  if (json.empty() || json[0] != '{')
    fail("safetensors", "{}: the header does not start with '{{'; is it a safetensors file?", file);
  // the parser would take a NUL for the end of its input and never see what follows
  if (json.find('\0') != std::string_view::npos)
    fail("safetensors", "{}: the header is malformed JSON: it contains a NUL", file);
  Header header;
  HeaderReader reader(file, header);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  check_sizes(header, data_bytes, file);
  check_tiling(header, data_bytes, file);
  return header;
}

}  // namespace tessera::io
