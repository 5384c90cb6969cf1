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

// What a pair of groups has for its sums: where they come from and where they go.
struct Place {
  const TileSums *from, *to;
  uint64_t group;
  const uint8_t* source(uint32_t band) const noexcept { return from->at + band * from->band + group * from->group; }
  uint8_t* target(uint32_t band) const noexcept { return to->at + band * to->band + group * to->group; }
};

// Two bands: what is loaded for one product serves the next one too. Rows pass through the first cache, the weights
// stay. A tile is loaded again as soon as its last product has begun: in minutes in which the core does not do loads
// and products at once of itself, that is a fifth of the time (docs/explanation/performance.md).
inline void two_bands(const TileProduct& p, const uint8_t* a, const uint8_t* b, const Place& c, uint32_t band,
                      const uint8_t* ahead) noexcept {
  if (p.add) {
    const uint8_t* from = c.source(band);
    const auto row = static_cast<int64_t>(c.from->row);
    _tile_loadd(0, from, row);
    _tile_loadd(1, from + c.from->group, row);
    _tile_loadd(2, from + c.from->band, row);
    _tile_loadd(3, from + c.from->band + c.from->group, row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  _tile_loadd(6, b, 64);
  _tile_stream_loadd(4, a, 64);
  _tile_stream_loadd(5, a + p.a_band, 64);
  _tile_loadd(7, b + p.b_group, 64);
  for (uint32_t i = 1; i < p.depth; ++i) {
    a += kTileBytes;
    b += kTileBytes;
    for (uint32_t l = 0; l < p.a_lines; ++l, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_stream_loadd(4, a, 64);
    _tile_dpbf16ps(3, 5, 7);
    _tile_stream_loadd(5, a + p.a_band, 64);
    _tile_loadd(7, b + p.b_group, 64);
  }
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(3, 5, 7);
  uint8_t* to = c.target(band);
  const auto row = static_cast<int64_t>(c.to->row);
  _tile_stored(0, to, row);
  _tile_stored(1, to + c.to->group, row);
  _tile_stored(2, to + c.to->band, row);
  _tile_stored(3, to + c.to->band + c.to->group, row);
}

inline void one_band(const TileProduct& p, const uint8_t* a, const uint8_t* b, const Place& c, uint32_t band) noexcept {
  if (p.add) {
    const uint8_t* from = c.source(band);
    const auto row = static_cast<int64_t>(c.from->row);
    _tile_loadd(0, from, row);
    _tile_loadd(1, from + c.from->group, row);
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
  uint8_t* to = c.target(band);
  const auto row = static_cast<int64_t>(c.to->row);
  _tile_stored(0, to, row);
  _tile_stored(1, to + c.to->group, row);
}

// The i-th of n shares.
inline void ask(const TileAhead& ahead, uint32_t i, uint32_t n) noexcept {
  const uint64_t share = (ahead.bytes / n + 63) / 64 * 64, end = (i + 1) * share;
  for (uint64_t at = i * share; at < end && at < ahead.bytes; at += 64) _mm_prefetch(ahead.at + at, _MM_HINT_T1);
}

void multiply_tiles(const TileProduct& p) noexcept {
  _tile_loadconfig(&kWholeTiles);
  for (uint32_t g = 0; g < p.groups; g += 2) {
    const uint8_t* b = p.b + g * p.b_group;
    const uint8_t* a = p.a;
    const Place on{&p.from, &p.to, g}, back{&p.from, &p.from, g};
    uint32_t band = 0;
    for (; band + 2 <= p.bands; band += 2, a += 2 * p.a_band) {
      ask(p.ahead[g], band / 2, p.bands / 2);
      ask(p.ahead[g + 1], band / 2, p.bands / 2);
      // Each pair of groups asks for its part of the bands' next stretch.
      const uint64_t part = static_cast<uint64_t>(g / 2) * p.a_lines * 64 * p.depth, half = p.depth * kTileBytes;
      const uint8_t* ahead = p.a_ahead + band * p.a_band + (part < half ? part : part - half + p.a_band);
      two_bands(p, a, b, band + 2 <= p.bands_to ? on : back, band, ahead);
    }
    if (p.bands == 1) {
      ask(p.ahead[g], 0, 1);
      ask(p.ahead[g + 1], 0, 1);
    }
    if (band < p.bands) one_band(p, a, b, band + 1 <= p.bands_to ? on : back, band);
  }
  _tile_release();
}

}  // namespace

// Everything that is no product of PROMPT rows is as on VNNI. Only Intel has AMX so far.
const Kernels* kernels_amx() noexcept {
  static const Kernels kTable = [] {
    Kernels k = *kernels_vnni_four_ahead();
    k.multiply_tiles = multiply_tiles;
    k.gemv_codes = gemv_codes_amx;
    k.dot_name = "amx";
    return k;
  }();
  return &kTable;
}

}  // namespace merritt::onednn
