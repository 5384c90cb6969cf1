// SPDX-License-Identifier: Apache-2.0
// merritt/tenant.h
#include "api/lookup.hpp"
#include "base/limits.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

extern "C" {

int32_t merritt_tenant_create(merritt_engine handle, const char* name, size_t name_length,
                              const merritt_tenant_options* options, merritt_tenant* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    std::string_view text;
    MERRITT_CHECK(read_string(name, name_length, 63, "name", text));
    merritt_tenant_options own;
    MERRITT_CHECK(read_options(options, "merritt_tenant_options", own));
    tenant::TenantLimits tenant_limits;
    tenant_limits.sequences_max = own.sequences_max;
    tenant_limits.queue_max = own.queue_max;
    tenant_limits.prompt_bytes_max = own.prompt_bytes_max;
    tenant_limits.kv_bytes_max = own.kv_bytes_max;
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
      MERRITT_CHECK(found.engine().close_tenant(found.object));
      handles.remove_if<RequestObject>(Kind::kRequest, [&](RequestObject& r) { return of_it(*r.request->session); });
      handles.remove_if<engine::Session>(Kind::kSession, of_it);
      return {};
    });
  });
}

int32_t merritt_tenant_usage_get(merritt_tenant handle, merritt_tenant_usage* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    const tenant::TenantUsage usage = found->usage();
    merritt_tenant_usage info{};
    info.requests_running = usage.requests_running;
    info.requests_waiting = usage.requests_waiting;
    info.sessions = usage.sessions;
    info.requests = usage.requests;
    info.refusals = usage.refusals;
    info.prompt_tokens = usage.prompt_tokens;
    info.generated_tokens = usage.generated_tokens;
    info.kv_bytes = usage.kv_bytes;
    return write_info(info, "merritt_tenant_usage", out);
  });
}

}  // extern "C"
