// SPDX-License-Identifier: Apache-2.0
// Sixteen floats in one AVX-512 register.
#pragma once

#include <immintrin.h>

#include <cstdint>

// GCC 12 warns about the deliberately undefined operands inside its own AVX-512 intrinsics.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace merritt::sampling {
namespace {

struct Lanes {
  __m512 v;
  static Lanes load(const float* x) { return {_mm512_loadu_ps(x)}; }
  static Lanes all(float x) { return {_mm512_set1_ps(x)}; }
  void store(float* x) const { _mm512_storeu_ps(x, v); }
};
inline Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Lanes fused(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }  // a * b + c, rounded once
// The second where they are equal or one is not a number.
inline Lanes larger(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
// 2^n for the integer n in the low bits of a shifted float.
inline Lanes power_of_two(Lanes shifted) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(shifted.v), 23))};
}

inline __mmask16 at_least(Lanes a, Lanes b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }
inline __mmask16 both(__mmask16 a, __mmask16 b) { return _kand_mask16(a, b); }
inline Lanes where(__mmask16 mask, Lanes a) { return {_mm512_maskz_mov_ps(mask, a.v)}; }
inline uint32_t bits_of(__mmask16 mask) { return mask; }

}  // namespace
}  // namespace merritt::sampling
