// SPDX-License-Identifier: Apache-2.0
// The same with rows in q16 form. A weight is scale x code there, an integer of fourteen bits: its high byte is a tile
// of 64 inputs by sixteen weight rows, its low one (unsigned) another, and each meets the high and the low plane of the
// rows. Nothing leaves the tiles before 256 inputs are done; then the four sums are
//   sum(high) = 256 tile 0 + tile 1,  sum(low) = 256 tile 2 + tile 3
// which are the integers that gemv_impl.hpp has after a block. Include only from *_amx.cpp.
#pragma once
#include "onednn/gemv_amx_q12_impl.hpp"

namespace {

struct alignas(64) Weights64 {
  uint8_t high[1024], low[1024];
};
struct alignas(64) TileSums4 {
  int32_t of[4][kBand * 16];
};

// One of two scales for each 32 inputs, for the even bytes of a vector of codes and for the odd ones.
struct ByteScale {
  __m512i even, odd;
  __mmask64 negative;
};
MERRITT_INLINE ByteScale byte_scale(I scale) {
  const __m512i size = _mm512_abs_epi32(scale);
  const __m512i even = _mm512_or_si512(size, _mm512_slli_epi32(size, 16));
  return {even, _mm512_slli_epi32(even, 8), _mm512_movepi8_mask(_mm512_srai_epi32(scale, 31))};
}

// 32 inputs: scale x (code - offset), a byte of the scale by a byte of codes in 16 bits, taken apart into bytes again.
template <class T>
MERRITT_INLINE void open_32(const uint8_t* block, const typename T::Head& head, int i, Weights64* to) {
  const __m512i odd_bytes = _mm512_set1_epi16(static_cast<int16_t>(0xff00)), offset = Simd::set1_i8(T::kOffset);
  I c[8];
  T::codes(block, i, c);
  for (int h = 0; h < 2; ++h) {
    const ByteScale scale = byte_scale(T::whole_scale(head, i, h));
    for (int q = 4 * h; q < 4 * h + 4; ++q) {
      __m512i code = c[q];
      if constexpr (T::kOffset != 0) {
        code = _mm512_mask_sub_epi8(_mm512_sub_epi8(c[q], offset), scale.negative, offset, c[q]);
      }
      const __m512i even = _mm512_maddubs_epi16(scale.even, code), odd = _mm512_maddubs_epi16(scale.odd, code);
      const int at = 64 * (8 * (i % 2) + q);
      // odd_bytes ? a : b, bit by bit
      Simd::store_i(to->high + at, _mm512_ternarylogic_epi32(odd_bytes, odd, _mm512_srli_epi16(even, 8), 0xca));
      Simd::store_i(to->low + at, _mm512_ternarylogic_epi32(odd_bytes, _mm512_slli_epi16(odd, 8), even, 0xca));
    }
  }
}

MERRITT_INLINE void multiply_64(const Q16Planes* rows, const Weights64& w) {
  _tile_loadd(4, rows->high, sizeof(Q16Planes));
  _tile_loadd(6, w.high, 64);
  _tile_dpbssd(0, 4, 6);
  _tile_loadd(7, w.low, 64);
  _tile_dpbsud(1, 4, 7);
  _tile_loadd(5, rows->low, sizeof(Q16Planes));
  _tile_dpbssd(2, 5, 6);
  _tile_dpbsud(3, 5, 7);
}

// What the minima take away, which is not worth a tile: they are of one type, whose weights have two bits.
template <class T>
MERRITT_INLINE I min_sum(const typename T::Head& head, Q16Rows rows, int row) {
  I sum = Simd::set1_i32(0);
  if constexpr (T::kMin) {
    for (int i = 0; i < T::kGroups; ++i, rows.advance(i)) {
      for (int h = 0; h < 2; ++h) {
        const I both = Simd::add_i(Simd::shift_left<8>(rows.minus_high(row, h)), rows.minus_low(row, h));
        sum = Simd::add_i(sum, Simd::mul_i(both, T::whole_min(head, i, h)));
      }
    }
  }
  return sum;
}

template <class T, bool All>
MERRITT_INLINE void add_block(const uint8_t* block, const TileSums4& sums, const Q16Rows& rows, int count, F* acc) {
  const typename T::Head head = T::head(block);
#pragma GCC unroll 16
  for (int r = 0; r < static_cast<int>(kBand); ++r) {
    if (!All && r >= count) continue;
    const auto both = [&](int first) __attribute__((always_inline)) {
      return Simd::add_i(Simd::shift_left<8>(Simd::load_i(sums.of[first] + r * 16)),
                         Simd::load_i(sums.of[first + 1] + r * 16));
    };
    acc[r] = q16_block<T>(head, both(0), both(2), min_sum<T>(head, rows, r), rows.scale(r), acc[r]);
  }
}

// A group of weight rows times the `count` rows of a band; the tiles are configured for so many.
template <class T, bool All>
void multiply_q16(const Packed& w, uint64_t g, Q16Rows rows, int count, Ahead ahead, float* const* out,
                  const float* bias) {
  constexpr int kPieces = T::kGroups / 2;
  Weights64 ring[2];
  TileSums4 sums;
  F acc[kBand];
#pragma GCC unroll 16
  for (F& sum : acc) sum = Simd::zero();
  const uint8_t* block = w.group(g);
  typename T::Head head = T::head(block);
  const auto open = [&](const uint8_t* from, int piece, Weights64* to) __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int i = 2 * piece; i < 2 * piece + 2; ++i) {
      const uint64_t step = w.block_bytes / T::kGroups;
      ahead.ask(from + step * static_cast<uint64_t>(i), step);
      open_32<T>(from, head, i, to);
    }
  };
  open(block, 0, &ring[0]);
  Q16Rows last = rows;
  for (uint32_t b = 0; b < w.blocks; ++b, block += w.block_bytes) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
#pragma GCC unroll 4
    for (int j = 0; j < kPieces; ++j) {
      multiply_64(rows.planes, ring[j % 2]);
      rows.advance(0);
      rows.advance(1);
      if (j == 0 && b != 0) add_block<T, All>(block - w.block_bytes, sums, last, count, acc);
      if (j + 1 < kPieces) {
        open(block, j + 1, &ring[(j + 1) % 2]);
      } else if (b + 1 < w.blocks) {
        head = T::head(block + w.block_bytes);
        open(block + w.block_bytes, 0, &ring[0]);
      }
    }
    static_assert(kPieces % 2 == 0, "the next block begins where this one did");
    _tile_stored(0, sums.of[0], 64);
    _tile_stored(1, sums.of[1], 64);
    _tile_stored(2, sums.of[2], 64);
    _tile_stored(3, sums.of[3], 64);
    if (b != 0) last.advance_block();
    rows.next_block();
  }
  add_block<T, All>(block - w.block_bytes, sums, last, count, acc);
#pragma GCC unroll 16
  for (int r = 0; r < static_cast<int>(kBand); ++r) {
    if (All || r < count) put_group(acc[r], w, g, out[r], bias);
  }
}

}  // namespace
