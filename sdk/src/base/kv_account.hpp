// SPDX-License-Identifier: Apache-2.0
// Who a tenant is to the core, and the account of its KV bytes over all models.
//
// Threads: the bytes are written by the step thread only, the limits by whoever changes a tenant's limits; all are read
// by any thread. It lives in base because the tenant that owns it and the KV caches that book on it may not know each
// other.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/held_time.hpp"
#include "base/os/clock.hpp"

namespace merritt {

enum class TenantId : uint32_t { kNone = 0 };

class KvAccount {
 public:
  using Clock = uint64_t (*)();  // nanoseconds that never go back

  KvAccount(TenantId id, uint64_t limit, Clock now_ns = os::monotonic_ns)
      : tenant(id), limit_bytes(limit), clock_(now_ns) {}
  KvAccount(const KvAccount&) = delete;
  KvAccount& operator=(const KvAccount&) = delete;

  // Pages taken (bytes > 0) or given back, now.
  void hold(int64_t bytes) {
    const uint64_t held = held_bytes.load(std::memory_order_relaxed) + static_cast<uint64_t>(bytes);
    held_bytes.store(held, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    held_time_.change(held, clock_());
  }
  // What a new request may come to; 0 = no own limit.
  uint64_t hard_limit() const {
    const uint64_t limit = limit_bytes.load(std::memory_order_relaxed);
    return limit == 0 ? 0 : limit + burst_bytes.load(std::memory_order_relaxed);
  }
  // What claimed_bytes may never pass: the same, or as much as was allowed to requests that were accepted before.
  uint64_t limit_in_force() const {
    const uint64_t limit = hard_limit();
    return limit == 0 ? 0 : std::max(limit, accepted_limit.load(std::memory_order_relaxed));
  }
  // Above the ceiling, which lasts until somebody else wants the pages.
  bool in_burst() const {
    const uint64_t limit = limit_bytes.load(std::memory_order_relaxed);
    return limit != 0 && claimed_bytes.load(std::memory_order_relaxed) > limit;
  }
  // Bytes held over time, until now.
  uint64_t byte_seconds() const {
    const std::lock_guard lock(mutex_);
    return held_time_.byte_seconds(clock_());
  }

  const TenantId tenant;
  std::atomic<uint32_t> weight{1};            // the tenant's part beside others
  std::atomic<uint64_t> limit_bytes;          // 0 = no own limit
  std::atomic<uint64_t> burst_bytes{0};       // above limit_bytes, while nobody else wants the pages
  std::atomic<uint64_t> accepted_limit{0};    // of before it was lowered, until what was accepted then has ended
  std::atomic<uint64_t> floor_bytes{0};       // kept for this tenant: what fits is promised whole and never taken back
  std::atomic<uint64_t> prefix_bytes{0};      // of it, what beginnings of prompts may come to in one model; 0 = none
  std::atomic<uint64_t> floor_used_bytes{0};  // of it, promised to requests that run
  std::atomic<uint64_t> held_bytes{0};        // in pages that hold its tokens now; a shared page counts once
  std::atomic<uint64_t> claimed_bytes{
      0};  // held, and promised to its admitted sequences: what the limit is compared with

 private:
  const Clock clock_;
  mutable std::mutex mutex_;
  HeldTime held_time_;
};

}  // namespace merritt
