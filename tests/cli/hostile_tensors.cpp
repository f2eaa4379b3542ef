// `tessera forward` on weight and input files that lie.
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "tessera/core/io/tensor_file.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

const std::vector<std::string> small = {"--model",     "vit",        "depth=1",      "embed_dim=8",
                                        "num_heads=2", "img_size=8", "patch_size=4", "num_classes=3"};

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more = small) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string floats(size_t n, float value = 0.25f) {
  std::string bytes(4 * n, '\0');
  for (size_t i = 0; i < n; ++i) std::memcpy(bytes.data() + 4 * i, &value, 4);
  return bytes;
}

std::string input_file(const std::string& name = "input", int channels = 3) {
  return safetensors("{\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[2," + std::to_string(channels) +
                         ",8,8],\"data_offsets\":[0," + std::to_string(2 * channels * 64 * 4) + "]}}",
                     floats(static_cast<size_t>(2 * channels * 64)));
}

/// Runs forward with `weights` as the weight file (empty: good ones) and `input` as the input file.
struct Forward {
  Folder folder;
  Forward() {
    REQUIRE(tessera(with({"init", "--output", folder / "w.safetensors"})).code == 0);
    write(folder / "x.safetensors", input_file());
  }
  Result operator()(const std::vector<std::string>& more = {}, const RunOptions& options = {}) const {
    return tessera(with(with({"forward", "--weights", folder / "w.safetensors", "--input", folder / "x.safetensors",
                              "--output", folder / "y.safetensors"}),
                        more),
                   options);
  }
  void refused(const std::vector<std::string>& words, const std::vector<std::string>& more = {},
               const RunOptions& options = {}) const {
    check_refused((*this)(more, options), 1, words);
    for (const auto& name : folder.list()) CHECK(name.find("y.safetensors") == std::string::npos);
  }
};

}  // namespace

TEST_CASE("forward: good files, equal bits for 1, 2 and 3 threads") {
  const Forward run;
  std::string first;
  for (const char* threads : {"1", "2", "3"}) {
    const Result r = run({"--threads", threads});
    INFO(r.err);
    REQUIRE(r.code == 0);
    CHECK(r.out.empty());
    const std::string y = read(run.folder / "y.safetensors");
    CHECK(y.find("\"logits\"") != std::string::npos);
    if (first.empty()) first = y;
    CHECK(y == first);
  }
}

TEST_CASE("forward: weights that are cut off") {
  const Forward run;
  const std::string whole = read(run.folder / "w.safetensors");
  for (const size_t keep : {size_t{0}, size_t{5}, size_t{40}, whole.size() - 1}) {
    CAPTURE(keep);
    write(run.folder / "w.safetensors", std::string_view(whole).substr(0, keep));
    run.refused({"w.safetensors"});
  }
}

TEST_CASE("forward: headers that lie") {
  const Forward run;
  const auto tensor = [](const std::string& name, const std::string& shape, const std::string& offsets) {
    return "\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]}";
  };
  const std::pair<const char*, std::string> files[] = {
      {"header longer than the file", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10)},
      {"header above the format's limit", std::string("\x00\xff\xff\x7f\x00\x00\x00\x00{}", 10)},
      {"no JSON", safetensors("{\"a\":", "")},
      {"bytes behind the last tensor", safetensors("{" + tensor("a", "2", "0,8") + "}", floats(3))},
      {"overlap", safetensors("{" + tensor("a", "2", "0,8") + "," + tensor("b", "2", "4,12") + "}", floats(3))},
      {"hole", safetensors("{" + tensor("a", "1", "0,4") + "," + tensor("b", "1", "8,12") + "}", floats(3))},
      {"duplicate key", safetensors("{" + tensor("a", "1", "0,4") + "," + tensor("a", "1", "4,8") + "}", floats(2))},
      {"huge shape", safetensors("{" + tensor("a", "4294967296,4294967296,4294967296", "0,4") + "}", floats(1))},
      {"shape against offsets", safetensors("{" + tensor("a", "3", "0,8") + "}", floats(2))},
      {"negative extent", safetensors("{" + tensor("a", "-1", "0,4") + "}", floats(1))},
      {"offsets that leave the file", safetensors("{" + tensor("a", "1000", "0,4000") + "}", floats(1))},
  };
  for (const auto& [name, bytes] : files) {
    const std::string what = name;  // clang before 16 captures no structured binding
    CAPTURE(what);
    write(run.folder / "w.safetensors", bytes);
    run.refused({"w.safetensors"});
  }
}

TEST_CASE("forward: missing, extra and misshapen tensors are listed") {
  const Forward run;
  std::string whole = read(run.folder / "w.safetensors");
  SUBCASE("missing and extra") {
    const size_t at = whole.find("\"head.bias\"");
    REQUIRE(at != std::string::npos);
    whole.replace(at, 11, "\"head.bios\"");
    write(run.folder / "w.safetensors", whole);
    run.refused({"head.bias", "head.bios"});
  }
  SUBCASE("misshapen") {
    const Folder other;
    REQUIRE(tessera(with({"init", "--output", run.folder / "w.safetensors", "num_classes=5"})).code == 0);
  }
  SUBCASE("an input of another channel count") {
    write(run.folder / "x.safetensors", input_file("input", 4));
    run.refused({"x.safetensors", "4", "3"});
  }
  SUBCASE("an input under another name") {
    write(run.folder / "x.safetensors", input_file("image"));
    run.refused({"x.safetensors", "image"});
  }
  SUBCASE("an input without rows") {
    write(run.folder / "x.safetensors",
          safetensors("{\"input\":{\"dtype\":\"F32\",\"shape\":[2,3,0,8],\"data_offsets\":[0,0]}}", ""));
    run.refused({"x.safetensors", "(2, 3, 0, 8)"});
  }
  SUBCASE("lengths of images") {
    const std::string header =
        "{\"input\":{\"dtype\":\"F32\",\"shape\":[2,3,8,8],\"data_offsets\":[0,1536]},"
        "\"lengths\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1536,1544]}}";
    write(run.folder / "x.safetensors", safetensors(header, floats(386, 1)));
    run.refused({"x.safetensors", "lengths", "sequences"});
  }
  SUBCASE("a missing input") {
    std::filesystem::remove(run.folder / "x.safetensors");
    run.refused({"x.safetensors"});
  }
}

TEST_CASE("forward: NaN, tensors of bytes, a pipe") {
  const Forward run;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  SUBCASE("in the input") {
    std::string x = input_file();
    std::memcpy(x.data() + x.size() - 4, &nan, 4);
    write(run.folder / "x.safetensors", x);
    run.refused({"x.safetensors", "input", "NaN", "1 of its 384"});
  }
  SUBCASE("in a weight, in a file of another program") {
    std::string w = read(run.folder / "w.safetensors");
    for (const char* key : {"tessera.fnv1a64", "tessera.header.fnv1a64"}) {  // as if we had not written it
      const size_t at = w.find(key);
      REQUIRE(at != std::string::npos);
      w[at] = 'T';
    }
    std::memcpy(w.data() + w.size() - 4, &nan, 4);
    write(run.folder / "w.safetensors", w);
    run.refused({"w.safetensors", "NaN", "head.bias"});
  }
  SUBCASE("a weight of bytes") {
    std::string w = read(run.folder / "w.safetensors");
    const size_t at = w.find("\"F32\",\"shape\":[3]");
    REQUIRE(at != std::string::npos);
    w.replace(at, 17, "\"U8\",\"shape\":[12]");
    write(run.folder / "w.safetensors", w);
    run.refused({"w.safetensors", "head.bias", "U8"});
  }
  SUBCASE("a pipe that nobody writes to") {
    std::filesystem::remove(run.folder / "x.safetensors");
    REQUIRE(mkfifo((run.folder / "x.safetensors").c_str(), 0600) == 0);
    RunOptions soon;
    soon.seconds = 20;
    run.refused({"x.safetensors", "regular file"}, {}, soon);
  }
}

TEST_CASE("forward: an unknown precision is refused") {
  const Forward run;
  check_refused(run({"--precision", "f8"}), 2, {"f8", "f32 or bf16"});
}

TEST_CASE("forward: bf16 answers nearly as f32 does") {
  const Forward run;
  const auto logits = [&](const char* precision) {
    REQUIRE(run({"--precision", precision}).code == 0);
    const Tensor t = io::TensorFile(run.folder / "y.safetensors").read("logits");
    return std::vector<float>(t.values().begin(), t.values().end());
  };
  const auto exact = logits("f32"), rounded = logits("bf16");
  float largest = 0, off = 0;
  for (size_t i = 0; i < exact.size(); ++i)
    largest = std::max(largest, std::abs(exact[i])), off = std::max(off, std::abs(exact[i] - rounded[i]));
  CHECK(off > 0);
  CHECK(off < 0.005F * largest);
}

TEST_CASE("forward, init: a full disk leaves nothing behind") {
  const Forward run;
  RunOptions full;
  full.file_limit = 100;
  run.refused({"y.safetensors"}, {}, full);
  const Folder folder;
  check_refused(tessera(with({"init", "--output", folder / "w.safetensors"}), full), 1, {"w.safetensors"});
  CHECK(folder.list().empty());
  check_refused(tessera(with({"init", "--output", "/dev/full"})), 1, {"/dev/full"});
  check_refused(tessera(with({"init", "--output", folder / "no/such/folder/w.safetensors"})), 1, {"no/such/folder"});
}

TEST_CASE("an unwritable standard output is a failure") {
  RunOptions full;
  full.out_to = "/dev/full";
  const Result r = tessera({"positions"}, full);
  CHECK(r.code == 1);
  CHECK(r.errors().size() == 1);
}

}  // namespace tessera::test
