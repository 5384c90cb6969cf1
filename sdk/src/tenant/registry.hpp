// SPDX-License-Identifier: Apache-2.0
// The tenants of one engine: their names, what is promised to them together, and what all of them have used.
// Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "tenant/archive.hpp"
#include "tenant/tenant.hpp"

namespace merritt::tenant {

struct NamedUsage {
  uint32_t id = 0;
  std::string name;
  TenantUsage usage;
};

class Registry {
 public:
  // kFailedPrecondition: the name is taken. kInvalidArgument: with it, the floors of all tenants are more than
  // kv_bytes, which is what the engine's pools hold (0 = nobody knows yet).
  Result<std::shared_ptr<Tenant>> create(std::string_view name, const TenantLimits& limits, uint64_t kv_bytes,
                                         uint64_t now_ns);
  Status set_limits(Tenant& tenant, const TenantLimits& limits, uint64_t kv_bytes, uint64_t now_ns);

  // Of tenants that are not closed.
  uint32_t n_open() const;
  // Of the tenants that live, in the order they were made. What closed ones and those that are gone have used is added
  // to *closed.
  std::vector<NamedUsage> usages(Counts* closed) const;
  // Of all that live, closed or not, for the journal.
  std::vector<NamedCounts> counts() const;
  Archive& archive() { return *archive_; }

 private:
  std::vector<std::shared_ptr<Tenant>> alive() const;
  Status check_floors(const Tenant* changed, uint64_t floor, uint64_t kv_bytes) const;

  mutable std::mutex mutex_;  // guards tenants_ and next_id_, and keeps floors as they are while they are added up
  std::vector<std::weak_ptr<Tenant>> tenants_;
  uint32_t next_id_ = 1;
  const std::shared_ptr<Archive> archive_ = std::make_shared<Archive>();
};

}  // namespace merritt::tenant
