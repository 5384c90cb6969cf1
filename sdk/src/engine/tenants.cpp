// SPDX-License-Identifier: Apache-2.0
// Tenants and what they use: the functions of Engine that need nothing of the step thread.
#include "engine/engine.hpp"

namespace merritt::engine {
// What the floors of all tenants may come to: the pools of the loaded models, or before the first, the whole budget.
uint64_t Engine::kv_capacity() const {
  const uint64_t pools = ledger_->held(backend::MemoryKind::kKv) + ledger_->held(backend::MemoryKind::kKvHot);
  return pools != 0 ? pools : ledger_->budget();
}

Result<std::shared_ptr<tenant::Tenant>> Engine::create_tenant(std::string_view name,
                                                              const tenant::TenantLimits& limits) {
  return tenants_.create(name, limits, kv_capacity(), now_ns());
}

Status Engine::set_limits(tenant::Tenant& tenant, const tenant::TenantLimits& limits) {
  if (tenant.closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  return tenants_.set_limits(tenant, limits, kv_capacity(), now_ns());
}

}  // namespace merritt::engine
