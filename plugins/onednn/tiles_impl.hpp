// SPDX-License-Identifier: Apache-2.0
// Weights and rows as tiles of bf16 (tiles.hpp). Include only from ISA files with AVX512_BF16, after matrix_impl.hpp
// and rows_impl.hpp.
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

inline void gate_tile(const float* a, const float* b, uint32_t act, uint16_t* to) {
  for (uint64_t row = 0; row < 16; ++row) {
    for (uint64_t half = 0; half < 2; ++half) {
      const uint64_t at = half * 256 + row * 16;
      const F y = Simd::mul(act_of(Simd::load(a + at), act), Simd::load(b + at));
      Simd::store_bf16(reinterpret_cast<uint8_t*>(to + row * 32 + half * 16), y);
    }
  }
}

}  // namespace
