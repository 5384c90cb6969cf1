// SPDX-License-Identifier: Apache-2.0
//
// merritt/tenant.hpp: owns a tenant: the capability that sessions, quotas and usage hang from. Thread rule: as the C
// ABI, any thread; moving or closing the wrapper itself needs one thread at a time.
#pragma once

#include <cstdint>
#include <string_view>

#include <merritt/tenant.h>
#include <merritt/model.hpp>
#include <merritt/result.hpp>
#include <merritt/session.hpp>

namespace merritt {
inline namespace v0 {

using TenantUsage = merritt_tenant_usage;

struct TenantOptions {
  uint32_t sequences_max = 0;     // 0 = no own limit
  uint32_t queue_max = 0;         // 0 = 64
  uint32_t prompt_bytes_max = 0;  // 0 = 1 MiB
  uint64_t kv_bytes_max = 0;      // 0 = no own limit
};

class Tenant : public detail::Handle<merritt_tenant, merritt_tenant_destroy> {
 public:
  using Handle::Handle;

  [[nodiscard]] static Result<Tenant> create(merritt_engine engine, std::string_view name,
                                             const TenantOptions& options = {}) {
    merritt_tenant_options raw{};
    raw.struct_size = sizeof(raw);
    raw.sequences_max = options.sequences_max;
    raw.queue_max = options.queue_max;
    raw.prompt_bytes_max = options.prompt_bytes_max;
    raw.kv_bytes_max = options.kv_bytes_max;
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
};

}  // namespace v0
}  // namespace merritt
