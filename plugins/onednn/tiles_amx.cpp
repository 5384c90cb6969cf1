// SPDX-License-Identifier: Apache-2.0
// The kernel of level MRT_ISA_AMX: two bands by two groups in the eight tile registers, four of them sums.
#include <immintrin.h>

#include "onednn/kernels.hpp"
#include "onednn/tile_config.hpp"
#include "onednn/tiles.hpp"

namespace merritt::onednn {
namespace {

constexpr TileConfig kWholeTiles = [] {
  TileConfig c;
  for (int i = 0; i < 8; ++i) c.set(i, 16, 64);
  return c;
}();

// Two bands: what is loaded for one product serves the next one too. Rows pass through the first cache, the weights
// stay.
inline void two_bands(const TileProduct& p, const uint8_t* a, const uint8_t* b, uint8_t* c) noexcept {
  if (p.add) {
    _tile_loadd(0, c, 64);
    _tile_loadd(1, c + kTileBytes, 64);
    _tile_loadd(2, c + p.c_band, 64);
    _tile_loadd(3, c + p.c_band + kTileBytes, 64);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (uint32_t i = 0; i < p.depth; ++i, a += kTileBytes, b += kTileBytes) {
    _tile_loadd(6, b, 64);
    _tile_stream_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + p.b_group, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_stream_loadd(5, a + p.a_band, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, 64);
  _tile_stored(1, c + kTileBytes, 64);
  _tile_stored(2, c + p.c_band, 64);
  _tile_stored(3, c + p.c_band + kTileBytes, 64);
}

inline void one_band(const TileProduct& p, const uint8_t* a, const uint8_t* b, uint8_t* c) noexcept {
  if (p.add) {
    _tile_loadd(0, c, 64);
    _tile_loadd(1, c + kTileBytes, 64);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  for (uint32_t i = 0; i < p.depth; ++i, a += kTileBytes, b += kTileBytes) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + p.b_group, 64);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, c, 64);
  _tile_stored(1, c + kTileBytes, 64);
}

void multiply_tiles(const TileProduct& p) noexcept {
  _tile_loadconfig(&kWholeTiles);
  for (uint32_t g = 0; g < p.groups; g += 2) {
    const uint8_t* b = p.b + g * p.b_group;
    const uint8_t* a = p.a;
    uint8_t* c = p.c + static_cast<uint64_t>(g) * kTileBytes;
    uint32_t band = 0;
    for (; band + 2 <= p.bands; band += 2, a += 2 * p.a_band, c += 2 * p.c_band) two_bands(p, a, b, c);
    if (band < p.bands) one_band(p, a, b, c);
  }
  _tile_release();
}

}  // namespace

// Everything that is no product of PROMPT rows is as on VNNI. Only Intel has AMX so far.
const Kernels* kernels_amx() noexcept {
  static const Kernels kTable = [] {
    Kernels k = *kernels_vnni_ahead();
    k.multiply_tiles = multiply_tiles;
    k.gemv_q15 = gemv_q15_amx;
    k.dot_name = "amx";
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
