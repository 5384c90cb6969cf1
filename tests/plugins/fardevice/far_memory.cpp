// SPDX-License-Identifier: Apache-2.0
#include "far_memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace merritt::plugin::far {

void* FarMemory::take(uint32_t kind, uint64_t bytes, uint64_t align) noexcept {
  if (host_->charge(kind, static_cast<int64_t>(bytes)) != MRT_OK) return nullptr;
  align = std::max<uint64_t>(align, 64);
  void* p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (p == nullptr) {
    host_->charge(kind, -static_cast<int64_t>(bytes));
    return nullptr;
  }
  std::memset(p, 0, bytes);
  return p;
}

void FarMemory::give(uint32_t kind, void* p, uint64_t bytes) noexcept {
  if (kind == MRT_MEM_KV || kind == MRT_MEM_KV_HOT) wipe(p, bytes);
  std::free(p);
  host_->charge(kind, -static_cast<int64_t>(bytes));
}

int32_t FarLayout::shape(const Plan& plan, const KvGeometry& geometry, uint32_t g, mrt_kv_group* out,
                         mrt_error*) const {
  uint64_t widest = 0;
  for (const uint32_t l : plan.groups[g].layers) {
    const KvLayer& layer = plan.kv_layers[l];
    const uint64_t elements = static_cast<uint64_t>(layer.kv_heads) * std::max(layer.k_dim, layer.v_dim);
    widest = std::max(widest, 2 * elements / geometry.unit_elements * geometry.unit_bytes * geometry.page_tokens);
  }
  out->n_planes = out->n_layers;
  out->plane_bytes = (widest + 255) / 256 * 256;
  return MRT_OK;
}

UnitPlace FarLayout::place(const KvGeometry& geometry, const KvOperand& operand, uint32_t token, uint32_t head,
                           uint32_t unit) const noexcept {
  const uint64_t column = (static_cast<uint64_t>(head) * operand.units(geometry) + unit) * geometry.page_tokens +
                          (geometry.page_tokens - 1 - token);
  const uint64_t half = operand.is_v ? geometry.group[operand.group].plane_bytes / 2 : 0;
  return {operand.group_layer, half + column * geometry.unit_bytes};
}

void FarLayout::planes(const KvGeometry&, const KvOperand& operand, uint32_t* first, uint32_t* n) const noexcept {
  *first = operand.group_layer;
  *n = 1;
}

}  // namespace merritt::plugin::far
