// SPDX-License-Identifier: Apache-2.0
// What the limits of a tenant mean, told a second time: the model that quotas are tested against.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "tenant/registry.hpp"
#include "tests/sdk/tenant/fake_clock.hpp"
#include "tests/sdk/tenant/ideal_bucket.hpp"

namespace merritt::tenant::test {

// A request as the model knows it.
struct Job {
  Demand demand;
  Grant grant;
  size_t take = 0;
  bool takes_tokens = false;
  uint64_t prompt = 0, output = 0;  // run so far
};

struct Twin {
  std::shared_ptr<Tenant> tenant;
  TenantLimits limits;  // with defaults
  IdealBucket tokens{kMinute}, requests{kSecond};
  std::vector<Job> waiting, running;
  uint32_t sequences = 0;
  Counts counts{};
  uint64_t kv_bytes = 0;
  IdealBucket::Wide kv_parts = 0;  // byte nanoseconds
  uint64_t kv_since = 0;
};

inline uint64_t tokens_of(const Demand& demand, uint64_t prompt, uint32_t output_max) {
  uint64_t output = demand.output_tokens;
  if (demand.output_default && output_max != 0) output = std::min<uint64_t>(output, output_max);
  return prompt + demand.sequences * output;
}

inline bool lacks(Twin& twin, uint64_t tokens, uint64_t now) {
  return twin.limits.tokens_per_minute != 0 && twin.tokens.level(now) < IdealBucket::Wide{tokens} * kMinute;
}

// The one cause for which the model would refuse; kRefusals = none.
inline uint32_t expected(Twin& twin, const Demand& d, const Load& load, uint64_t now) {
  const TenantLimits& l = twin.limits;
  const auto is = [](Refusal cause) { return static_cast<uint32_t>(cause); };
  bool listed = l.models.empty();
  for (const AllowedModel& model : l.models) listed |= model.id == d.model;
  if (!listed) return is(Refusal::kModel);
  if (d.prompt_bytes > l.prompt_bytes_max) return is(Refusal::kPromptBytes);
  if (l.output_max != 0 && !d.output_default && d.output_tokens > l.output_max) return is(Refusal::kOutput);
  if (l.context_max != 0 && d.prompt_tokens + 1 > l.context_max) return is(Refusal::kContext);
  if (l.sequences_max != 0 && d.sequences > l.sequences_max) return is(Refusal::kSequences);
  if (l.kv_bytes_max != 0 && d.kv_bytes > l.kv_bytes_max + l.kv_bytes_burst) return is(Refusal::kKvBytes);
  if (load.waiting >= load.queue_max) return is(Refusal::kOverload);
  if (twin.waiting.size() >= l.queue_max) return is(Refusal::kQueue);
  if (l.requests_per_second != 0 && twin.requests.level(now) < kSecond) return is(Refusal::kRequestRate);
  const uint64_t tokens = tokens_of(d, std::max<uint64_t>(d.prompt_tokens, 1), l.output_max);
  if (lacks(twin, tokens, now)) return is(Refusal::kTokenRate);
  return kRefusals;
}

}  // namespace merritt::tenant::test
