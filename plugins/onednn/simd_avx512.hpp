// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes on AVX-512, with VNNI and BF16 where the including file is compiled for them. Only for *_avx512.cpp and
// *_bf16.cpp; everything is forced inline and in an anonymous namespace, so that no function compiled for a wide ISA
// can be merged by the linker with one of the baseline.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define MERRITT_INLINE static inline __attribute__((always_inline))

// GCC 12 warns about the deliberately undefined operands inside its own AVX-512 intrinsics.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace {

struct Simd {
  using F = __m512;
  using I = __m512i;
#if defined(__AVX512VNNI__)
  static constexpr bool kSignedWide = false;  // u8 x s8 never saturates
  static constexpr int kSums16 = 1;           // no 16-bit sums
#else
  static constexpr bool kSignedWide = true;
  static constexpr int kSums16 = 32767 / (2 * 127);  // sums of pairs of code x byte in 16 bits, times the largest code
#endif
#if defined(__AVX512BF16__)
  static constexpr bool kBf16 = true;
#else
  static constexpr bool kBf16 = false;
#endif
  static constexpr int kRowTile = 8;
  static constexpr int kQueryTile = 8, kKeyVectors = 2;  // register tile of attention and of the f32 products

  MERRITT_INLINE F zero() { return _mm512_setzero_ps(); }
  MERRITT_INLINE F set1(float v) { return _mm512_set1_ps(v); }
  MERRITT_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  MERRITT_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  MERRITT_INLINE F load_n(const float* p, int n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
  }
  MERRITT_INLINE void store_n(float* p, F v, int n) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), v);
  }
  MERRITT_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  MERRITT_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  MERRITT_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  MERRITT_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  MERRITT_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  MERRITT_INLINE F fms(F a, F b, F c) { return _mm512_fmsub_ps(a, b, c); }
  MERRITT_INLINE F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  MERRITT_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  MERRITT_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  MERRITT_INLINE F abs(F a) { return _mm512_abs_ps(a); }
  MERRITT_INLINE float sum(F v) {  // a fixed tree, the same on every ISA
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  MERRITT_INLINE float largest(F v) { return _mm512_reduce_max_ps(v); }
  MERRITT_INLINE I round(F v) { return _mm512_cvtps_epi32(v); }
  MERRITT_INLINE F to_f32(I v) { return _mm512_cvtepi32_ps(v); }
  /// 2^n for integral n in [-126, 127].
  MERRITT_INLINE F power2(I n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
  }
  /// Lanes whose index (first + lane) lies in [lo, hi) keep v, the others get `other`.
  MERRITT_INLINE F keep_range(F v, int first, int lo, int hi, float other) {
    const __m512i at = _mm512_add_epi32(_mm512_set1_epi32(first),
                                        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __mmask16 in =
        _mm512_cmpge_epi32_mask(at, _mm512_set1_epi32(lo)) & _mm512_cmplt_epi32_mask(at, _mm512_set1_epi32(hi));
    return _mm512_mask_mov_ps(_mm512_set1_ps(other), in, v);
  }

  /// below where x < limit, else other.
  MERRITT_INLINE F pick_below(F x, float limit, F below, F other) {
    return _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_LT_OQ), below);
  }

  MERRITT_INLINE F half1(const uint8_t* p) {  // one f16 in every lane
    uint16_t h;
    std::memcpy(&h, p, 2);
    return _mm512_set1_ps(_cvtsh_ss(h));
  }
  MERRITT_INLINE F load_f16(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  MERRITT_INLINE F load_bf16(const uint8_t* p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  MERRITT_INLINE void store_f16(uint8_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  MERRITT_INLINE I bf16_bits(F v) {  // rounded to nearest even, in the low half of each lane; NaN stays NaN
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
    return _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
  }
  MERRITT_INLINE void store_bf16(uint8_t* p, F v) {
#if defined(__AVX512BF16__)
    const __m256bh h = _mm512_cvtneps_pbh(v);
    std::memcpy(p, &h, 32);
#else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bf16_bits(v)));
#endif
  }
  /// Sixteen-bit lanes 0 16 1 17 2 18 ...
  MERRITT_INLINE I mix_halves(I v) {
    alignas(64) static constexpr uint16_t kMix[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kMix), v);
  }
  /// Stores lane by lane the pair (even, odd) as two bf16: the k-pair layout of a packed matrix.
  MERRITT_INLINE void store_bf16_pair(uint16_t* p, F even, F odd) {
#if defined(__AVX512BF16__)
    const __m512bh both = _mm512_cvtne2ps_pbh(odd, even);
    __m512i bits;
    std::memcpy(&bits, &both, 64);
    _mm512_storeu_si512(p, mix_halves(bits));
#else
    _mm512_storeu_si512(p, _mm512_or_si512(bf16_bits(even), _mm512_slli_epi32(bf16_bits(odd), 16)));
#endif
  }

  MERRITT_INLINE I set1_i32(int32_t v) { return _mm512_set1_epi32(v); }
  MERRITT_INLINE I set1_i8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  MERRITT_INLINE I load_i(const void* p) { return _mm512_loadu_si512(p); }
  MERRITT_INLINE void store_i(void* p, I v) { _mm512_storeu_si512(p, v); }
  MERRITT_INLINE void store_i8(int8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(v));
  }
  MERRITT_INLINE int32_t sum_i(I v) { return _mm512_reduce_add_epi32(v); }
  MERRITT_INLINE I and_i(I a, I b) { return _mm512_and_si512(a, b); }
  MERRITT_INLINE I or_i(I a, I b) { return _mm512_or_si512(a, b); }
  MERRITT_INLINE I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
  MERRITT_INLINE I sub_i(I a, I b) { return _mm512_sub_epi32(a, b); }
  MERRITT_INLINE I mul_i(I a, I b) { return _mm512_mullo_epi32(a, b); }
  template <int N>
  MERRITT_INLINE I shift_right_signed(I v) {
    return _mm512_srai_epi32(v, N);
  }
  template <int N>
  MERRITT_INLINE I shift_right(I v) {
    return _mm512_srli_epi32(v, N);
  }
  template <int N>
  MERRITT_INLINE I shift_left(I v) {
    return _mm512_slli_epi32(v, N);
  }
  MERRITT_INLINE I from_u8(__m128i v) { return _mm512_cvtepu8_epi32(v); }
  MERRITT_INLINE I from_s8(__m128i v) { return _mm512_cvtepi8_epi32(v); }
  /// Sets `bits` in the bytes whose bit in the 64-bit mask at p is set.
  MERRITT_INLINE I or_where(I v, const uint8_t* p, int bits) {
    uint64_t mask;
    std::memcpy(&mask, p, 8);
    return _mm512_mask_add_epi8(v, mask, v, _mm512_set1_epi8(static_cast<char>(bits)));
  }
  MERRITT_INLINE I look_up(const uint8_t* table16, I index) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table16))),
                               index);
  }
  MERRITT_INLINE I broadcast_i32(const void* p) {
    int32_t v;
    std::memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
  }
  MERRITT_INLINE F broadcast_f32(const void* p) {
    float v;
    std::memcpy(&v, p, 4);
    return _mm512_set1_ps(v);
  }
  /// acc + products of N vectors of codes, each by four signed bytes of its own that all lanes share. Signed: the codes
  /// are biased by 128 and meant as signed numbers, for where u8 x s8 would saturate.
  template <int N, bool Signed>
  MERRITT_INLINE I dots(I acc, const I* codes, const int8_t* bytes) {
#if defined(__AVX512VNNI__)
    static_assert(N == 1 && !Signed);
    return _mm512_dpbusd_epi32(acc, codes[0], broadcast_i32(bytes));
#else
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < N; ++i) {
      __m512i w = codes[i], x = broadcast_i32(bytes + 4 * i);
      if constexpr (Signed) {
        w = _mm512_xor_si512(w, _mm512_set1_epi8(static_cast<char>(0x80)));
        x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
        w = _mm512_abs_epi8(w);
      }
      const __m512i pairs = _mm512_maddubs_epi16(w, x);
      sum = i == 0 ? pairs : _mm512_add_epi16(sum, pairs);
    }
    return _mm512_add_epi32(acc, _mm512_madd_epi16(sum, _mm512_set1_epi16(1)));
#endif
  }
  MERRITT_INLINE void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
  MERRITT_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
