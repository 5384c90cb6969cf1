// SPDX-License-Identifier: Apache-2.0
// Rows in their forms as products read them. Include only from ISA files, after types_impl.hpp.
#pragma once
#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::kBand;
using merritt::onednn::Q12Planes;
using merritt::onednn::Q16Planes;

// Some rows of a band, at 32 of their inputs.
struct Q12Rows {
  const Q12Planes* planes;
  const uint8_t* scales;
  uint64_t field;  // bytes from a scale to the sum beside it

  __attribute__((always_inline)) Q12Rows from(int row) const { return {planes + row, scales + 4 * row, field}; }
  __attribute__((always_inline)) F scale(int row) const { return Simd::broadcast_f32(scales + 4 * row); }
  __attribute__((always_inline)) I minus_sum(int row) const { return Simd::broadcast_i32(scales + field + 4 * row); }
  __attribute__((always_inline)) I half_low(int row) const { return Simd::broadcast_i32(scales + 2 * field + 4 * row); }
  __attribute__((always_inline)) void advance(int /*i*/) {
    planes += field / 4;
    scales += 3 * field;
  }
};

// The same in q16 form; 32 inputs are half of what lies together.
struct Q16Rows {
  const Q16Planes* planes;
  const uint8_t *sums, *scales;
  uint64_t field;  // bytes from a sum of high to that of low
  int half;

  __attribute__((always_inline)) Q16Rows from(int row) const {
    return {planes + row, sums + 4 * row, scales + 4 * row, field, half};
  }
  __attribute__((always_inline)) F scale(int row) const { return Simd::broadcast_f32(scales + 4 * row); }
  __attribute__((always_inline)) const int8_t* high(int row) const { return planes[row].high + 32 * half; }
  __attribute__((always_inline)) const int8_t* low(int row) const { return planes[row].low + 32 * half; }
  // Of the first sixteen inputs or the second.
  __attribute__((always_inline)) I minus_high(int row, int which) const {
    return Simd::broadcast_i32(sums + field * static_cast<uint64_t>(2 * which) + 4 * row);
  }
  __attribute__((always_inline)) I minus_low(int row, int which) const {
    return Simd::broadcast_i32(sums + field * static_cast<uint64_t>(2 * which + 1) + 4 * row);
  }
  // i: which 32 inputs of 256 they are at. The scale stays that of the 256 until all are done.
  __attribute__((always_inline)) void advance(int i) {
    half = (i + 1) % 2;
    if (half == 0) planes += field / 4;
    sums += 4 * field;
  }
  __attribute__((always_inline)) void next_block() { scales += field; }
  // By 256 inputs at once.
  __attribute__((always_inline)) void advance_block() {
    planes += field;
    sums += 32 * field;
    next_block();
  }
};

// Rows from `row` on, of m, and the first 32 of their inputs.
MERRITT_INLINE Q12Rows q12_rows(const Packed& w, const uint8_t* act, uint64_t act_bytes, uint32_t m, uint32_t row) {
  const uint32_t first = row / kBand * kBand, rows = m - first < kBand ? m - first : kBand;
  const uint8_t* band = act + first * act_bytes;
  const Q12Rows of{reinterpret_cast<const Q12Planes*>(band), band + merritt::onednn::q12_scales_at(w.padded, rows),
                   4ull * rows};
  return of.from(static_cast<int>(row - first));
}
MERRITT_INLINE Q16Rows q16_rows(const Packed& w, const uint8_t* act, uint64_t act_bytes, uint32_t m, uint32_t row) {
  const uint32_t first = row / kBand * kBand, rows = m - first < kBand ? m - first : kBand;
  const uint8_t* band = act + first * act_bytes;
  const Q16Rows of{reinterpret_cast<const Q16Planes*>(band), band + merritt::onednn::q16_sums_at(w.padded, rows),
                   band + merritt::onednn::q16_scales_at(w.padded, rows), 4ull * rows, 0};
  return of.from(static_cast<int>(row - first));
}

// What the planes of a row in q12 form are multiplied by: `high` by codes shifted left until they fill a byte, `low` by
// sixteenths of these (row_form.hpp).
template <class T>
struct Q12Codes {
  static constexpr int kShift = T::kMaxCode <= 15 ? 4 : T::kMaxCode <= 31 ? 3 : 0;
  static constexpr int kOffset = T::kOffset << kShift, kLowOffset = kOffset / 16;  // what both are too large by
  static constexpr int kLowShift = 4 - kShift;  // bits of a code that its sixteenth lacks

  // The sixteenths, shifted left to where they lie in the codes.
  MERRITT_INLINE I low(I c) { return kLowShift == 0 ? c : Simd::and_i(c, Simd::set1_i8(256 - (1 << kLowShift))); }
  // What the sum over both planes has to gain for them, from half the sum of `low`: the mean of what they may be is
  // half of one unit, or a quarter where it is one bit.
  MERRITT_INLINE I mean_of_lacking(I half_low) {
    return kLowShift == 4 ? half_low : Simd::template shift_right_signed<1>(half_low);
  }
  // Of the sum over both planes.
  MERRITT_INLINE F scale(const typename T::Head& head, int i) {
    const F scale = T::scale(head, i, 0);
    return kShift == 4 ? scale : Simd::mul(scale, Simd::set1(static_cast<float>(16 >> kShift)));
  }
};

// acc + the products of 256 inputs with a row in q16 form: `high` and `low` are the sums of scale x code x plane, `min`
// that of the minima's integers x -sum(q).
template <class T>
MERRITT_INLINE F q16_block(const typename T::Head& head, I high, I low, I min, F row_scale, F acc) {
  F v = Simd::mul(head.d, Simd::fma(Simd::to_f32(high), Simd::set1(256.0f), Simd::to_f32(low)));
  if constexpr (T::kMin) v = Simd::fma(head.dmin, Simd::to_f32(min), v);
  return Simd::fma(v, row_scale, acc);
}

}  // namespace
