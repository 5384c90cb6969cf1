// SPDX-License-Identifier: Apache-2.0
// The head of a pack file: what the packed weights in it belong to, how they are cut into chunks, and where they lie.
// A stranger may have written it: nothing in it is believed before its tag was checked (pack_mac.hpp), and parsing it
// takes memory only for a header.
//
//   head                  kHeadBytes, this struct
//   tag of the head       kTagBytes
//   tag of each chunk     kTagBytes each
//   zeros                 up to a multiple of kDataAlign
//   chunks                chunk_bytes each, the last one shorter
//
// Threads: no state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.hpp"

namespace merritt::model::pack {

inline constexpr size_t kHeadBytes = 96;
inline constexpr size_t kTagBytes = 16;
inline constexpr uint64_t kDataAlign = 4096;
inline constexpr uint32_t kChunkBytes = 2u << 20;  // of what is written: a huge page

using Binding = std::array<uint8_t, 32>;
using Tag = std::array<uint8_t, kTagBytes>;

struct PackHeader {
  uint32_t chunk_bytes = kChunkBytes;
  uint64_t bytes = 0;              // of all chunks
  std::array<uint8_t, 32> salt{};  // drawn for each file: no two are tagged under the same key
  Binding binding{};               // digest of what the bytes belong to

  uint64_t chunks() const { return bytes / chunk_bytes + (bytes % chunk_bytes != 0); }
  // Where the chunks begin, and where the file ends. The header is one that parse_header() or a writer made.
  uint64_t data_at() const;
  uint64_t file_bytes() const { return data_at() + bytes; }
};

using Head = std::array<std::byte, kHeadBytes>;
Head encode_header(const PackHeader& header);
// kCorrupt, with the reason, unless `head` is one that encode_header() makes and the file is as long as it says.
Result<PackHeader> parse_header(std::span<const std::byte> head, uint64_t file_bytes);

}  // namespace merritt::model::pack
