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

namespace merritt::onednn {

inline constexpr uint32_t kTileDepth = 32, kTileRows = 16, kTileBytes = 1024;
/// Rows that share an opened weight, and the depth that is opened at once: two groups of it fill two thirds of the
/// first cache, and with the rows and sums beside it the second one holds all.
inline constexpr uint32_t kTileProductRows = 512, kTileProductDepth = 512;
/// Groups of a task, at most.
inline constexpr uint32_t kTileProductGroups = 8;

struct TileProduct {
  const uint8_t* a;  // bands, a_band bytes apart
  const uint8_t* b;  // groups, b_group bytes apart
  uint8_t* c;        // sums; groups side by side, bands c_band bytes apart
  uint64_t a_band, b_group, c_band;
  uint32_t bands, groups, depth;  // groups even, depth in tiles
  bool add;                       // to what lies in c
};

struct Kernels;
struct Packed;
/// `groups` groups of w from g0 on (even, at most kTileProductGroups; what lies past the end counts as zeros) times at
/// most kTileProductRows rows in bands from `a` on: a stretch of the depth is opened and meets all rows before the
/// next. opened: groups x min(depth, kTileProductDepth) x 32 bytes. sums: [bands][groups] tiles.
void multiply_in_tiles(const Kernels& k, const Packed& w, uint64_t g0, uint32_t groups, const uint8_t* a, uint32_t rows,
                       uint8_t* opened, float* sums) noexcept;

/// Byte of a row's first 32 inputs in its band; the following ones lie kTileBytes apart.
[[gnu::always_inline]] inline uint64_t tile_row(uint32_t row) noexcept { return row % kTileRows * kTileDepth * 2; }

}  // namespace merritt::onednn
