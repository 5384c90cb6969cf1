// SPDX-License-Identifier: Apache-2.0
#include "onednn/packed.hpp"

#include <cstring>

#include "onednn/transpose.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

enum class PartKind : uint8_t { kCopy, kFlip, kFifth };
/// `count` elements of `size` bytes at `at` of a source block.
struct Part {
  uint16_t at, size, count;
  PartKind kind = PartKind::kCopy;
};
struct Recipe {
  uint32_t type;
  Part parts[6];
};
constexpr Recipe kRecipes[] = {
    {kQ4_0, {{0, 2, 1}, {2, 4, 4}}},
    {kIQ4_NL, {{0, 2, 1}, {2, 4, 4}}},
    {kQ4_1, {{0, 2, 1}, {2, 2, 1}, {4, 4, 4}}},
    {kQ5_0, {{0, 2, 1}, {2, 4, 1, PartKind::kFifth}, {6, 4, 4}}},
    {kQ5_1, {{0, 2, 1}, {2, 2, 1}, {4, 4, 1, PartKind::kFifth}, {8, 4, 4}}},
    {kQ8_0, {{0, 2, 1}, {2, 4, 8, PartKind::kFlip}}},
    {kQ2_K, {{80, 2, 1}, {82, 2, 1}, {0, 1, 16}, {16, 4, 16}}},
    {kQ3_K, {{108, 2, 1}, {96, 1, 12}, {0, 4, 8}, {32, 4, 16}}},
    {kQ4_K, {{0, 2, 1}, {2, 2, 1}, {4, 1, 12}, {16, 4, 32}}},
    {kQ5_K, {{0, 2, 1}, {2, 2, 1}, {4, 1, 12}, {16, 4, 8}, {48, 4, 32}}},
    {kQ6_K, {{208, 2, 1}, {192, 1, 16}, {128, 4, 8}, {0, 4, 16}, {160, 4, 8}, {64, 4, 16}}},
    {kF32, {{0, 4, 32}}},
    {kF16, {{0, 2, 32}}},
    {kBF16, {{0, 2, 32}}},
};

const Recipe* recipe_of(uint32_t type) noexcept {
  for (const Recipe& r : kRecipes) {
    if (r.type == type) return &r;
  }
  return nullptr;
}

bool is_float(uint32_t type) noexcept { return type == kF32 || type == kF16 || type == kBF16; }

void fifth_bits(const uint8_t* const* from, uint32_t at, uint8_t* to) noexcept {
  uint64_t masks[8] = {};
  for (uint32_t r = 0; r < kLanes; ++r) {
    uint32_t bits;
    std::memcpy(&bits, from[r] + at, sizeof bits);
    for (uint32_t q = 0; q < 8; ++q) masks[q] |= static_cast<uint64_t>((bits >> (4 * q)) & 15u) << (4 * r);
  }
  std::memcpy(to, masks, sizeof masks);
}

void pack_block(const Recipe& recipe, const uint8_t* const* from, uint8_t* to) noexcept {
  for (const Part& part : recipe.parts) {
    if (part.count == 0) break;
    const uint32_t bytes = static_cast<uint32_t>(part.size) * part.count * kLanes;
    if (part.kind == PartKind::kFifth) {
      fifth_bits(from, part.at, to);
    } else if (part.size == 4) {
      transpose<4>(from, part.at, part.count, part.kind == PartKind::kFlip ? 0x80808080u : 0u, to);
    } else if (part.size == 2) {
      transpose<2>(from, part.at, part.count, 0, to);
    } else {
      transpose<1>(from, part.at, part.count, 0, to);
    }
    to += bytes;
  }
}

}  // namespace

bool describe_packed(uint32_t type, uint64_t rows, uint64_t cols, Packed* out) noexcept {
  const TypeInfo* info = type_info(type);
  if (info == nullptr || recipe_of(type) == nullptr || rows == 0 || cols == 0) return false;
  if (cols % info->block_elements != 0 || cols > UINT32_MAX || rows > UINT32_MAX) return false;
  const uint32_t block = is_float(type) ? 32 : info->block_elements;
  const uint64_t source = is_float(type) ? 32 * info->block_bytes : info->block_bytes;
  Packed w;
  w.type = type;
  w.rows = rows;
  w.cols = cols;
  w.padded = (cols + 31) / 32 * 32;
  w.blocks = static_cast<uint32_t>((cols + block - 1) / block);
  w.groups = (rows + kLanes - 1) / kLanes;
  w.block_bytes = source * kLanes;
  w.group_bytes = (w.blocks * w.block_bytes + 63) / 64 * 64;
  *out = w;
  return true;
}

void pack_group(const Packed& w, const uint8_t* const* rows16, uint8_t* dst) noexcept {
  static constexpr uint8_t kZeros[256] = {};
  const Recipe& recipe = *recipe_of(w.type);
  const uint64_t source_block = w.block_bytes / kLanes;
  uint8_t tail[kLanes][128];
  for (uint32_t b = 0; b < w.blocks; ++b) {
    const uint64_t at = b * source_block;
    const uint64_t left = plugin::row_bytes(w.type, w.cols) - at;
    const uint8_t* from[kLanes];
    for (uint32_t r = 0; r < kLanes; ++r) {
      from[r] = rows16[r] == nullptr ? kZeros : rows16[r] + at;
      if (rows16[r] != nullptr && left < source_block) {  // only floats have a block that the row does not fill
        std::memset(tail[r], 0, sizeof tail[r]);
        std::memcpy(tail[r], rows16[r] + at, left);
        from[r] = tail[r];
      }
    }
    pack_block(recipe, from, dst + b * w.block_bytes);
  }
}

}  // namespace merritt::onednn
