// SPDX-License-Identifier: Apache-2.0
// The plugin's order of bytes in a KV page. Plane 2 l is K, 2 l + 1 is V of layer l of the group. K holds, for each KV
// head and each sixteen tokens, [dim][16 tokens], so that a vector of scores needs no sum across lanes; V holds
// [head][token] rows whose width is rounded up to sixteen. A page of which sixteen tokens cannot be cut holds K like V;
// its tokens are gathered before use, which is correct and slow.
#pragma once
#include "support/kv_layout.hpp"

namespace merritt::onednn {

inline uint32_t padded_dim(uint32_t dim) noexcept { return (dim + 15) / 16 * 16; }

inline bool is_tiled(uint32_t page_tokens) noexcept { return page_tokens % 16 == 0; }

/// Bytes from the start of a plane that holds `tokens` tokens a head (a multiple of 16).
inline uint64_t k_offset(uint32_t tokens, uint32_t dim, uint32_t head, uint32_t token, uint32_t bytes) noexcept {
  return ((static_cast<uint64_t>(head) * (tokens / 16) + token / 16) * dim * 16 + token % 16) * bytes;
}
inline uint64_t v_offset(uint32_t tokens, uint32_t dim, uint32_t head, uint32_t token, uint32_t bytes) noexcept {
  return (static_cast<uint64_t>(head) * tokens + token) * padded_dim(dim) * bytes;
}

class TileLayout final : public plugin::KvLayout {
 public:
  const char* tag() const noexcept override { return "onednn.tile16/1"; }
  int32_t shape(const plugin::Plan& plan, const plugin::KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                mrt_error* err) const override;
  plugin::UnitPlace place(const plugin::KvGeometry& geometry, const plugin::KvOperand& operand, uint32_t token,
                          uint32_t head, uint32_t unit) const noexcept override;
  void planes(const plugin::KvGeometry&, const plugin::KvOperand& operand, uint32_t* first,
              uint32_t* n) const noexcept override {
    *first = 2 * operand.group_layer + (operand.is_v ? 1u : 0u);
    *n = 1;
  }
};

}  // namespace merritt::onednn
