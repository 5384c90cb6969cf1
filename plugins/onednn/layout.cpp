// SPDX-License-Identifier: Apache-2.0
#include "onednn/layout.hpp"

#include <algorithm>
#include <cstring>

namespace merritt::onednn {
using namespace plugin;

int32_t TileLayout::shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                          mrt_error* err) const {
  const uint32_t tokens = geometry.page_tokens;
  if (tokens > 256) {
    return fail_call(err, MRT_UNSUPPORTED, "kv policy: %u tokens a page; this plugin takes up to 256", tokens);
  }
  if (geometry.type == kQ8_0 && !is_tiled(tokens)) {
    return fail_call(err, MRT_UNSUPPORTED, "kv policy: %u tokens a page; q8_0 takes multiples of 16", tokens);
  }
  uint64_t widest = 0;
  for (const uint32_t l : plan.groups[g].layers) {
    const KvLayer& layer = plan.kv_layers[l];
    for (const uint32_t dim : {layer.k_dim, layer.v_dim}) {
      widest = std::max<uint64_t>(widest, layer.kv_heads * head_row_bytes(geometry.type, padded_dim(dim)));
    }
  }
  out->n_planes = 2 * out->n_layers;
  out->plane_bytes = (widest * tokens + 63) / 64 * 64;
  return MRT_OK;
}

UnitPlace TileLayout::place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                            uint32_t unit) const noexcept {
  const uint32_t plane = 2 * operand.group_layer + (operand.is_v ? 1u : 0u), bytes = geometry.unit_bytes;
  const uint32_t tokens = geometry.page_tokens, type = geometry.type, lane = token % 16;
  if (!is_tiled(tokens)) {
    return {plane, row_offset(type, tokens, operand.dim, head, token) + static_cast<uint64_t>(unit) * bytes};
  }
  if (operand.is_v) {
    return {plane, v_sixteen(type, tokens, operand.dim, head, token) +
                       (static_cast<uint64_t>(lane) * padded_dim(operand.dim) + unit) * bytes};
  }
  return {plane, k_sixteen(type, tokens, operand.dim, head, token) + (static_cast<uint64_t>(unit) * 16 + lane) * bytes};
}

namespace {
uint64_t q8_sixteen(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head) noexcept {
  const uint32_t plane = 2 * operand.group_layer + (operand.is_v ? 1u : 0u);
  return plane * geometry.group[operand.group].plane_bytes +
         k_sixteen(kQ8_0, geometry.page_tokens, operand.dim, head, token);
}
}  // namespace

void TileLayout::get_unit(const KvGeometry& geometry, const KvOperand& operand, const uint8_t* page, uint32_t token,
                          uint32_t head, uint32_t unit, uint8_t* to) const noexcept {
  if (geometry.type != kQ8_0) return KvLayout::get_unit(geometry, operand, page, token, head, unit, to);
  const uint8_t* sixteen = page + q8_sixteen(geometry, operand, token, head);
  q8_parts(operand.is_v, operand.dim, token, unit,
           [&](uint32_t at, uint64_t place, uint32_t n) { std::memcpy(to + at, sixteen + place, n); });
}

void TileLayout::put_unit(const KvGeometry& geometry, const KvOperand& operand, const uint8_t* from, uint32_t token,
                          uint32_t head, uint32_t unit, uint8_t* page) const noexcept {
  if (geometry.type != kQ8_0) return KvLayout::put_unit(geometry, operand, from, token, head, unit, page);
  uint8_t* sixteen = page + q8_sixteen(geometry, operand, token, head);
  q8_parts(operand.is_v, operand.dim, token, unit,
           [&](uint32_t at, uint64_t place, uint32_t n) { std::memcpy(sixteen + place, from + at, n); });
}

}  // namespace merritt::onednn
