// SPDX-License-Identifier: Apache-2.0
// Who a tenant is to the core, and the account of its KV bytes over all models.
//
// Threads: the bytes are written by the step thread only, the limits by whoever changes a tenant's limits; all are read
// by any thread. It lives in base because the tenant that owns it and the KV caches that book on it may not know each
// other.
#pragma once

#include <atomic>
#include <cstdint>

namespace merritt {

enum class TenantId : uint32_t { kNone = 0 };

struct KvAccount {
  KvAccount(TenantId id, uint64_t limit) : tenant(id), limit_bytes(limit) {}
  KvAccount(const KvAccount&) = delete;
  KvAccount& operator=(const KvAccount&) = delete;

  const TenantId tenant;
  std::atomic<uint64_t> limit_bytes;          // 0 = no own limit
  std::atomic<uint64_t> floor_bytes{0};       // kept for this tenant: what fits is promised whole and never taken back
  std::atomic<uint64_t> floor_used_bytes{0};  // of it, promised to requests that run
  std::atomic<uint64_t> held_bytes{0};        // in pages that hold its tokens now; a shared page counts once
  std::atomic<uint64_t> claimed_bytes{
      0};  // held, and promised to its admitted sequences: what the limit is compared with
};

}  // namespace merritt
