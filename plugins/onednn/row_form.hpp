// SPDX-License-Identifier: Apache-2.0
// Rows as products with packed weights read them: integers. From AVX-512 on it is GENERATED rows, in two planes of
// signed bytes, and the type of the weights says in which form. Rows lie in bands of sixteen, the last one what is
// left; of `rows` rows a band holds
//
//   q12  12-bit integers with a scale for each 32 inputs, q = 16 high + low with low in [-8, 7]
//     planes  [padded / 32][rows] of Q12Planes
//     scales  [padded / 32][3][rows]: f32 scale, then i32 -sum(q), then i32 sum(low) / 2, rounded down
//
//   q16  16-bit integers with a scale for each 256 inputs, q = 256 high + low with low in [-128, 127]
//     planes  [padded / 64][rows] of Q16Planes
//     sums    [padded / 16][2][rows]: i32 -sum(high), -sum(low)
//     scales  [padded / 256][rows] f32
//
// Tiles take both planes of q12 at once, [high][low] by [codes][sixteenths of the codes]. What stands in the first half
// is a byte: 16 times a code of four bits, 8 times one of five, a wider one itself. A sixteenth of that is the code of
// four bits again. Of the others it lacks the last bits, one or four, which are taken as if they were always the mean
// of what they may be: that is what sum(low) / 2 is for. What they are off by, times `low`, is about as much as was
// lost when the row was rounded to twelve bits.
//
// q12: one plane alone is too coarse. Beside a channel that is a hundred times larger than its 31 neighbours, as
// decoder models have them, 8 bits leave little of the neighbours. More than twelve bits are of no use.
//
// q16: weights that have a small integer scale for each 16 inputs of 256. Scale times code is an integer as well, so
// 256 products are summed before anything is rounded; four bits more make up for the wider scale.
//
// At the level of AVX2 it is rows of both classes, whatever the type of the weights:
//
//   pairs  16-bit integers with a scale for each 32 inputs; a row is [padded / 32] of PairBlock, without bands
//
// Bytes take no fewer instructions there, since their products have no instruction that adds them up in 32 bits.
#pragma once
#include <cstdint>

#include "support/blocks.hpp"

namespace merritt::onednn {

enum class RowForm : uint8_t { kF32, kQ12, kQ16, kPairs };

inline constexpr uint32_t kBand = 16;

struct Q12Planes {
  int8_t high[32], low[32];
};
struct Q16Planes {
  int8_t high[64], low[64];
};
struct PairBlock {
  int16_t q[32];  // of each four inputs the first, the third, the second, the fourth
  float scale;
  int32_t minus_sum[3];  // -sum(q): of all, of the first sixteen, of the others
};

/// Of the rows that weights of a type are multiplied by; `pairs`: where kernels read that form (Kernels::pairs).
inline RowForm row_form(uint32_t type, bool pairs) noexcept {
  using namespace plugin;
  if (type == kF32 || type == kF16 || type == kBF16) return RowForm::kF32;
  if (pairs) return RowForm::kPairs;
  return type == kQ2_K || type == kQ3_K || type == kQ6_K ? RowForm::kQ16 : RowForm::kQ12;
}

// Where the parts of a band begin. Forced inline: a copy compiled for a wide ISA must never be shared with the
// baseline.
[[gnu::always_inline]] inline uint64_t q12_scales_at(uint64_t padded, uint64_t rows) noexcept {
  return padded / 32 * rows * sizeof(Q12Planes);
}
[[gnu::always_inline]] inline uint64_t q16_sums_at(uint64_t padded, uint64_t rows) noexcept {
  return padded / 64 * rows * sizeof(Q16Planes);
}
[[gnu::always_inline]] inline uint64_t q16_scales_at(uint64_t padded, uint64_t rows) noexcept {
  return q16_sums_at(padded, rows) + padded / 16 * rows * 8;
}

/// Of one row; a band begins at a multiple of kBand of them.
inline uint64_t form_row_bytes(RowForm form, uint64_t padded) noexcept {
  const uint64_t bytes = form == RowForm::kPairs ? padded / 32 * sizeof(PairBlock)
                         : form == RowForm::kQ12 ? q12_scales_at(padded, 1) + padded / 32 * 12
                                                 : q16_scales_at(padded, 1) + padded / 256 * 4;
  return (bytes + 63) / 64 * 64;
}

}  // namespace merritt::onednn
