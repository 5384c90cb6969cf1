// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "loops.hpp"

namespace merritt::limits {

uint64_t bf16_avx512(uint64_t rounds) noexcept {
  __m512 sum[12] = {};
  const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00));  // 0.5
  for (uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512& s : sum) {
      s = _mm512_dpbf16_ps(s, x, x);
      __asm__ volatile("" : "+v"(s));
    }
  }
  return rounds * 12 * 32 * 2;
}

}  // namespace merritt::limits
