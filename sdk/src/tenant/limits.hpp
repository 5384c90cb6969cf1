// SPDX-License-Identifier: Apache-2.0
// What a tenant may ask for. A value: limits are replaced whole, and read once for each admission.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.hpp"

namespace merritt::tenant {

// One of the models a tenant may use: the engine's number for it, never used twice, and the name its host has for it.
struct AllowedModel {
  uint64_t id = 0;
  uint64_t handle = 0;
};

// Zero = the default said at each field, as in merritt_tenant_options.
struct TenantLimits {
  uint32_t sequences_max = 0;          // running at once; 0 = no own limit
  uint32_t queue_max = 0;              // requests waiting at once; 0 = 64
  uint32_t prompt_bytes_max = 0;       // 0 = 1 MiB
  uint64_t kv_bytes_max = 0;           // ceiling over all models; 0 = no own limit
  uint32_t weight = 0;                 // its part of a busy engine, against the others' weights; 0 = 1
  uint64_t kv_bytes_floor = 0;         // kept for it; 0 = none
  uint64_t kv_bytes_burst = 0;         // above the ceiling, while nobody else wants the pages; 0 = none
  uint32_t requests_per_second = 0;    // 0 = no own limit
  uint32_t requests_burst = 0;         // requests at once after a pause; 0 = those of one second
  uint64_t tokens_per_minute = 0;      // of prompts and outputs; 0 = no own limit
  uint64_t tokens_burst = 0;           // tokens at once after a pause; 0 = those of one minute
  uint32_t context_max = 0;            // tokens of a session; 0 = the model's
  uint32_t output_max = 0;             // max_tokens of a request; 0 = no own limit
  uint32_t deadline_ms_default = 0;    // of a request that names none; 0 = none
  uint64_t template_steps_max = 0;     // of one rendering of a chat template; 0 = 4,000,000
  uint64_t template_bytes_max = 0;     // and its output; 0 = 64 MiB
  uint64_t prefix_bytes_max = 0;       // KV of prompts kept for those that begin alike, in one model; 0 = none
  uint64_t model_bytes_max = 0;        // weights and KV pools of models loaded on its account; 0 = it may load none
  bool publishes = false;              // beginnings of its prompts may be published to all tenants
  std::vector<AllowedModel> models{};  // empty = all
};

// With the defaults filled in; kInvalidArgument where two of them contradict each other, with both numbers.
Result<TenantLimits> checked_limits(TenantLimits limits);
bool allows_model(const TenantLimits& limits, uint64_t model);

}  // namespace merritt::tenant
