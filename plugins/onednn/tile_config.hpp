// SPDX-License-Identifier: Apache-2.0
// What the tile registers hold. Configurations are constants, because GCC 12 thinks that the instruction reads eight
// bytes of one and would leave out the other stores. Only for *_amx.cpp.
#pragma once
#include <cstdint>

namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
  constexpr void set(int tile, int n_rows, int n_bytes) {
    rows[tile] = static_cast<uint8_t>(n_rows);
    row_bytes[tile] = static_cast<uint16_t>(n_bytes);
  }
};

}  // namespace
