// SPDX-License-Identifier: Apache-2.0
// The plugin's order of bytes in a KV page. Plane 2 l is K, 2 l + 1 is V of layer l of the group, and both are cut into
// sixteens: the tokens of a KV head sixteen by sixteen. A sixteen of K is [dim][16 tokens], so that a vector of scores
// needs no sum across lanes; one of V is [16 tokens][dim], whose width is rounded up to sixteen. In q8_0 a sixteen of K
// is, for each 32 dimensions, [16 scales][8][16 tokens][4 codes], one of V [16 tokens][dim codes][16 tokens][dim / 32
// scales]. A page of which sixteens cannot be cut holds K like V; its tokens are gathered before use, which is correct
// and slow, and not offered for q8_0.
#pragma once
#include "support/kv_layout.hpp"

namespace merritt::onednn {

inline uint32_t padded_dim(uint32_t dim) noexcept { return (dim + 15) / 16 * 16; }

inline bool is_tiled(uint32_t page_tokens) noexcept { return page_tokens % 16 == 0; }

/// Bytes of one token's row of a head.
inline uint64_t head_row_bytes(uint32_t type, uint32_t dim) noexcept {
  return type == plugin::kQ8_0 ? dim / 32 * 34 : static_cast<uint64_t>(dim) * (type == plugin::kF32 ? 4 : 2);
}
/// From the start of a plane with `tokens` tokens a head (a multiple of 16) to the sixteen that holds a token.
inline uint64_t k_sixteen(uint32_t type, uint32_t tokens, uint32_t dim, uint32_t head, uint32_t token) noexcept {
  return (static_cast<uint64_t>(head) * (tokens / 16) + token / 16) * 16 * head_row_bytes(type, dim);
}
inline uint64_t v_sixteen(uint32_t type, uint32_t tokens, uint32_t dim, uint32_t head, uint32_t token) noexcept {
  return k_sixteen(type, tokens, padded_dim(dim), head, token);
}
/// In pages without sixteens: to the row of a token, K or V.
inline uint64_t row_offset(uint32_t type, uint32_t tokens, uint32_t dim, uint32_t head, uint32_t token) noexcept {
  return (static_cast<uint64_t>(head) * tokens + token) * head_row_bytes(type, padded_dim(dim));
}

/// Calls move(byte of the unit, byte of the sixteen, count) for the parts of one q8_0 block of a token in its sixteen.
template <class Move>
void q8_parts(bool is_v, uint32_t dim, uint32_t token, uint32_t unit, Move&& move) {
  const uint64_t lane = token % 16;
  if (is_v) {
    move(0u, 16ull * dim + (lane * (dim / 32) + unit) * 2, 2u);
    move(2u, lane * dim + 32ull * unit, 32u);
    return;
  }
  const uint64_t block = static_cast<uint64_t>(unit) * 16 * 34;
  move(0u, block + lane * 2, 2u);
  for (uint32_t quad = 0; quad < 8; ++quad) move(2 + quad * 4, block + 32 + quad * 64ull + lane * 4, 4u);
}

class TileLayout final : public plugin::KvLayout {
 public:
  const char* tag() const noexcept override { return "onednn.tile16/1"; }
  int32_t shape(const plugin::Plan& plan, const plugin::KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                mrt_error* err) const override;
  plugin::UnitPlace place(const plugin::KvGeometry& geometry, const plugin::KvOperand& operand, uint32_t token,
                          uint32_t head, uint32_t unit) const noexcept override;
  void get_unit(const plugin::KvGeometry& geometry, const plugin::KvOperand& operand, const uint8_t* page,
                uint32_t token, uint32_t head, uint32_t unit, uint8_t* to) const noexcept override;
  void put_unit(const plugin::KvGeometry& geometry, const plugin::KvOperand& operand, const uint8_t* from,
                uint32_t token, uint32_t head, uint32_t unit, uint8_t* page) const noexcept override;
  void planes(const plugin::KvGeometry&, const plugin::KvOperand& operand, uint32_t* first,
              uint32_t* n) const noexcept override {
    *first = 2 * operand.group_layer + (operand.is_v ? 1u : 0u);
    *n = 1;
  }
};

}  // namespace merritt::onednn
