// SPDX-License-Identifier: Apache-2.0
#include "onednn/layout.hpp"

#include <algorithm>

namespace merritt::onednn {
using namespace plugin;

int32_t TileLayout::shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                          mrt_error* err) const {
  const uint32_t tokens = geometry.page_tokens;
  if (tokens > 256) {
    return fail_call(err, MRT_UNSUPPORTED, "kv policy: %u tokens a page; this plugin takes up to 256", tokens);
  }
  uint64_t widest = 0;
  for (const uint32_t l : plan.groups[g].layers) {
    const KvLayer& layer = plan.kv_layers[l];
    widest = std::max<uint64_t>(widest, static_cast<uint64_t>(layer.kv_heads) * padded_dim(layer.k_dim));
    widest = std::max<uint64_t>(widest, static_cast<uint64_t>(layer.kv_heads) * padded_dim(layer.v_dim));
  }
  out->n_planes = 2 * out->n_layers;
  out->plane_bytes = (widest * tokens * geometry.unit_bytes + 63) / 64 * 64;
  return MRT_OK;
}

UnitPlace TileLayout::place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                            uint32_t unit) const noexcept {
  const uint32_t plane = 2 * operand.group_layer + (operand.is_v ? 1u : 0u), bytes = geometry.unit_bytes;
  if (operand.is_v || !is_tiled(geometry.page_tokens)) {
    return {plane,
            v_offset(geometry.page_tokens, operand.dim, head, token, bytes) + static_cast<uint64_t>(unit) * bytes};
  }
  return {plane,
          k_offset(geometry.page_tokens, operand.dim, head, token, bytes) + static_cast<uint64_t>(unit) * 16 * bytes};
}

}  // namespace merritt::onednn
