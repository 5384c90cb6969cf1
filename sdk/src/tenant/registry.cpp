// SPDX-License-Identifier: Apache-2.0
#include "tenant/registry.hpp"

#include <algorithm>
#include <string>

#include "base/checked.hpp"
#include "base/limits.hpp"

namespace merritt::tenant {

std::vector<std::shared_ptr<Tenant>> Registry::alive() const {
  std::vector<std::shared_ptr<Tenant>> all;
  all.reserve(tenants_.size());
  for (const auto& weak : tenants_) {
    if (auto tenant = weak.lock(); tenant != nullptr) all.push_back(std::move(tenant));
  }
  return all;
}

Status Registry::check_floors(const Tenant* changed, uint64_t floor, uint64_t kv_bytes) const {
  if (floor == 0 || kv_bytes == 0) return {};
  uint64_t sum = floor;
  for (const auto& tenant : alive()) {
    if (tenant.get() == changed || tenant->closed()) continue;
    sum = checked_add(sum, tenant->kv_account()->floor_bytes.load()).value_or(UINT64_MAX);
  }
  if (sum <= kv_bytes) return {};
  return Status(Code::kInvalidArgument, "with kv_bytes_floor " + std::to_string(floor) +
                                            " the floors of all tenants come to " + std::to_string(sum) +
                                            " bytes; the KV pools that tenants share hold " + std::to_string(kv_bytes));
}

Result<std::shared_ptr<Tenant>> Registry::create(std::string_view name, const TenantLimits& limits, uint64_t kv_bytes,
                                                 uint64_t now_ns) {
  std::vector<std::shared_ptr<Tenant>> others;  // may be the last to hold one: they die outside the lock
  const std::lock_guard lock(mutex_);
  std::erase_if(tenants_, [](const auto& weak) { return weak.expired(); });
  others = alive();
  for (const auto& other : others) {
    if (!other->closed() && other->name() == name) {
      return Status(Code::kFailedPrecondition, "a tenant named " + std::string(name) + " lives in this engine already");
    }
  }
  MERRITT_CHECK(check_floors(nullptr, limits.kv_bytes_floor, kv_bytes));
  MERRITT_TRY(std::shared_ptr<Tenant> created,
              Tenant::create(static_cast<TenantId>(next_id_), name, limits, now_ns, archive_));
  ++next_id_;
  if (tenants_.size() >= limits::kTenantsMax) {
    return Status(Code::kOverloaded, "this engine has " + std::to_string(tenants_.size()) +
                                         " tenants, as many as it may: destroy one first");
  }
  tenants_.push_back(created);
  return created;
}

Status Registry::set_limits(Tenant& tenant, const TenantLimits& limits, uint64_t kv_bytes, uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  MERRITT_CHECK(check_floors(&tenant, limits.kv_bytes_floor, kv_bytes));
  return tenant.set_limits(limits, now_ns);
}

uint32_t Registry::n_open() const {
  const std::lock_guard lock(mutex_);
  const auto all = alive();
  return static_cast<uint32_t>(std::count_if(all.begin(), all.end(), [](const auto& t) { return !t->closed(); }));
}

std::vector<NamedUsage> Registry::usages(Counts* closed) const {
  std::vector<std::shared_ptr<Tenant>> all;
  {
    const std::lock_guard lock(mutex_);
    all = alive();
  }
  const Counts gone = archive_->total();
  for (uint32_t i = 0; i < kCounters; ++i) (*closed)[i] += gone[i];
  std::vector<NamedUsage> usages;
  for (const auto& tenant : all) {
    TenantUsage usage = tenant->usage();
    if (!tenant->closed()) {
      usages.push_back({static_cast<uint32_t>(tenant->id()), tenant->name(), usage});
      continue;
    }
    for (uint32_t i = 0; i < kCounters; ++i) (*closed)[i] += usage.counts[i];
  }
  return usages;
}

std::vector<NamedCounts> Registry::counts() const {
  std::vector<std::shared_ptr<Tenant>> all;
  {
    const std::lock_guard lock(mutex_);
    all = alive();
  }
  std::vector<NamedCounts> counts;
  for (const auto& tenant : all) {
    counts.push_back({static_cast<uint32_t>(tenant->id()), tenant->name(), tenant->counts()});
  }
  return counts;
}

}  // namespace merritt::tenant
