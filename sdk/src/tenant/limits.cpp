// SPDX-License-Identifier: Apache-2.0
#include "tenant/limits.hpp"

#include <algorithm>
#include <string>

#include "base/checked.hpp"
#include "base/limits.hpp"

namespace merritt::tenant {
namespace {

constexpr uint32_t kQueueDefault = 64;
constexpr uint32_t kPromptBytesDefault = 1u << 20;
constexpr uint64_t kTemplateStepsDefault = 4'000'000;
constexpr uint64_t kTemplateBytesDefault = uint64_t{64} << 20;

template <class T>
void fill(T& field, T value) {
  if (field == 0) field = value;
}

Status invalid_pair(const char* what, uint64_t value, const char* bound, uint64_t limit) {
  return Status(Code::kInvalidArgument,
                std::string(what) + " is " + std::to_string(value) + "; " + bound + " is " + std::to_string(limit));
}

}  // namespace

Result<TenantLimits> checked_limits(TenantLimits limits) {
  if (limits.weight > limits::kTenantWeightMax) {
    return invalid_pair("weight", limits.weight, "the limit", limits::kTenantWeightMax);
  }
  if (limits.models.size() > limits::kModelsMax) {
    return invalid_pair("n_models", limits.models.size(), "the limit", limits::kModelsMax);
  }
  if (limits.kv_bytes_max != 0 && limits.kv_bytes_floor > limits.kv_bytes_max) {
    return invalid_pair("kv_bytes_floor", limits.kv_bytes_floor, "kv_bytes_max", limits.kv_bytes_max);
  }
  if (!checked_add(limits.kv_bytes_max, limits.kv_bytes_burst)) {
    return invalid_pair("kv_bytes_burst", limits.kv_bytes_burst, "with it no number holds kv_bytes_max, which",
                        limits.kv_bytes_max);
  }
  if (limits.kv_bytes_max != 0 && limits.prefix_bytes_max > limits.kv_bytes_max) {
    return invalid_pair("prefix_bytes_max", limits.prefix_bytes_max, "kv_bytes_max", limits.kv_bytes_max);
  }
  if (limits.requests_per_second == 0 && limits.requests_burst != 0) {
    return invalid_pair("requests_burst", limits.requests_burst, "requests_per_second", 0);
  }
  if (limits.tokens_per_minute == 0 && limits.tokens_burst != 0) {
    return invalid_pair("tokens_burst", limits.tokens_burst, "tokens_per_minute", 0);
  }
  fill(limits.queue_max, kQueueDefault);
  fill(limits.prompt_bytes_max, kPromptBytesDefault);
  fill(limits.weight, 1u);
  fill(limits.requests_burst, limits.requests_per_second);
  fill(limits.tokens_burst, limits.tokens_per_minute);
  fill(limits.template_steps_max, kTemplateStepsDefault);
  fill(limits.template_bytes_max, kTemplateBytesDefault);
  return limits;
}

bool allows_model(const TenantLimits& limits, uint64_t model) {
  if (limits.models.empty()) return true;
  return std::any_of(limits.models.begin(), limits.models.end(), [&](const auto& one) { return one.id == model; });
}

}  // namespace merritt::tenant
