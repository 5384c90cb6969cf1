// SPDX-License-Identifier: Apache-2.0
// Whose turn it is. The scheduler asks for each admission and each prefill chunk and tells what was given; everything
// else about fairness is in here.
//
// Threads: the step thread only. Pure: the answer depends on the calls so far and nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/kv_account.hpp"

namespace merritt::scheduler {

enum class Turn : uint32_t { kAdmission = 0, kPrefill = 1 };

class Policy {
 public:
  virtual ~Policy() = default;
  // The index of the tenant to serve next; `tenants` is not empty and in ascending order.
  virtual size_t pick(Turn turn, std::span<const TenantId> tenants) = 0;
  virtual void charge(TenantId tenant, uint32_t n_tokens) = 0;
};

// Each tenant in the order of ids, one turn each.
class RoundRobin final : public Policy {
 public:
  size_t pick(Turn turn, std::span<const TenantId> tenants) override;
  void charge(TenantId, uint32_t) override {}

 private:
  std::array<TenantId, 2> last_{};
};

}  // namespace merritt::scheduler
