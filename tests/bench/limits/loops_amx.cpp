// SPDX-License-Identifier: Apache-2.0
// Four sums of 16 x 16, two tiles on either side, all in the tile registers.
#include <immintrin.h>

#include <cstring>

#include "loops.hpp"

namespace merritt::limits {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// A constant, because GCC 12 thinks that the instruction reads eight bytes of it and would leave out the other stores.
constexpr TileConfig kWholeTiles = [] {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  return config;
}();

void open_tiles() noexcept {
  _tile_loadconfig(&kWholeTiles);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
}

}  // namespace

uint64_t int8_amx(uint64_t rounds) noexcept {
  open_tiles();
  for (uint64_t i = 0; i < rounds; ++i) {
    _tile_dpbssd(4, 0, 2);
    _tile_dpbssd(5, 0, 3);
    _tile_dpbssd(6, 1, 2);
    _tile_dpbssd(7, 1, 3);
  }
  _tile_release();
  return rounds * 4 * 16 * 16 * 64 * 2;
}

uint64_t bf16_amx(uint64_t rounds) noexcept {
  open_tiles();
  for (uint64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(4, 0, 2);
    _tile_dpbf16ps(5, 0, 3);
    _tile_dpbf16ps(6, 1, 2);
    _tile_dpbf16ps(7, 1, 3);
  }
  _tile_release();
  return rounds * 4 * 16 * 16 * 32 * 2;
}

}  // namespace merritt::limits
