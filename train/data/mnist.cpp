// MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): idx files, plain or .gz. An idx header is big-endian:
// two zero bytes, the element type (8: unsigned byte), the number of dimensions, and each extent in 4 bytes.
#include <zlib.h>

#include <algorithm>

#include "tessera/core/error.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

std::vector<uint8_t> unzip(const std::string& path, const std::vector<uint8_t>& packed) {
  z_stream z{};
  if (inflateInit2(&z, 15 + 16) != Z_OK) fail("data", "zlib does not start");  // + 16: gzip framing
  struct End {
    z_stream* z;
    ~End() { inflateEnd(z); }
  } end{&z};
  // idx files of images shrink 4 to 20 times; a file that claims far more is a bomb
  const size_t most = packed.size() * 100 + (size_t{1} << 20);
  std::vector<uint8_t> out, block(size_t{1} << 20);
  z.next_in = const_cast<Bytef*>(packed.data());
  z.avail_in = static_cast<uInt>(packed.size());
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (out.size() > most) fail("data", "{} unpacks to more than {} bytes: not an image file", path, most);
    z.next_out = block.data();
    z.avail_out = static_cast<uInt>(block.size());
    status = inflate(&z, Z_NO_FLUSH);
    out.insert(out.end(), block.begin(), block.end() - z.avail_out);
    if (status == Z_BUF_ERROR || (status == Z_OK && z.avail_in == 0 && z.avail_out != 0))
      fail("data", "{} is cut off: the gzip stream has no end; fetch it again", path);
    if (status != Z_OK && status != Z_STREAM_END)
      fail("data", "{} is no valid gzip file ({}); fetch it again", path, z.msg ? z.msg : "unknown header");
  }
  return out;
}

// The payload of an idx file with `rank` dimensions, after every check; extents in dims.
std::vector<uint8_t> read_idx(Folder& folder, const std::string& stem, const char* official_md5, int rank,
                              int64_t* dims) {
  const bool plain = folder.has(stem);
  const std::string path = folder.path() + "/" + stem + (plain ? "" : ".gz");
  std::vector<uint8_t> bytes;
  if (plain) {
    bytes = folder.read(stem);
  } else {
    const auto packed = read_file(path);
    bytes = unzip(path, packed);
    folder.note(hex_digest(Digest::sha256, bytes), hex_digest(Digest::md5, packed) == official_md5);
  }
  const size_t header = 4 + 4 * static_cast<size_t>(rank);
  if (bytes.size() < header) fail("data", "{} has {} bytes, too few for an idx header", path, bytes.size());
  if (bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8 || bytes[3] != rank)
    fail("data", "{} starts with bytes {:02x} {:02x} {:02x} {:02x}, an idx file of {} starts with 00 00 08 {:02x}",
         path, bytes[0], bytes[1], bytes[2], bytes[3], rank == 3 ? "images" : "labels", rank);
  uint64_t size = 1;
  for (int i = 0; i < rank; ++i) {
    const uint8_t* p = bytes.data() + 4 + 4 * i;
    const uint32_t extent = uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
    if (extent == 0) fail("data", "{} says it holds nothing (extent {} is 0)", path, i);
    if (extent > 100'000'000 || size > (uint64_t{1} << 40) / extent)
      fail("data", "{} claims extent {} = {}: the header is damaged", path, i, extent);
    size *= extent;
    dims[i] = extent;
  }
  if (bytes.size() - header != size)
    fail("data",
         "{} holds {} bytes after its header, but the header says {}: it was cut off or is damaged; fetch it again",
         path, bytes.size() - header, size);
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header));
  return bytes;
}

Samples read_part(Folder& folder, const std::string& part, const char* const* md5, int classes) {
  int64_t images[3], labels[1];
  Samples s;
  const std::string stem = part + "-labels-idx1-ubyte";
  s.pixels = read_idx(folder, part + "-images-idx3-ubyte", md5[0], 3, images);
  const auto bytes = read_idx(folder, stem, md5[1], 1, labels);
  if (images[0] != labels[0])
    fail("data", "{}: {} has {} images but {} labels", folder.path(), part, images[0], labels[0]);
  if (images[1] > 4096 || images[2] > 4096)
    fail("data", "{}: images of {}x{} pixels in {}: 4096 is the most", folder.path(), images[1], images[2], part);
  s.h = static_cast<int>(images[1]), s.w = static_cast<int>(images[2]), s.channels = 1;
  for (size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] >= classes)
      fail("data", "{}/{}: label {} is {}, but labels are 0 to {}; the file is damaged, fetch it again", folder.path(),
           stem, i, static_cast<int>(bytes[i]), classes - 1);
  s.labels.assign(bytes.begin(), bytes.end());
  return s;
}

}  // namespace

TrainTest read_mnist(const std::string& path, const std::string& name, std::vector<std::string> class_names,
                     std::span<const char* const> md5) {
  Folder folder(path);
  const int classes = static_cast<int>(class_names.size());
  Samples train = read_part(folder, "train", md5.data(), classes);
  Samples test = read_part(folder, "t10k", md5.data() + 2, classes);
  return assemble(name, std::move(train), std::move(test), std::move(class_names), folder.digest(), folder.official());
}

}  // namespace tessera::data
