// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes on AVX2 + FMA + F16C, as two registers of eight: the kernels are written once for sixteen lanes. Only
// for
// *_avx2.cpp; the anonymous namespace keeps its functions out of every other object.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define MERRITT_INLINE static inline __attribute__((always_inline))

namespace {

struct Simd {
  struct F {
    __m256 a, b;
  };
  struct I {
    __m256i a, b;
  };
  static constexpr int kRowTile = 4;
  static constexpr bool kBf16 = false;
  static constexpr int kQueryTile = 4, kKeyVectors = 1;

  MERRITT_INLINE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  MERRITT_INLINE F set1(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  MERRITT_INLINE F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  MERRITT_INLINE void store(float* p, F v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
  }
  MERRITT_INLINE __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  MERRITT_INLINE F load_n(const float* p, int n) {
    return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
  }
  MERRITT_INLINE void store_n(float* p, F v, int n) {
    _mm256_maskstore_ps(p, first_lanes(n), v.a);
    _mm256_maskstore_ps(p + 8, first_lanes(n - 8), v.b);
  }
  MERRITT_INLINE F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  MERRITT_INLINE F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  MERRITT_INLINE F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  MERRITT_INLINE F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  MERRITT_INLINE F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  MERRITT_INLINE F fms(F x, F y, F z) { return {_mm256_fmsub_ps(x.a, y.a, z.a), _mm256_fmsub_ps(x.b, y.b, z.b)}; }
  MERRITT_INLINE F fnma(F x, F y, F z) { return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)}; }
  MERRITT_INLINE F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  MERRITT_INLINE F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  MERRITT_INLINE F abs(F x) {
    const __m256 keep = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return {_mm256_and_ps(x.a, keep), _mm256_and_ps(x.b, keep)};
  }
  MERRITT_INLINE float sum(F v) {
    const __m256 h = _mm256_add_ps(v.a, v.b);
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  MERRITT_INLINE float largest(F v) {
    const __m256 h = _mm256_max_ps(v.a, v.b);
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }
  MERRITT_INLINE I round(F v) { return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)}; }
  MERRITT_INLINE F to_f32(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
  MERRITT_INLINE F power2(I n) {
    const __m256i bias = _mm256_set1_epi32(127);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.a, bias), 23)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.b, bias), 23))};
  }
  MERRITT_INLINE __m256 in_range(__m256 v, int first, int lo, int hi, float other) {
    const __m256i at = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256i in = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), at),
                                           _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), at));
    return _mm256_blendv_ps(_mm256_set1_ps(other), v, _mm256_castsi256_ps(in));
  }
  MERRITT_INLINE F keep_range(F v, int first, int lo, int hi, float other) {
    return {in_range(v.a, first, lo, hi, other), in_range(v.b, first + 8, lo, hi, other)};
  }

  MERRITT_INLINE F pick_below(F x, float limit, F below, F other) {
    const __m256 l = _mm256_set1_ps(limit);
    return {_mm256_blendv_ps(other.a, below.a, _mm256_cmp_ps(x.a, l, _CMP_LT_OQ)),
            _mm256_blendv_ps(other.b, below.b, _mm256_cmp_ps(x.b, l, _CMP_LT_OQ))};
  }

  MERRITT_INLINE __m128i half(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  MERRITT_INLINE F half1(const uint8_t* p) {
    uint16_t h;
    std::memcpy(&h, p, 2);
    return set1(_cvtsh_ss(h));
  }
  MERRITT_INLINE F load_f16(const uint8_t* p) { return {_mm256_cvtph_ps(half(p)), _mm256_cvtph_ps(half(p + 16))}; }
  MERRITT_INLINE __m256 widen_bf16(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  }
  MERRITT_INLINE F load_bf16(const uint8_t* p) { return {widen_bf16(half(p)), widen_bf16(half(p + 16))}; }
  MERRITT_INLINE void store_f16(uint8_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
  }
  MERRITT_INLINE __m256i bf16_bits(__m256 v) {
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    return _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7fc0), _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  }
  MERRITT_INLINE void store_bf16(uint8_t* p, F v) {
    const __m256i both = _mm256_packus_epi32(bf16_bits(v.a), bf16_bits(v.b));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(both, 0xd8));
  }
  MERRITT_INLINE void store_bf16_pair(uint16_t* p, F even, F odd) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm256_or_si256(bf16_bits(even.a), _mm256_slli_epi32(bf16_bits(odd.a), 16)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 16),
                        _mm256_or_si256(bf16_bits(even.b), _mm256_slli_epi32(bf16_bits(odd.b), 16)));
  }

  MERRITT_INLINE I set1_i32(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
  MERRITT_INLINE I set1_i8(int v) {
    return {_mm256_set1_epi8(static_cast<char>(v)), _mm256_set1_epi8(static_cast<char>(v))};
  }
  MERRITT_INLINE I load_i(const void* p) {
    const auto* q = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
  }
  MERRITT_INLINE void store_i8(int8_t* p, I v) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
  /// As sixteen bits, of each four lanes the first, the third, the second, the fourth.
  MERRITT_INLINE void store_i16_crossed(int16_t* p, I v) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
    const __m256i cross =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_shuffle_epi8(words, cross));
  }
  MERRITT_INLINE int32_t sum_i(I v) {
    const __m256i h = _mm256_add_epi32(v.a, v.b);
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
  }
  MERRITT_INLINE I and_i(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  MERRITT_INLINE I or_i(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  MERRITT_INLINE I add_i(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  MERRITT_INLINE I sub_i(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  template <int N>
  MERRITT_INLINE I shift_right_signed(I v) {
    return {_mm256_srai_epi32(v.a, N), _mm256_srai_epi32(v.b, N)};
  }
  template <int N>
  MERRITT_INLINE I shift_right(I v) {
    return {_mm256_srli_epi32(v.a, N), _mm256_srli_epi32(v.b, N)};
  }
  template <int N>
  MERRITT_INLINE I shift_right_16(I v) {  // of sixteen-bit lanes
    return {_mm256_srli_epi16(v.a, N), _mm256_srli_epi16(v.b, N)};
  }
  /// The compiler may not move what made v behind this: it would add up long sums in trees, out of too many registers.
  MERRITT_INLINE void settle(I& v) { __asm__("" : "+x"(v.a), "+x"(v.b)); }
  /// Products of sixteen-bit lanes, those of two neighbours added.
  MERRITT_INLINE I pairs(I x, I y) { return {_mm256_madd_epi16(x.a, y.a), _mm256_madd_epi16(x.b, y.b)}; }
  template <int N>
  MERRITT_INLINE I shift_left(I v) {
    return {_mm256_slli_epi32(v.a, N), _mm256_slli_epi32(v.b, N)};
  }
  MERRITT_INLINE I from_u8(__m128i v) { return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))}; }
  MERRITT_INLINE I from_s8(__m128i v) { return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))}; }
  MERRITT_INLINE __m256i spread(const uint8_t* p) {  // 32 bits to 32 bytes of 0 or 255
    uint32_t bits;
    std::memcpy(&bits, p, 4);
    const __m256i each = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)),
                                             _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                                              2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    const __m256i pick = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    return _mm256_cmpeq_epi8(_mm256_and_si256(each, pick), pick);
  }
  MERRITT_INLINE I or_where(I v, const uint8_t* p, int bits) {
    const __m256i what = _mm256_set1_epi8(static_cast<char>(bits));
    return {_mm256_or_si256(v.a, _mm256_and_si256(spread(p), what)),
            _mm256_or_si256(v.b, _mm256_and_si256(spread(p + 4), what))};
  }
  MERRITT_INLINE I look_up(const uint8_t* table16, I index) {
    const __m256i t = _mm256_broadcastsi128_si256(half(table16));
    return {_mm256_shuffle_epi8(t, index.a), _mm256_shuffle_epi8(t, index.b)};
  }
  MERRITT_INLINE __m256i broadcast8(const void* p) {
    int32_t v;
    std::memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
  }
  MERRITT_INLINE I broadcast_i32(const void* p) { return {broadcast8(p), broadcast8(p)}; }
  MERRITT_INLINE F broadcast_f32(const void* p) {
    float v;
    std::memcpy(&v, p, 4);
    return set1(v);
  }
  MERRITT_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
