// SPDX-License-Identifier: Apache-2.0
// Rows in q12 form as products read them. Include only from ISA files, after types_impl.hpp.
#pragma once
#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::kQ12Band;
using merritt::onednn::Q12Planes;

// Some rows of a band, at 32 of their inputs.
struct Q12Rows {
  const Q12Planes* planes;
  const uint8_t* scales;
  uint64_t field;  // bytes from a scale to the sums beside it

  __attribute__((always_inline)) Q12Rows from(int row) const { return {planes + row, scales + 4 * row, field}; }
  __attribute__((always_inline)) F scale(int row) const { return Simd::broadcast_f32(scales + 4 * row); }
  // Minus the sum of the first half, the second, all.
  __attribute__((always_inline)) I minus_sum(int row, int which) const {
    return Simd::broadcast_i32(scales + field * static_cast<uint64_t>(1 + which) + 4 * row);
  }
  __attribute__((always_inline)) void advance() {
    planes += field / 4;
    scales += 4 * field;
  }
};

// Rows from `row` on, of m, and the first 32 of their inputs.
MERRITT_INLINE Q12Rows q12_rows(const Packed& w, const uint8_t* act, uint64_t act_bytes, uint32_t m, uint32_t row) {
  const uint32_t first = row / kQ12Band * kQ12Band, rows = m - first < kQ12Band ? m - first : kQ12Band;
  const uint8_t* band = act + first * act_bytes;
  const Q12Rows of{reinterpret_cast<const Q12Planes*>(band), band + merritt::onednn::q12_scales_at(w.padded, rows),
                   4ull * rows};
  return of.from(static_cast<int>(row - first));
}

}  // namespace
