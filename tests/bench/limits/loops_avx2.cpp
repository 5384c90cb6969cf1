// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "loops.hpp"

namespace merritt::limits {

uint64_t read_avx2(const uint8_t* data, uint64_t bytes) noexcept {
  const uint64_t stream = bytes / 4;
  __m256i sum[4] = {};
  for (uint64_t i = 0; i < stream; i += 64) {
#pragma GCC unroll 4
    for (uint64_t s = 0; s < 4; ++s) {
      const uint8_t* line = data + s * stream + i;
      sum[s] = _mm256_add_epi64(sum[s], _mm256_load_si256(reinterpret_cast<const __m256i*>(line)));
      sum[s] = _mm256_xor_si256(sum[s], _mm256_load_si256(reinterpret_cast<const __m256i*>(line + 32)));
    }
  }
  const __m256i all = _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0) + _mm256_extract_epi64(all, 2));
}

// Ten sums are enough for two multipliers of latency 5, and fit the sixteen registers. The empty assembly keeps each
// sum in a register and the loop from being folded.
uint64_t f32_fma_avx2(uint64_t rounds) noexcept {
  __m256 sum[10] = {};
  const __m256 x = _mm256_set1_ps(0.5f);
  for (uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (__m256& s : sum) {
      s = _mm256_fmadd_ps(x, x, s);
      __asm__ volatile("" : "+x"(s));
    }
  }
  return rounds * 10 * 8 * 2;
}

}  // namespace merritt::limits
