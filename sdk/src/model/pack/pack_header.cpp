// SPDX-License-Identifier: Apache-2.0
#include "model/pack/pack_header.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "base/checked.hpp"

namespace merritt::model::pack {
namespace {

// Little-endian: "MRTPACK" and the version of the format.
constexpr uint64_t kMagic = 0x01'4B'43'41'50'54'52'4Du;
constexpr uint32_t kChunkBytesMin = 64u << 10, kChunkBytesMax = 64u << 20;
constexpr uint64_t kBytesMax = uint64_t{1} << 48;

// Numbers and bytes one after another; the same walk writes and reads.
class Cursor {
 public:
  explicit Cursor(std::span<std::byte> out) : out_(out) {}
  void number(uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) out_[at_++] = static_cast<std::byte>(value >> (8 * i));
  }
  void bytes(std::span<const uint8_t> from) {
    for (const uint8_t b : from) out_[at_++] = static_cast<std::byte>(b);
  }

 private:
  std::span<std::byte> out_;
  size_t at_ = 0;
};

class Parser {
 public:
  explicit Parser(std::span<const std::byte> in) : in_(in) {}
  uint64_t number(size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= std::to_integer<uint64_t>(in_[at_++]) << (8 * i);
    return value;
  }
  void bytes(std::span<uint8_t> to) {
    for (uint8_t& b : to) b = std::to_integer<uint8_t>(in_[at_++]);
  }

 private:
  std::span<const std::byte> in_;
  size_t at_ = 0;
};

Status corrupt(std::string text) { return Status(Code::kCorrupt, std::move(text)); }

}  // namespace

uint64_t PackHeader::data_at() const {
  const uint64_t tags = kHeadBytes + (1 + chunks()) * kTagBytes;
  return (tags + kDataAlign - 1) / kDataAlign * kDataAlign;
}

Head encode_header(const PackHeader& header) {
  Head head{};
  Cursor out(head);
  out.number(kMagic, 8);
  out.number(kHeadBytes, 4);
  out.number(header.chunk_bytes, 4);
  out.number(header.bytes, 8);
  out.number(0, 8);  // reserved
  out.bytes(header.salt);
  out.bytes(header.binding);
  return head;
}

Result<PackHeader> parse_header(std::span<const std::byte> head, uint64_t file_bytes) {
  if (head.size() < kHeadBytes) return corrupt("it is shorter than a header");
  Parser in(head);
  if (in.number(8) != kMagic) return corrupt("it does not begin like a pack file of this version");
  if (in.number(4) != kHeadBytes) return corrupt("its header has another size");
  PackHeader header;
  header.chunk_bytes = static_cast<uint32_t>(in.number(4));
  header.bytes = in.number(8);
  if (in.number(8) != 0) return corrupt("its header uses bytes that have no meaning yet");
  in.bytes(header.salt);
  in.bytes(header.binding);
  if (!std::has_single_bit(header.chunk_bytes) || header.chunk_bytes < kChunkBytesMin ||
      header.chunk_bytes > kChunkBytesMax) {
    return corrupt("chunks of " + std::to_string(header.chunk_bytes) + " bytes are not possible");
  }
  if (header.bytes == 0 || header.bytes > kBytesMax) {
    return corrupt("it claims " + std::to_string(header.bytes) + " bytes of weights");
  }
  // At most 2^48 bytes in at least 64 KiB each: no sum below overflows.
  if (header.file_bytes() != file_bytes) {
    return corrupt("it has " + std::to_string(file_bytes) + " bytes; its header says " +
                   std::to_string(header.file_bytes()));
  }
  return header;
}

}  // namespace merritt::model::pack
