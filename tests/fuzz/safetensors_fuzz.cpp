// Entry of libFuzzer; built with clang and -DTESSERA_FUZZ=ON.
#include "tests/fuzz/safetensors_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tessera::io::fuzz_safetensors(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
