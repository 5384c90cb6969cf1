// SPDX-License-Identifier: Apache-2.0
// Whose turn it is. The schedulers of an engine share one policy: they tell it who waits for service and what each
// tenant got, and ask who is next. Everything else about fairness is in here.
//
// Threads: the step thread only, but for what says otherwise. Pure: integers only, and the answers depend on the calls
// so far and nothing else.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/kv_account.hpp"

namespace merritt::scheduler {

enum class Resource : uint32_t { kCompute = 0, kPages = 1, kBytes = 2 };
inline constexpr size_t kResources = 3;

// An amount of each resource. kStepShare of one is what a model can give of it in one step.
using Service = std::array<uint64_t, kResources>;
inline constexpr uint64_t kStepShare = uint64_t{1} << 24;

inline Service& operator+=(Service& to, const Service& more) {
  for (size_t r = 0; r < kResources; ++r) to[r] += more[r];
  return to;
}

// Why a tenant was not to be served until now.
enum class Return : uint32_t { kFromIdleness = 0, kFromOwnLimit = 1 };

struct Candidate {
  TenantId tenant = TenantId::kNone;
  uint64_t order = 0;   // of the submission that would be served
  uint64_t served = 0;  // so far, by Policy::served
};

class Policy {
 public:
  virtual ~Policy() = default;
  // How many tenants there are, with or without requests. Any thread.
  void set_tenants(uint32_t n) { tenants_.store(n, std::memory_order_relaxed); }
  uint32_t tenants() const { return tenants_.load(std::memory_order_relaxed); }

  // The tenant has a request that waits and that no limit of its own keeps from starting; and no longer. Calls of the
  // schedulers are counted: a tenant that waits on two models leaves twice.
  virtual void enter(TenantId tenant, Return from) = 0;
  virtual void leave(TenantId tenant) = 0;
  // The index of the candidate to serve next, of at least one.
  virtual size_t pick(std::span<const Candidate> candidates) const = 0;
  // What the tenant gets, or will get for certain; and what of that it did not get after all.
  virtual void charge(TenantId tenant, uint32_t weight, const Service& service) = 0;
  virtual void refund(TenantId tenant, uint32_t weight, const Service& service) = 0;
  // Its dominant service so far, were `more` added: the largest of the three counters, each divided by the weight.
  virtual uint64_t served(TenantId tenant, uint32_t weight = 1, const Service& more = {}) const = 0;

 private:
  std::atomic<uint32_t> tenants_{1};
};

// The virtual token counter of each tenant (Sheng et al., OSDI 2024) over three resources: the least dominant service
// is next, the oldest request where it is equal. Who returns is lifted to the least of those that stayed, so that
// nobody saves up. docs/adr/0014 has the bound on the gap between two tenants.
class VirtualTokens final : public Policy {
 public:
  void enter(TenantId tenant, Return from) override;
  void leave(TenantId tenant) override;
  size_t pick(std::span<const Candidate> candidates) const override;
  void charge(TenantId tenant, uint32_t weight, const Service& service) override;
  void refund(TenantId tenant, uint32_t weight, const Service& service) override;
  uint64_t served(TenantId tenant, uint32_t weight, const Service& more) const override;

 private:
  struct Counter {
    Service served{};     // divided by the weight, and lifted
    Service remainder{};  // of the divisions, so that nothing is lost
    uint32_t entered = 0;

    uint64_t dominant() const;
  };

  uint64_t lift_level() const;
  void lift(Counter& counter) const;
  void forget_equals();

  std::unordered_map<TenantId, Counter> counters_;  // its order decides nothing
  std::vector<const Counter*> active_;              // entered at least once
  TenantId last_left_ = TenantId::kNone;
  size_t forget_at_ = 0;
};

}  // namespace merritt::scheduler
