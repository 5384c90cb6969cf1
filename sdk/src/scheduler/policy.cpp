// SPDX-License-Identifier: Apache-2.0
#include "scheduler/policy.hpp"

#include <algorithm>

#include "scheduler/mutant.hpp"

namespace merritt::scheduler {
namespace {

// So many counters are kept at least. One that is not above the lift is as good as none.
constexpr size_t kCountersKept = 4096;

}  // namespace

uint64_t VirtualTokens::Counter::dominant() const { return *std::max_element(served.begin(), served.end()); }

void VirtualTokens::enter(TenantId tenant, Return from) {
  if (counters_.size() >= forget_at_) forget_equals();
  Counter& counter = counters_[tenant];
  if (counter.entered++ != 0) return;
  const bool lifted =
      kMutant != Mutant::kNoLift && (kMutant != Mutant::kNoLiftAfterCeiling || from != Return::kFromOwnLimit);
  if (lifted) lift(counter);
  active_.push_back(&counter);
}

// Where nobody stayed, what the last one that left has by now.
uint64_t VirtualTokens::lift_level() const {
  if (active_.empty()) return served(last_left_, 1, {});
  uint64_t least = UINT64_MAX;
  for (const Counter* other : active_) least = std::min(least, other->dominant());
  return least;
}

// All three alike, so that the differences between them stay what the tenant used.
void VirtualTokens::lift(Counter& counter) const {
  const uint64_t least = lift_level();
  const uint64_t own = counter.dominant();
  if (own >= least) return;
  for (uint64_t& served : counter.served) served += least - own;
}

void VirtualTokens::leave(TenantId tenant) {
  const auto found = counters_.find(tenant);
  if (found == counters_.end() || found->second.entered == 0 || --found->second.entered != 0) return;
  std::erase(active_, &found->second);
  last_left_ = tenant;
}

void VirtualTokens::forget_equals() {
  const uint64_t least = lift_level();
  std::erase_if(counters_, [&](const auto& item) {
    return item.first != last_left_ && item.second.entered == 0 && item.second.dominant() <= least;
  });
  forget_at_ = std::max(2 * counters_.size(), kCountersKept);
}

size_t VirtualTokens::pick(std::span<const Candidate> candidates) const {
  const auto key = [](const Candidate& c) { return kMutant == Mutant::kFcfs ? 0 : c.served; };
  size_t best = 0;
  uint64_t least = key(candidates[0]);
  for (size_t i = 1; i < candidates.size(); ++i) {
    const uint64_t own = key(candidates[i]);
    if (own > least || (own == least && candidates[i].order >= candidates[best].order)) continue;
    best = i;
    least = own;
  }
  return best;
}

void VirtualTokens::charge(TenantId tenant, uint32_t weight, const Service& service) {
  Counter& counter = counters_[tenant];
  for (size_t r = 0; r < kResources; ++r) {
    const uint64_t units = service[r] + counter.remainder[r];
    counter.served[r] += units / weight;
    counter.remainder[r] = units % weight;
  }
}

void VirtualTokens::refund(TenantId tenant, uint32_t weight, const Service& service) {
  Counter& counter = counters_[tenant];
  for (size_t r = 0; r < kResources; ++r) {
    uint64_t back = service[r] / weight;
    const uint64_t rest = service[r] % weight;
    if (rest > counter.remainder[r]) {
      ++back;
      counter.remainder[r] += weight;
    }
    counter.remainder[r] -= rest;
    counter.served[r] -= std::min(counter.served[r], back);
  }
}

uint64_t VirtualTokens::served(TenantId tenant, uint32_t weight, const Service& more) const {
  const auto found = counters_.find(tenant);
  uint64_t dominant = 0;
  for (size_t r = 0; r < kResources; ++r) {
    const uint64_t own = found == counters_.end() ? 0 : found->second.served[r];
    dominant = std::max(dominant, own + more[r] / weight);
  }
  return dominant;
}

}  // namespace merritt::scheduler
