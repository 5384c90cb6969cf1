// SPDX-License-Identifier: Apache-2.0
// Any bytes as a plugin manifest: refused, or exactly what the encoder would have written.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "backend/manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace merritt::backend;
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  auto decoded = decode_signed(file);
  if (!decoded.ok()) return 0;
  auto payload = encode_payload(decoded.value().manifest);
  if (!payload.ok() || payload.value() != decoded.value().payload) std::abort();  // two files that mean the same
  const auto again = encode_signed(decoded.value().payload, decoded.value().signature, decoded.value().key_id);
  if (!std::equal(again.begin(), again.end(), file.begin(), file.end())) std::abort();
  return 0;
}
