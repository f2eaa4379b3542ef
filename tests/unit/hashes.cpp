// The digests of builds without OpenSSL: the vectors of the standards, and those of whatever Digest uses, at every length around a block.
#include "tessera/train/data/hashes.h"

#include <doctest/doctest.h>

#include <string_view>
#include <vector>

#include "tessera/train/data/digest.h"

namespace tessera::data {
namespace {

std::string of(BlockHash::Kind kind, std::string_view text) {
  BlockHash h(kind);
  h.add({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return h.hex();
}

TEST_CASE("hashes of our own: the standards' vectors") {
  CHECK(of(BlockHash::sha256, "") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(of(BlockHash::sha256, "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(of(BlockHash::sha256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(of(BlockHash::sha256, std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(of(BlockHash::md5, "") == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(of(BlockHash::md5, "abc") == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(of(BlockHash::md5, "12345678901234567890123456789012345678901234567890123456789012345678901234567890") ==
        "57edf4a22be3c955ac49da2e2107b67a");
}

TEST_CASE("hashes of our own: as Digest, in one piece and in pieces") {
  std::vector<uint8_t> bytes(300);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(37 * i + i / 7);
  for (size_t n = 0; n <= bytes.size(); ++n) {
    CAPTURE(n);
    const auto part = std::span(bytes).first(n);
    for (const bool md5 : {false, true}) {
      const std::string want = hex_digest(md5 ? Digest::md5 : Digest::sha256, part);
      BlockHash whole(md5 ? BlockHash::md5 : BlockHash::sha256), pieces = whole;
      whole.add(part);
      for (size_t at = 0, step = 1; at < n; at += step, step = step % 71 + 5)
        pieces.add(part.subspan(at, std::min(step, n - at)));
      CHECK(whole.hex() == want);
      CHECK(pieces.hex() == want);
    }
  }
}

}  // namespace
}  // namespace tessera::data
