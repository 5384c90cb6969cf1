// SPDX-License-Identifier: Apache-2.0
// Sixteen rows side by side: element e of row r goes to e * 16 + r. Whole vectors of the baseline instruction set where
// there are enough elements; packing runs once, at the speed of memory.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace merritt::onednn {
namespace {

inline constexpr uint32_t kTransposedRows = 16;

/// Elements [first, count) one by one; every byte of them is xored with the byte of `flip` at its place.
template <uint32_t Size>
void transpose_each(const uint8_t* const* from, uint32_t at, uint32_t first, uint32_t count, uint32_t flip,
                    uint8_t* to) noexcept {
  for (uint32_t r = 0; r < kTransposedRows; ++r) {
    for (uint32_t e = first; e < count; ++e) {
      uint32_t element = 0;
      std::memcpy(&element, from[r] + at + e * Size, Size);
      element ^= flip;
      std::memcpy(to + (e * kTransposedRows + r) * Size, &element, Size);
    }
  }
}

#if defined(__SSE2__)

inline __m128i load16(const uint8_t* from) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
inline void store16(uint8_t* to, __m128i value) noexcept { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }

/// Four elements of four bytes of four rows.
inline void transpose_4x4(const uint8_t* const* from, uint64_t at, __m128i flip, uint8_t* to) noexcept {
  const __m128i a = load16(from[0] + at), b = load16(from[1] + at), c = load16(from[2] + at), d = load16(from[3] + at);
  const __m128i ab0 = _mm_unpacklo_epi32(a, b), ab1 = _mm_unpackhi_epi32(a, b);
  const __m128i cd0 = _mm_unpacklo_epi32(c, d), cd1 = _mm_unpackhi_epi32(c, d);
  constexpr uint32_t kStep = kTransposedRows * 4;
  store16(to, _mm_xor_si128(_mm_unpacklo_epi64(ab0, cd0), flip));
  store16(to + kStep, _mm_xor_si128(_mm_unpackhi_epi64(ab0, cd0), flip));
  store16(to + 2 * kStep, _mm_xor_si128(_mm_unpacklo_epi64(ab1, cd1), flip));
  store16(to + 3 * kStep, _mm_xor_si128(_mm_unpackhi_epi64(ab1, cd1), flip));
}

/// Eight elements of two bytes of eight rows.
inline void transpose_8x8(const uint8_t* const* from, uint64_t at, uint8_t* to) noexcept {
  __m128i pairs[8], fours[8];
  for (uint32_t i = 0; i < 4; ++i) {
    const __m128i a = load16(from[2 * i] + at), b = load16(from[2 * i + 1] + at);
    pairs[2 * i] = _mm_unpacklo_epi16(a, b);
    pairs[2 * i + 1] = _mm_unpackhi_epi16(a, b);
  }
  for (uint32_t i = 0; i < 2; ++i) {
    for (uint32_t h = 0; h < 2; ++h) {
      const __m128i a = pairs[4 * i + h], b = pairs[4 * i + 2 + h];
      fours[4 * i + 2 * h] = _mm_unpacklo_epi32(a, b);
      fours[4 * i + 2 * h + 1] = _mm_unpackhi_epi32(a, b);
    }
  }
  constexpr uint32_t kStep = kTransposedRows * 2;
  for (uint32_t i = 0; i < 4; ++i) {
    store16(to + 2 * i * kStep, _mm_unpacklo_epi64(fours[i], fours[4 + i]));
    store16(to + (2 * i + 1) * kStep, _mm_unpackhi_epi64(fours[i], fours[4 + i]));
  }
}

#endif

/// `count` elements of Size bytes at `at` of each row. flip: see transpose_each.
template <uint32_t Size>
void transpose(const uint8_t* const* from, uint32_t at, uint32_t count, uint32_t flip, uint8_t* to) noexcept {
  uint32_t done = 0;
#if defined(__SSE2__)
  if constexpr (Size == 4) {
    const __m128i flips = _mm_set1_epi32(static_cast<int>(flip));
    for (; done + 4 <= count; done += 4) {
      for (uint32_t r = 0; r < kTransposedRows; r += 4) {
        transpose_4x4(from + r, at + uint64_t{done} * 4, flips, to + (done * kTransposedRows + r) * 4);
      }
    }
  } else if constexpr (Size == 2) {
    for (; done + 8 <= count && flip == 0; done += 8) {
      for (uint32_t r = 0; r < kTransposedRows; r += 8) {
        transpose_8x8(from + r, at + uint64_t{done} * 2, to + (done * kTransposedRows + r) * 2);
      }
    }
  }
#endif
  transpose_each<Size>(from, at, done, count, flip, to);
}

}  // namespace
}  // namespace merritt::onednn
