// SPDX-License-Identifier: Apache-2.0
// The one layout in which weights lie in memory: sixteen output rows side by side, so that a vector lane is a row and
// no product needs a sum across lanes. It holds exactly the bytes of the file in another order (plus padding of the
// last rows and of odd columns), so a model costs its file size once. The same bytes serve every ISA, both row classes
// and the embedding lookup.
//
// A group is sixteen rows; it is a run of blocks along the input. In a block every part of the sixteen source blocks
// (scales, codes) is transposed: element e of row r lies at e * 16 + r, where the element of codes is four bytes.
//   32-blocks   q4_0 iq4_nl [d][q]   q4_1 [d][m][q]   q5_0 [d][fifth][q]   q5_1 [d][m][fifth][q]   q8_0 [d][q ^ 0x80]
//   256-blocks  q2_K [d][dmin][scales][q]  q3_K [d][scales][high][q]  q4_K [d][dmin][scales][q]
//               q5_K [d][dmin][scales][fifth][q]  q6_K [d][scales][high][low] [high][low], a half each
//   floats      32 inputs of sixteen rows, [input][row]
// `fifth` of q5_0 and q5_1 is one 64-bit mask for each four inputs: bit 4 r + j is input j of row r.
#pragma once
#include <cstdint>

#include "support/blocks.hpp"

namespace merritt::onednn {

inline constexpr uint32_t kLanes = 16;

/// Changes with the order of the bytes below: a host may have kept older ones.
inline constexpr char kPackedLayout[] = "onednn.rows16/2";

struct Packed {
  uint32_t type = 0;
  uint32_t blocks = 0;  // along the input
  uint64_t rows = 0, cols = 0;
  uint64_t padded = 0;  // columns rounded up to 32
  uint64_t groups = 0;  // of sixteen rows
  uint64_t block_bytes = 0, group_bytes = 0;
  const uint8_t* data = nullptr;
  // Forced inline: a copy of it compiled for a wide ISA must never be shared with the baseline.
  [[gnu::always_inline]] const uint8_t* group(uint64_t g) const noexcept { return data + g * group_bytes; }
  uint64_t bytes() const noexcept { return groups * group_bytes; }
};

/// The geometry, without data. False when the type has no packed form or cols is no multiple of its block.
bool describe_packed(uint32_t type, uint64_t rows, uint64_t cols, Packed* out) noexcept;

/// Packs sixteen rows (as in the file; null = a row of zeros) into one group at dst.
void pack_group(const Packed& w, const uint8_t* const* rows16, uint8_t* dst) noexcept;

}  // namespace merritt::onednn
