// The safetensors reader believes nothing: each way in which a file can lie is made here and has its own error.
#include "tessera/core/io/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/tensor_file.h"
#include "tests/unit/scratch.h"

namespace tessera::io {
namespace {

std::string file(const std::string& json, size_t data_bytes, uint64_t length) {
  std::string s(8, '\0');
  std::memcpy(s.data(), &length, 8);
  return s + json + std::string(data_bytes, '\0');
}
std::string file(const std::string& json, size_t data_bytes) { return file(json, data_bytes, json.size()); }

/// The message with which `bytes` is refused; "" if it is taken.
std::string refusal(const std::string& bytes) {
  try {
    SafeTensors::from_bytes(bytes, "f");
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}
#define CHECK_REFUSED(bytes, part)                  \
  do {                                              \
    const std::string message = refusal(bytes);     \
    CAPTURE(message);                               \
    CHECK(message.find(part) != std::string::npos); \
    CHECK(message.find('\n') == std::string::npos); \
  } while (false)

std::string one(const std::string& fields) { return "{\"a\":{" + fields + "}}"; }
const std::string good = one(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,24])");

TEST_CASE("safetensors: a good file is taken, padded or not") {
  CHECK(refusal(file(good, 24)) == "");
  CHECK(refusal(file(good + "   ", 24)) == "");
  CHECK(refusal(file("{}", 0)) == "");
  CHECK(refusal(file(one(R"("dtype":"F32","shape":[0,7],"data_offsets":[0,0])"), 0)) == "");
  CHECK(refusal(file(one(R"("dtype":"I64","shape":[],"data_offsets":[0,8])"), 8)) == "");
}

TEST_CASE("safetensors: truncated and oversized files") {
  CHECK_REFUSED("", "0 bytes are too few");
  CHECK_REFUSED("1234567", "7 bytes are too few");
  CHECK_REFUSED(file(good, 24, good.size() + 25), "the file is truncated");
  CHECK_REFUSED(file(good, 24, 100'000'001), "beyond the limit");
  CHECK_REFUSED(file(good, 24, ~uint64_t{0}), "beyond the limit");
  CHECK_REFUSED(file(good, 24, good.size() - 1), "malformed JSON");
  CHECK_REFUSED(file(good, 24, 0), "does not start with");
  CHECK_REFUSED(file(good, 23), "it is truncated");
  CHECK_REFUSED(file(good, 25), "1 bytes trail after");
}

TEST_CASE("safetensors: malformed JSON") {
  CHECK_REFUSED(file("[]", 0), "does not start with");
  CHECK_REFUSED(file(" {}", 0), "does not start with");
  CHECK_REFUSED(file("{} x", 0), "malformed JSON");
  CHECK_REFUSED(file("{}{}", 0), "malformed JSON");
  CHECK_REFUSED(file(std::string("{}\0{", 4), 0), "contains a NUL");
  CHECK_REFUSED(file("{\"a\xff\":1}", 0), "malformed JSON");
  CHECK_REFUSED(file(R"({"a":1})", 0), "'a' is a number instead of an object");
  CHECK_REFUSED(file(R"({"a":null})", 0), "instead of an object");
  CHECK_REFUSED(file(R"({"a":[]})", 0), "instead of an object");
  CHECK_REFUSED(file(one(R"("dtype":7)"), 0), "found a number");
  CHECK_REFUSED(file(one(R"("dtype":["F32"])"), 0), "found an array");
  CHECK_REFUSED(file(one(R"("shape":{})"), 0), "found an object");
  CHECK_REFUSED(file(one(R"("shape":[[1]])"), 0), "found an array");
  CHECK_REFUSED(file(one(R"("shape":["1"])"), 0), "found a string");
  CHECK_REFUSED(file(one(R"("shape":[-1])"), 0), "found a negative number");
  CHECK_REFUSED(file(one(R"("shape":[1.5])"), 0), "found a fraction");
  CHECK_REFUSED(file(one(R"("shape":[true])"), 0), "found a boolean");
  CHECK_REFUSED(file(R"({"__metadata__":{"k":1}})", 0), "'k' of __metadata__");
  std::string deep = R"({"a":)";
  for (int i = 0; i < 100'000; ++i) deep += "[";
  CHECK_REFUSED(file(deep, 0), "instead of an object");
}

TEST_CASE("safetensors: fields") {
  CHECK_REFUSED(file(one(R"("shape":[],"data_offsets":[0,4])"), 4), "has no dtype");
  CHECK_REFUSED(file(one(R"("dtype":"F32","data_offsets":[0,4])"), 4), "has no shape");
  CHECK_REFUSED(file(one(R"("dtype":"F32","shape":[])"), 4), "has no data_offsets");
  CHECK_REFUSED(file(one(R"("dtype":"F32","shape":[],"data_offsets":[0])"), 4), "has 1 numbers");
  CHECK_REFUSED(file(one(R"("dtype":"F32","shape":[],"data_offsets":[0,4,4])"), 4), "more than two numbers");
  CHECK_REFUSED(file(one(R"("dtype":"F32","shape":[],"data_offsets":[0,4],"x":1)"), 4), "unknown field 'x'");
  CHECK_REFUSED(file(one(R"("dtype":"F8_E4M3","shape":[],"data_offsets":[0,1])"), 1), "unknown dtype 'F8_E4M3'");
  CHECK_REFUSED(file(one(R"("dtype":"f32","shape":[],"data_offsets":[0,4])"), 4), "unknown dtype 'f32'");
}

TEST_CASE("safetensors: duplicate keys, which JSON libraries swallow") {
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK_REFUSED(file("{" + a + "," + a + "}", 1), "'a' occurs twice");
  CHECK_REFUSED(file(R"({"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)" + a + "}", 1), "'a' occurs twice");
  CHECK_REFUSED(file(one(R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])"), 1),
                "'dtype' of tensor 'a' occurs twice");
  CHECK_REFUSED(file(one(R"("dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1])"), 1),
                "'shape' of tensor 'a' occurs twice");
  CHECK_REFUSED(file(R"({"__metadata__":{},"__metadata__":{}})", 0), "occurs twice");
  CHECK_REFUSED(file(R"({"__metadata__":{"k":"","k":""}})", 0), "'k' of __metadata__ occurs twice");
}

TEST_CASE("safetensors: shapes") {
  const auto shape = [](const std::string& s) {
    return file(one(R"("dtype":"F32","data_offsets":[0,4],"shape":)" + s), 4);
  };
  CHECK_REFUSED(shape("[4294967296,4294967296]"), "overflows");  // 2^64: the product wraps to 0
  CHECK_REFUSED(shape("[4611686018427387905]"), "overflows");    // 4 bytes each: wraps to 4, the true size of the data
  CHECK_REFUSED(shape("[2147483648,2147483649,2147483648]"), "overflows");
  CHECK_REFUSED(shape("[9223372036854775808]"), "larger than any tensor");
  CHECK_REFUSED(shape("[18446744073709551616]"), "beyond 64 bits");
  CHECK_REFUSED(shape("[1000000000000]"), "its shape and dtype say 4000000000000");
  CHECK_REFUSED(shape("[2]"), "has 4 bytes, but its shape and dtype say 8");
  CHECK_REFUSED(shape("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"),
                "more than 32 dimensions");
}

TEST_CASE("safetensors: offsets") {
  const auto two = [](const std::string& a, const std::string& b, size_t bytes) {
    return file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
                    R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                bytes);
  };
  CHECK(refusal(two("[0,4]", "[4,8]", 8)) == "");
  CHECK(refusal(two("[4,8]", "[0,4]", 8)) == "");  // the header's order is free
  CHECK_REFUSED(two("[0,4]", "[4,8]", 9), "1 bytes trail after");
  CHECK_REFUSED(two("[0,4]", "[5,9]", 9), "a hole of 1 bytes before tensor 'b'");
  CHECK_REFUSED(two("[1,5]", "[5,9]", 9), "a hole of 1 bytes before tensor 'a'");
  CHECK_REFUSED(two("[0,4]", "[3,7]", 8), "'b' overlaps");
  CHECK_REFUSED(two("[0,4]", "[0,4]", 4), "overlaps");
  CHECK_REFUSED(two("[4,0]", "[4,8]", 8), "misordered");
  CHECK_REFUSED(two("[0,4]", "[4,9]", 9), "has 5 bytes");
  CHECK_REFUSED(two("[0,4]", "[8,12]", 8), "ends at byte 12");
  CHECK_REFUSED(two("[0,4]", "[18446744073709551612,18446744073709551615]", 8), "ends at byte");
}

TEST_CASE("safetensors: hostile names stay on one short line") {
  const std::string message = refusal(file("{\"" + std::string(100'000, 'x') + "\\n\\u001b\":1}", 0));
  CHECK(message.size() < 300);
  CHECK(refusal(file(R"({"a\n\u001b[2J":1})", 0)).find('\n') == std::string::npos);
}

TEST_CASE("safetensors: every dtype converts") {
  const auto value = [](const char* dtype, const std::string& bytes) {
    const std::string json =
        fmt::format(R"({{"a":{{"dtype":"{}","shape":[1],"data_offsets":[0,{}]}}}})", dtype, bytes.size());
    std::string s = file(json, 0) + bytes;
    const SafeTensors f = SafeTensors::from_bytes(std::move(s), "f");
    double v = 0;
    f.read(f.tensors()[0], std::span<double>(&v, 1));
    return v;
  };
  const auto raw = [](auto v) { return std::string(reinterpret_cast<const char*>(&v), sizeof v); };
  CHECK(value("F64", raw(0.1)) == 0.1);
  CHECK(value("F32", raw(0.1F)) == double(0.1F));
  CHECK(value("I64", raw(int64_t{-5'000'000'000})) == -5e9);
  CHECK(value("I32", raw(int32_t{-7})) == -7);
  CHECK(value("U8", raw(uint8_t{200})) == 200);
  CHECK(value("I8", raw(int8_t{-3})) == -3);
  CHECK(value("U16", raw(uint16_t{60000})) == 60000);
  CHECK(value("BOOL", raw(uint8_t{1})) == 1);
  CHECK(value("BF16", raw(uint16_t{0xc049})) == -3.140625);
  CHECK(value("F16", raw(uint16_t{0x3555})) == 0x1.554p-2);
  CHECK(value("F16", raw(uint16_t{0x7bff})) == 65504);
  CHECK(value("F16", raw(uint16_t{0x8001})) == -0x1p-24);        // the least subnormal
  CHECK(value("F16", raw(uint16_t{0x03ff})) == 1023 * 0x1p-24);  // the largest subnormal
  CHECK(value("F16", raw(uint16_t{0x0400})) == 0x1p-14);
  CHECK(value("F16", raw(uint16_t{0xfc00})) == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(value("F16", raw(uint16_t{0x7e00}))));
  CHECK(std::signbit(value("F16", raw(uint16_t{0x8000}))));
}

TEST_CASE("safetensors: written files come back, aligned and equal byte for byte") {
  const Scratch dir;
  const std::string path = dir / "w.safetensors";
  std::vector<float> a(50'000);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i) * 0.37F;
  const std::vector<double> b = {1, 2, 3};
  const auto bytes = [](const auto& v) {
    return std::span(reinterpret_cast<const char*>(v.data()), v.size() * sizeof v[0]);
  };
  const std::vector<TensorBytes> tensors = {{"odd name \"x\"", DType::f32, {5, 10'000}, bytes(a)},
                                            {"b", DType::f64, {3}, bytes(b)}};
  write_safetensors(path, tensors, {{"note", "zwölf"}});
  const std::string first = read_file(path);
  write_safetensors(path, tensors, {{"note", "zwölf"}});
  CHECK(first == read_file(path));

  const SafeTensors f(path);
  f.verify();
  CHECK(f.metadata().at("note") == "zwölf");
  CHECK(f.find("b")->begin == 0);  // wider elements first
  uint64_t length = 0;
  std::memcpy(&length, first.data(), 8);
  CHECK(length % 8 == 0);
  std::vector<float> back(a.size());
  f.read(*f.find("odd name \"x\""), std::span<float>(back));
  CHECK(back == a);
  CHECK(f.find("odd name \"x\"")->shape == std::vector<int64_t>{5, 10'000});
  CHECK_THROWS_WITH_AS(write_safetensors(path, std::vector{tensors[0], tensors[0]}), doctest::Contains("used twice"),
                       Error);
}

TEST_CASE("safetensors: a changed bit in the data is noticed") {
  const Scratch dir;
  const std::string path = dir / "w.safetensors";
  write_tensors(path, {{"a", full({4, 5}, 1)}});
  std::string bytes = read_file(path);
  bytes[bytes.size() - 7] ^= 16;
  const auto f = SafeTensors::from_bytes(bytes, "f");
  CHECK_THROWS_WITH_AS(f.verify(), doctest::Contains("the file is damaged"), Error);
}

TEST_CASE("safetensors: a changed number in the metadata is noticed; without checksums only who needs them complains") {
  const Scratch dir;
  const std::string path = dir / "w.safetensors";
  write_tensors(path, {{"a", full({4, 5}, 1)}}, {{"step", "12"}});
  const std::string whole = read_file(path);
  SafeTensors::from_bytes(whole, "f").verify(true);
  std::string bytes = whole;
  bytes[bytes.find("\"12\"") + 1] = '3';
  CHECK_THROWS_WITH_AS(SafeTensors::from_bytes(bytes, "f").verify(), doctest::Contains("checksum of its header"),
                       Error);
  bytes = whole;
  for (size_t at; (at = bytes.find("tessera.")) != std::string::npos;) bytes[at] = 'T';
  SafeTensors::from_bytes(bytes, "f").verify();
  CHECK_THROWS_WITH_AS(SafeTensors::from_bytes(bytes, "f").verify(true), doctest::Contains("missing"), Error);
}

TEST_CASE("safetensors: paths that are no files") {
  const Scratch dir;
  CHECK_THROWS_WITH_AS(SafeTensors(dir / "none"), doctest::Contains("No such file"), Error);
  CHECK_THROWS_WITH_AS(SafeTensors(dir.path()), doctest::Contains("not a regular file"), Error);
  CHECK_THROWS_WITH_AS(SafeTensors("/dev/zero"), doctest::Contains("not a regular file"), Error);
}

TEST_CASE("safetensors: tensors") {
  const Scratch dir;
  const std::string path = dir / "w.safetensors";
  write_tensors(
      path,
      {{"scalar", full({}, 2)}, {"none", Tensor({0, 3})}, {"x", tensor({2, 2}, std::vector<double>{1, 2, 3, 4})}});
  const TensorFile f(path);
  CHECK(f.names() == std::vector<std::string>{"scalar", "none", "x"});
  CHECK(f.read("scalar")[0] == 2);
  CHECK(f.read("none").size() == 0);
  CHECK(f.read("x").shape() == Shape{2, 2});
  CHECK(f.read("x")[3] == 4);
  CHECK_THROWS_WITH_AS(f.read("y"), doctest::Contains("no tensor y"), Error);
  const auto wide = TensorFile(
      SafeTensors::from_bytes(file(one(R"("dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1])"), 1), "f"));
  CHECK_THROWS_WITH_AS(wide.read("a"), doctest::Contains("7 dimensions"), Error);
}

TEST_CASE("safetensors: a full disk leaves the old file") {
  const Scratch dir;
  const std::string path = dir / "w.safetensors";
  write_tensors(path, {{"a", full({1000}, 1)}});
  const std::string old = read_file(path);
  inject_fault("write", 2000, ENOSPC);
  CHECK_THROWS_WITH_AS(write_tensors(path, {{"a", full({1000}, 2)}}), doctest::Contains("No space left"), Error);
  CHECK(read_file(path) == old);
  CHECK(dir.files() == 1);
}

}  // namespace
}  // namespace tessera::io
