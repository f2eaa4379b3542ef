#include "tessera/train/data/digest.h"

#include <fmt/format.h>

#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/io/read_file.h"
#if TESSERA_HAVE_OPENSSL
#include <openssl/evp.h>
#else
#include "tessera/train/data/hashes.h"
#endif

namespace tessera::data {

#if TESSERA_HAVE_OPENSSL

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(Kind kind) : state_(std::make_unique<State>()) {
  const EVP_MD* method = kind == md5 ? EVP_md5() : EVP_sha256();
  if (!state_->context || EVP_DigestInit_ex(state_->context, method, nullptr) != 1)
    fail("digest", "OpenSSL offers no {} here", kind == md5 ? "MD5 (is it in FIPS mode?)" : "SHA-256");
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;

Digest& Digest::add(std::span<const uint8_t> bytes) {
  EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
  return *this;
}

Digest& Digest::add(std::string_view text) {
  EVP_DigestUpdate(state_->context, text.data(), text.size());
  return *this;
}

std::string Digest::hex() {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(state_->context, out, &size);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", out[i]);
  return text;
}

#else

struct Digest::State {
  BlockHash hash;
};

Digest::Digest(Kind kind)
    : state_(std::make_unique<State>(State{BlockHash(kind == md5 ? BlockHash::md5 : BlockHash::sha256)})) {}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;

Digest& Digest::add(std::span<const uint8_t> bytes) {
  state_->hash.add(bytes);
  return *this;
}

Digest& Digest::add(std::string_view text) {
  return add(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

std::string Digest::hex() { return state_->hash.hex(); }

#endif

std::string hex_digest(Digest::Kind kind, std::span<const uint8_t> bytes) { return Digest(kind).add(bytes).hex(); }

std::string file_digest(Digest::Kind kind, const std::string& path) {
  io::RegularFile file(path, "data");
  Digest digest(kind);
  std::vector<uint8_t> block(1 << 18);
  while (const size_t n = file.read(block.data(), block.size())) digest.add({block.data(), n});
  return digest.hex();
}

}  // namespace tessera::data
