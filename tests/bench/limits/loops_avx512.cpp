// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "loops.hpp"

namespace merritt::limits {

uint64_t read_avx512(const uint8_t* data, uint64_t bytes) noexcept {
  const uint64_t stream = bytes / 4;
  __m512i sum[4] = {};
  for (uint64_t i = 0; i < stream; i += 64) {
#pragma GCC unroll 4
    for (uint64_t s = 0; s < 4; ++s) {
      sum[s] = _mm512_add_epi64(sum[s], _mm512_load_si512(data + s * stream + i));
    }
  }
  const __m512i all = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, all);
  return lanes[0] + lanes[7];
}

uint64_t f32_fma_avx512(uint64_t rounds) noexcept {
  __m512 sum[12] = {};
  const __m512 x = _mm512_set1_ps(0.5f);
  for (uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512& s : sum) {
      s = _mm512_fmadd_ps(x, x, s);
      __asm__ volatile("" : "+v"(s));
    }
  }
  return rounds * 12 * 16 * 2;
}

}  // namespace merritt::limits
