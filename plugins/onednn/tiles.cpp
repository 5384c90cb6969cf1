// SPDX-License-Identifier: Apache-2.0
#include "onednn/tiles.hpp"

#include <algorithm>

#include "onednn/kernels.hpp"

namespace merritt::onednn {

uint32_t multiply_in_tiles(const Kernels& k, const Packed& w, uint64_t g0, uint32_t groups, const uint8_t* a,
                           uint32_t rows, uint8_t* opened, float* sums, float* out, uint64_t out_row) noexcept {
  const auto block = static_cast<uint32_t>(w.padded / w.blocks);
  const uint32_t at_once = kTileProductDepth / block, tiles = block / kTileDepth;
  TileProduct p{};
  p.b = opened;
  p.a_band = w.padded * kTileRows * 2;
  p.from = {reinterpret_cast<uint8_t*>(sums), kTileDepth * 2, kTileBytes, static_cast<uint64_t>(groups) * kTileBytes};
  p.to = p.from;
  p.bands = (rows + kTileRows - 1) / kTileRows;
  p.groups = groups;
  for (uint32_t b = 0; b < w.blocks; b += at_once) {
    const uint32_t blocks = std::min(at_once, w.blocks - b);
    p.depth = blocks * tiles;
    p.b_group = static_cast<uint64_t>(p.depth) * kTileBytes;
    for (uint32_t g = 0; g < groups; ++g) {
      k.open_tiles(w, g0 + g, b, blocks, reinterpret_cast<uint16_t*>(opened + g * p.b_group));
    }
    p.a = a + static_cast<uint64_t>(b) * tiles * kTileBytes;
    p.add = b != 0;
    if (b + blocks == w.blocks && out != nullptr) {
      p.to = {reinterpret_cast<uint8_t*>(out), out_row, kTileRows * sizeof(float), kTileRows * out_row};
      p.bands_to = rows % kTileRows == 0 ? p.bands : rows / (2 * kTileRows) * 2;
    }
    k.multiply_tiles(p);
  }
  return p.bands_to * kTileRows;
}

}  // namespace merritt::onednn
