// SPDX-License-Identifier: Apache-2.0
// Any bytes as the head of a pack file: refused, or exactly what the encoder would have written, with every chunk
// inside the file. The first eight bytes are the file's length.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "model/pack/pack_header.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace merritt::model::pack;
  uint64_t file_bytes = 0;
  if (size < sizeof(file_bytes)) return 0;
  std::memcpy(&file_bytes, data, sizeof(file_bytes));
  const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(data) + sizeof(file_bytes),
                                        size - sizeof(file_bytes));
  auto header = parse_header(head, file_bytes);
  if (!header.ok()) return 0;
  const Head again = encode_header(*header);
  if (std::memcmp(again.data(), head.data(), again.size()) != 0) std::abort();  // two heads that mean the same
  if (header->chunks() == 0 || header->data_at() % kDataAlign != 0) std::abort();
  if (header->data_at() < kHeadBytes + (1 + header->chunks()) * kTagBytes) std::abort();
  const uint64_t last = (header->chunks() - 1) * header->chunk_bytes;
  if (last >= header->bytes || header->bytes - last > header->chunk_bytes) std::abort();
  if (header->file_bytes() != file_bytes) std::abort();
  return 0;
}
