// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "loops.hpp"

namespace merritt::limits {

uint64_t int8_vnni(uint64_t rounds) noexcept {
  __m512i sum[12] = {};
  const __m512i x = _mm512_set1_epi8(1);
  for (uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& s : sum) {
      s = _mm512_dpbusd_epi32(s, x, x);
      __asm__ volatile("" : "+v"(s));
    }
  }
  return rounds * 12 * 64 * 2;
}

}  // namespace merritt::limits
