// SPDX-License-Identifier: Apache-2.0
// Sixteen floats in two AVX2 registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace merritt::sampling {
namespace {

struct Lanes {
  __m256 lo, hi;
  static Lanes load(const float* x) { return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
  static Lanes all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  void store(float* x) const {
    _mm256_storeu_ps(x, lo);
    _mm256_storeu_ps(x + 8, hi);
  }
};
inline Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Lanes fused(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}  // a * b + c, rounded once
// The second where they are equal or one is not a number.
inline Lanes larger(Lanes a, Lanes b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
// 2^n for the integer n in the low bits of a shifted float.
inline __m256 power_of_two(__m256 shifted) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23));
}
inline Lanes power_of_two(Lanes shifted) { return {power_of_two(shifted.lo), power_of_two(shifted.hi)}; }

struct Mask {
  __m256 lo, hi;
};
inline Mask at_least(Lanes a, Lanes b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ)};
}
inline Mask both(Mask a, Mask b) { return {_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)}; }
inline Lanes where(Mask mask, Lanes a) { return {_mm256_and_ps(mask.lo, a.lo), _mm256_and_ps(mask.hi, a.hi)}; }
inline uint32_t bits_of(Mask mask) {
  const auto lo = static_cast<uint32_t>(_mm256_movemask_ps(mask.lo));
  return lo | static_cast<uint32_t>(_mm256_movemask_ps(mask.hi)) << 8;
}

}  // namespace
}  // namespace merritt::sampling
