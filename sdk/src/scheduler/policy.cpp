// SPDX-License-Identifier: Apache-2.0
#include "scheduler/policy.hpp"

#include <algorithm>

namespace merritt::scheduler {

size_t RoundRobin::pick(Turn turn, std::span<const TenantId> tenants) {
  TenantId& last = last_[static_cast<size_t>(turn)];
  auto next = std::upper_bound(tenants.begin(), tenants.end(), last);
  if (next == tenants.end()) next = tenants.begin();
  last = *next;
  return static_cast<size_t>(next - tenants.begin());
}

}  // namespace merritt::scheduler
