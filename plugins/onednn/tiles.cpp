// SPDX-License-Identifier: Apache-2.0
#include "onednn/tiles.hpp"

#include <algorithm>
#include <iterator>

#include "onednn/kernels.hpp"

namespace merritt::onednn {
namespace {

// The weights of inputs [at, at + kTileProductDepth), group by group.
void look_ahead(std::span<const TilePart> parts, uint32_t at, TileAhead* to) noexcept {
  for (const TilePart& part : parts) {
    const Packed& w = *part.w;
    const auto block = static_cast<uint32_t>(w.padded / w.blocks);
    const uint32_t b0 = at / block, n = std::min(kTileProductDepth / block, w.blocks - b0);
    for (uint32_t g = 0; g < part.groups; ++g, ++to) {
      if (part.g0 + g < w.groups) *to = {w.group(part.g0 + g) + b0 * w.block_bytes, n * w.block_bytes};
    }
  }
}

}  // namespace

uint32_t multiply_in_tiles(const Kernels& k, std::span<const TilePart> parts, std::span<const TilePart> next,
                           const uint8_t* a, uint32_t rows, uint8_t* opened, float* sums, float* out,
                           uint64_t out_row) noexcept {
  const auto padded = static_cast<uint32_t>(parts.front().w->padded);
  uint32_t groups = 0;
  for (const TilePart& part : parts) groups += part.groups;
  TileProduct p{};
  p.b = opened;
  p.a_band = static_cast<uint64_t>(padded) * kTileRows * 2;
  p.from = {reinterpret_cast<uint8_t*>(sums), kTileDepth * 2, kTileBytes, static_cast<uint64_t>(groups) * kTileBytes};
  p.to = p.from;
  p.bands = (rows + kTileRows - 1) / kTileRows;
  p.groups = groups;
  for (uint32_t at = 0; at < padded; at += kTileProductDepth) {
    const uint32_t inputs = std::min(kTileProductDepth, padded - at);
    p.depth = inputs / kTileDepth;
    p.b_group = static_cast<uint64_t>(p.depth) * kTileBytes;
    uint8_t* to = opened;
    for (const TilePart& part : parts) {
      const auto block = static_cast<uint32_t>(part.w->padded / part.w->blocks);
      for (uint32_t g = 0; g < part.groups; ++g, to += p.b_group) {
        k.open_tiles(*part.w, part.g0 + g, at / block, inputs / block, reinterpret_cast<uint16_t*>(to));
      }
    }
    p.a = a + static_cast<uint64_t>(at) / kTileDepth * kTileBytes;
    p.add = at != 0;
    const bool last = at + inputs == padded;
    std::fill(std::begin(p.ahead), std::end(p.ahead), TileAhead{});
    look_ahead(last ? next : parts, last ? 0 : at + inputs, p.ahead);
    p.a_ahead = a + static_cast<uint64_t>(last ? 0 : at + inputs) / kTileDepth * kTileBytes;
    p.a_lines = last && next.front().groups == 0 ? 0 : 2 * kTileRows / (groups / 2);  // of two bands, by all pairs
    if (last && out != nullptr) {
      p.to = {reinterpret_cast<uint8_t*>(out), out_row, kTileRows * sizeof(float), kTileRows * out_row};
      p.bands_to = rows % kTileRows == 0 ? p.bands : rows / (2 * kTileRows) * 2;
    }
    k.multiply_tiles(p);
  }
  return p.bands_to * kTileRows;
}

}  // namespace merritt::onednn
