// SPDX-License-Identifier: Apache-2.0
// merritt/tenant.h
#include <algorithm>

#include "api/convert.hpp"
#include "api/lookup.hpp"
#include "base/limits.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

namespace {

Status read_models(const EnginePin& pin, const merritt_tenant_options& options, tenant::TenantLimits& out) {
  if (options.n_models != 0 && options.models == nullptr) return invalid("models is NULL with n_models not 0");
  if (options.n_models > limits::kModelsMax) {
    return invalid("n_models is " + std::to_string(options.n_models) + "; the limit is " +
                   std::to_string(limits::kModelsMax));
  }
  for (uint32_t i = 0; i < options.n_models; ++i) {
    auto found = find(options.models[i]);
    if (!found.ok()) return std::move(found).status().with_context("models[" + std::to_string(i) + "]");
    if (found->pin.index() != pin.index()) {
      return Status(Code::kFailedPrecondition, "models[" + std::to_string(i) + "] belongs to another engine");
    }
    out.models.push_back({(*found)->id, Handle::from_pointer(options.models[i]).bits()});
  }
  return {};
}

Result<tenant::TenantLimits> read_limits(const EnginePin& pin, const merritt_tenant_options* in) {
  merritt_tenant_options own;
  MERRITT_CHECK(read_options(in, "merritt_tenant_options", own));
  MERRITT_CHECK(check_flags(own.flags, MERRITT_TENANT_PUBLISHES, "merritt_tenant_options"));
  tenant::TenantLimits out;
  out.sequences_max = own.sequences_max;
  out.queue_max = own.queue_max;
  out.prompt_bytes_max = own.prompt_bytes_max;
  out.kv_bytes_max = own.kv_bytes_max;
  out.kv_bytes_floor = own.kv_bytes_floor;
  out.kv_bytes_burst = own.kv_bytes_burst;
  out.weight = own.weight;
  out.requests_per_second = own.requests_per_second;
  out.requests_burst = own.requests_burst;
  out.tokens_per_minute = own.tokens_per_minute;
  out.tokens_burst = own.tokens_burst;
  out.context_max = own.context_max;
  out.output_max = own.output_max;
  out.deadline_ms_default = own.deadline_ms_default;
  out.template_steps_max = own.template_steps_max;
  out.template_bytes_max = own.template_bytes_max;
  out.prefix_bytes_max = own.prefix_bytes_max;
  out.model_bytes_max = own.model_bytes_max;
  out.publishes = (own.flags & MERRITT_TENANT_PUBLISHES) != 0;
  MERRITT_CHECK(read_models(pin, own, out));
  return out;
}

merritt_tenant_options limits_info(const tenant::TenantLimits& limits) {
  merritt_tenant_options info{};
  info.sequences_max = limits.sequences_max;
  info.queue_max = limits.queue_max;
  info.prompt_bytes_max = limits.prompt_bytes_max;
  info.kv_bytes_max = limits.kv_bytes_max;
  info.kv_bytes_floor = limits.kv_bytes_floor;
  info.kv_bytes_burst = limits.kv_bytes_burst;
  info.weight = limits.weight;
  info.requests_per_second = limits.requests_per_second;
  info.requests_burst = limits.requests_burst;
  info.tokens_per_minute = limits.tokens_per_minute;
  info.tokens_burst = limits.tokens_burst;
  info.context_max = limits.context_max;
  info.output_max = limits.output_max;
  info.deadline_ms_default = limits.deadline_ms_default;
  info.template_steps_max = limits.template_steps_max;
  info.template_bytes_max = limits.template_bytes_max;
  info.prefix_bytes_max = limits.prefix_bytes_max;
  info.model_bytes_max = limits.model_bytes_max;
  info.flags = limits.publishes ? MERRITT_TENANT_PUBLISHES : 0;
  info.n_models = static_cast<uint32_t>(limits.models.size());
  return info;
}

uint64_t count_of(const tenant::TenantUsage& usage, tenant::Counter counter) {
  return usage.counts[tenant::index_of(counter)];
}

merritt_tenant_usage usage_info(const tenant::TenantUsage& usage) {
  merritt_tenant_usage info{};
  info.requests_running = usage.requests_running;
  info.requests_waiting = usage.requests_waiting;
  info.sessions = usage.sessions;
  info.requests = usage.requests;
  info.refusals = usage.refusals;
  info.prompt_tokens = usage.prompt_tokens;
  info.generated_tokens = usage.generated_tokens;
  info.kv_bytes = usage.kv_bytes;
  info.cached_tokens = count_of(usage, tenant::Counter::kCachedTokens);
  info.draft_tokens = count_of(usage, tenant::Counter::kDraftTokens);
  info.draft_tokens_accepted = count_of(usage, tenant::Counter::kDraftTokensAccepted);
  info.kv_byte_seconds = count_of(usage, tenant::Counter::kKvByteSeconds);
  info.compute_ns = count_of(usage, tenant::Counter::kComputeNs);
  info.template_steps = count_of(usage, tenant::Counter::kTemplateSteps);
  info.model_bytes = usage.model_bytes;
  info.model_loads = count_of(usage, tenant::Counter::kModelLoads);
  info.model_load_ns = count_of(usage, tenant::Counter::kModelLoadNs);
  const auto counts = usage.counts.begin();
  static_assert(tenant::kRefusals <= 16 && tenant::kFinishes <= 8);
  std::copy_n(counts + tenant::index_of(tenant::Counter::kRefused), tenant::kRefusals, info.refusals_by_cause);
  std::copy_n(counts + tenant::index_of(tenant::Counter::kFinished), tenant::kFinishes, info.finished);
  return info;
}

}  // namespace

extern "C" {

int32_t merritt_tenant_create(merritt_engine handle, const char* name, size_t name_length,
                              const merritt_tenant_options* options, merritt_tenant* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    std::string_view text;
    MERRITT_CHECK(read_string(name, name_length, 63, "name", text));
    MERRITT_TRY(const tenant::TenantLimits tenant_limits, read_limits(pin, options));
    MERRITT_TRY(auto place, Place<merritt_tenant>::reserve(pin));
    MERRITT_TRY(auto created, pin.engine().create_tenant(text, tenant_limits));
    *out = place.publish(std::move(created));
    return {};
  });
}

int32_t merritt_tenant_destroy(merritt_tenant handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    return destroy(handle, [&](Found<tenant::Tenant>& found) -> Status {
      // Closed first: a child made at the same time is either seen here, or sees that it came too late.
      found->close();
      HandleTable& handles = found.pin.handles();
      const auto of_it = [&](engine::Session& s) { return s.tenant == found.object; };
      for (const auto& session : handles.all_of<engine::Session>(Kind::kSession, of_it)) {
        MERRITT_CHECK(found.engine().close_session(session));
      }
      const auto loaded_for_it = [&](engine::Model& m) { return m.charge.tenant() == found.object; };
      MERRITT_CHECK(found.engine().close_tenant(found.object));
      handles.remove_if<engine::Model>(Kind::kModel, loaded_for_it);
      handles.remove_if<RequestObject>(Kind::kRequest, [&](RequestObject& r) { return of_it(*r.request->session); });
      handles.remove_if<engine::Session>(Kind::kSession, of_it);
      return {};
    });
  });
}

int32_t merritt_tenant_limits_set(merritt_tenant handle, const merritt_tenant_options* options, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(const tenant::TenantLimits tenant_limits, read_limits(found.pin, options));
    return found.engine().set_limits(*found, tenant_limits);
  });
}

int32_t merritt_tenant_limits_get(merritt_tenant handle, merritt_tenant_options* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    return write_info(limits_info(found->limits()), "merritt_tenant_options", out);
  });
}

int32_t merritt_tenant_models_get(merritt_tenant handle, merritt_model* models, size_t capacity, size_t* count,
                                  merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    std::vector<merritt_model> allowed;
    for (const tenant::AllowedModel& one : found->limits().models) {
      allowed.push_back(Handle::from_bits(one.handle).as<merritt_model>());
    }
    return write_buffer(allowed.data(), allowed.size(), models, capacity, count, "models");
  });
}

int32_t merritt_tenant_usage_get(merritt_tenant handle, merritt_tenant_usage* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    return write_info(usage_info(found->usage()), "merritt_tenant_usage", out);
  });
}

}  // extern "C"
