// SPDX-License-Identifier: Apache-2.0
// Weights as tiles of bf16 (tiles.hpp). Include only from ISA files with AVX512_BF16, after matrix_impl.hpp.
#pragma once
#include "onednn/kernels.hpp"

namespace {

// Blocks [b0, b0 + n) of one group: 64 bytes for each two inputs, which is one tile after another. A group past the end
// is zeros.
inline void open_tiles(const Packed& w, uint64_t g, uint32_t b0, uint32_t n, uint16_t* to) {
  if (g >= w.groups || w.type != merritt::plugin::kBF16) return open_bf16(w, g, b0, n, to, 32);
  const uint8_t* p = w.group(g) + b0 * w.block_bytes;  // only the order changes
  for (uint32_t i = 0; i < n * 16; ++i) Simd::store_i(to + i * 32, Simd::mix_halves(Simd::load_i(p + i * 64)));
}

}  // namespace
