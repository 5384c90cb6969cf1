// SPDX-License-Identifier: Apache-2.0
//
// merritt/tenant.hpp: owns a tenant: the capability that sessions, quotas and usage hang from. Thread rule: as the C
// ABI, any thread; moving or closing the wrapper itself needs one thread at a time.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <merritt/tenant.h>
#include <merritt/model.hpp>
#include <merritt/result.hpp>
#include <merritt/session.hpp>

namespace merritt {
inline namespace v0 {

using TenantUsage = merritt_tenant_usage;

// What a tenant may ask for; zero is the default, see merritt/tenant.h.
struct TenantOptions {
  uint32_t sequences_max = 0;           // 0 = no own limit
  uint32_t queue_max = 0;               // 0 = 64
  uint32_t prompt_bytes_max = 0;        // 0 = 1 MiB
  uint64_t kv_bytes_max = 0;            // ceiling; 0 = no own limit
  uint64_t kv_bytes_floor = 0;          // kept for it; 0 = none
  uint64_t kv_bytes_burst = 0;          // above the ceiling while nobody else wants them; 0 = none
  uint32_t weight = 0;                  // 0 = 1
  uint32_t requests_per_second = 0;     // 0 = no own limit
  uint32_t requests_burst = 0;          // 0 = requests_per_second
  uint32_t context_max = 0;             // 0 = the model's
  uint64_t tokens_per_minute = 0;       // 0 = no own limit
  uint64_t tokens_burst = 0;            // 0 = tokens_per_minute
  uint32_t output_max = 0;              // 0 = no own limit
  uint32_t deadline_ms_default = 0;     // 0 = none
  uint64_t template_steps_max = 0;      // 0 = 4000000
  uint64_t template_bytes_max = 0;      // 0 = 64 MiB
  uint64_t prefix_bytes_max = 0;        // KV of prompts kept for those that begin alike, in each model; 0 = none
  uint64_t model_bytes_max = 0;         // of models loaded for it (ModelOptions::tenant); 0 = none may be
  bool publishes = false;               // Session::publish may be called on its sessions
  std::vector<merritt_model> models{};  // Model::capi() of those it may use; empty = every one
};

class Tenant : public detail::Handle<merritt_tenant, merritt_tenant_destroy> {
 public:
  using Handle::Handle;

  [[nodiscard]] static Result<Tenant> create(merritt_engine engine, std::string_view name,
                                             const TenantOptions& options = {}) {
    const merritt_tenant_options raw = raw_options(options);
    Tenant tenant;
    auto made = detail::call([&](merritt_error** e) {
      return merritt_tenant_create(engine, name.data(), name.size(), &raw, &tenant.raw_, e);
    });
    if (!made) {
      return std::move(made).error();
    }
    return tenant;
  }

  // A conversation with one model, with an empty cache.
  [[nodiscard]] Result<Session> session(const Model& model) { return Session::create(raw_, model.capi()); }
  [[nodiscard]] Result<TenantUsage> usage() const {
    TenantUsage usage{};
    usage.struct_size = sizeof(usage);
    auto got = detail::call([&](merritt_error** e) { return merritt_tenant_usage_get(raw_, &usage, e); });
    if (!got) {
      return std::move(got).error();
    }
    return usage;
  }
  // With the defaults in place of zeros.
  [[nodiscard]] Result<TenantOptions> limits() const {
    merritt_tenant_options raw{};
    raw.struct_size = sizeof(raw);
    auto got = detail::call([&](merritt_error** e) { return merritt_tenant_limits_get(raw_, &raw, e); });
    if (!got) {
      return std::move(got).error();
    }
    auto models = detail::read_buffer<std::vector<merritt_model>>(
        [&](merritt_model* data, size_t capacity, size_t* count, merritt_error** e) {
          return merritt_tenant_models_get(raw_, data, capacity, count, e);
        });
    if (!models) {
      return std::move(models).error();
    }
    TenantOptions options = options_of(raw);
    options.models = std::move(models).value();
    return options;
  }
  // Replaces all limits; what was accepted goes on as it was accepted.
  [[nodiscard]] Result<void> set_limits(const TenantOptions& options) {
    const merritt_tenant_options raw = raw_options(options);
    return detail::call([&](merritt_error** e) { return merritt_tenant_limits_set(raw_, &raw, e); });
  }

 private:
  static merritt_tenant_options raw_options(const TenantOptions& options) {
    merritt_tenant_options raw{};
    raw.struct_size = sizeof(raw);
    raw.sequences_max = options.sequences_max;
    raw.queue_max = options.queue_max;
    raw.prompt_bytes_max = options.prompt_bytes_max;
    raw.kv_bytes_max = options.kv_bytes_max;
    raw.kv_bytes_floor = options.kv_bytes_floor;
    raw.kv_bytes_burst = options.kv_bytes_burst;
    raw.weight = options.weight;
    raw.requests_per_second = options.requests_per_second;
    raw.requests_burst = options.requests_burst;
    raw.context_max = options.context_max;
    raw.tokens_per_minute = options.tokens_per_minute;
    raw.tokens_burst = options.tokens_burst;
    raw.output_max = options.output_max;
    raw.deadline_ms_default = options.deadline_ms_default;
    raw.template_steps_max = options.template_steps_max;
    raw.template_bytes_max = options.template_bytes_max;
    raw.prefix_bytes_max = options.prefix_bytes_max;
    raw.model_bytes_max = options.model_bytes_max;
    raw.flags = options.publishes ? MERRITT_TENANT_PUBLISHES : 0;
    raw.models = options.models.data();
    raw.n_models = static_cast<uint32_t>(options.models.size());
    return raw;
  }
  static TenantOptions options_of(const merritt_tenant_options& raw) {
    TenantOptions options;
    options.sequences_max = raw.sequences_max;
    options.queue_max = raw.queue_max;
    options.prompt_bytes_max = raw.prompt_bytes_max;
    options.kv_bytes_max = raw.kv_bytes_max;
    options.kv_bytes_floor = raw.kv_bytes_floor;
    options.kv_bytes_burst = raw.kv_bytes_burst;
    options.weight = raw.weight;
    options.requests_per_second = raw.requests_per_second;
    options.requests_burst = raw.requests_burst;
    options.context_max = raw.context_max;
    options.tokens_per_minute = raw.tokens_per_minute;
    options.tokens_burst = raw.tokens_burst;
    options.output_max = raw.output_max;
    options.deadline_ms_default = raw.deadline_ms_default;
    options.template_steps_max = raw.template_steps_max;
    options.template_bytes_max = raw.template_bytes_max;
    options.prefix_bytes_max = raw.prefix_bytes_max;
    options.model_bytes_max = raw.model_bytes_max;
    options.publishes = (raw.flags & MERRITT_TENANT_PUBLISHES) != 0;
    return options;
  }
};

}  // namespace v0
}  // namespace merritt
