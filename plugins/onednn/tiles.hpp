// SPDX-License-Identifier: Apache-2.0
// PROMPT products on AMX (Intel AMX, "Intrinsics for Intel(R) Advanced Matrix Extensions": TDPBF16PS). All operands lie
// as tiles of 1 KiB, one after another along the depth, so that a tile load touches sixteen whole lines in a row
// whatever the width of the model; rows a power of two apart would fall into one set of the first cache.
//   activations  band of 16 rows: [depth / 32][16 rows][32 inputs]
//   weights      group of 16 outputs: [depth / 32][16 pairs of inputs][16 outputs][2]
//   sums         [band][group][16 rows][16 outputs] f32
// A sum is one chain over the depth whatever is multiplied beside it, so a row's bits do not depend on the cut.
#pragma once
#include <cstdint>
#include <span>

namespace merritt::onednn {

inline constexpr uint32_t kTileDepth = 32, kTileRows = 16, kTileBytes = 1024;
/// Rows that share an opened weight, and the depth that is opened at once: two groups of it fill two thirds of the
/// first cache, and with the rows and sums beside it the second one holds all.
inline constexpr uint32_t kTileProductRows = 512, kTileProductDepth = 512;
/// Groups of a task, at most; and of one over a shallow depth. Rows come from the third cache once for each task and
/// stretch: sixteen groups halve that, but over a shallow depth their sums cost more than it saves.
inline constexpr uint32_t kTileProductGroups = 16, kTileShallowGroups = 8, kTileShallow = 4096;

/// Where sums lie: tiles of 16 rows by 16 outputs, `row` bytes from row to row, tiles `group` and `band` bytes apart.
struct TileSums {
  uint8_t* at;
  uint64_t row, group, band;
};

// Bytes that are wanted soon, in the second cache.
struct TileAhead {
  const uint8_t* at;
  uint64_t bytes;
};

struct TileProduct {
  const uint8_t* a;  // bands, a_band bytes apart
  const uint8_t* b;  // groups, b_group bytes apart
  uint64_t a_band, b_group;
  TileSums from, to;              // may be the same
  uint32_t bands, groups, depth;  // groups even, depth in tiles
  uint32_t bands_to;              // so many, the last ones of a pair together, go to `to`, the others back to `from`
  bool add;                       // to what lies in `from`
  TileAhead ahead[kTileProductGroups];  // asked for beside the products of each group
  const uint8_t* a_ahead;               // as `a`, of the next stretch
  uint32_t a_lines;                     // of it asked for beside each tile of the depth; 0 = none
};

struct Kernels;
struct Packed;
/// Groups of a matrix from g0 on; what lies past its end counts as zeros.
struct TilePart {
  const Packed* w;
  uint64_t g0;
  uint32_t groups;
};
/// Parts of the same padded depth, of an even number of groups and at most kTileProductGroups together, times at most
/// kTileProductRows rows in bands from `a` on: a stretch of the depth is opened and meets all rows before the next.
/// opened: groups x min(depth, kTileProductDepth) x 32 bytes. sums: [bands][groups] tiles, the parts one after another.
/// The last stretch goes to the rows at `out` instead, out_row bytes apart, where out is not null and these are whole
/// bands. Returns the rows that went there, from the first on. While a stretch is multiplied the weights of the next
/// one are asked for, and in the last one the first of `next`: parts that may be wanted after these.
uint32_t multiply_in_tiles(const Kernels& k, std::span<const TilePart> parts, std::span<const TilePart> next,
                           const uint8_t* a, uint32_t rows, uint8_t* opened, float* sums, float* out,
                           uint64_t out_row) noexcept;

/// Byte of a row's first 32 inputs in its band; the following ones lie kTileBytes apart.
[[gnu::always_inline]] inline uint64_t tile_row(uint32_t row) noexcept { return row % kTileRows * kTileDepth * 2; }

}  // namespace merritt::onednn
