// SPDX-License-Identifier: Apache-2.0
// A tenant: its identity, its limits, the admission of its requests before any work is done for them, and its usage.
//
// Threads: every function may be called from any thread; counters are atomics. start and finish are called by the step
// thread. A request is counted once: admit -> waiting -> (start -> running -> finish | leave_queue).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/kv_account.hpp"
#include "base/status.hpp"

namespace merritt::tenant {

// Zero = the default said at each field, as in merritt_tenant_options.
struct TenantLimits {
  uint32_t sequences_max = 0;     // running at once; 0 = no own limit
  uint32_t queue_max = 0;         // requests waiting at once; 0 = 64
  uint32_t prompt_bytes_max = 0;  // 0 = 1 MiB
  uint64_t kv_bytes_max = 0;      // over all models; 0 = no own limit
  uint32_t weight = 0;            // its part of a busy engine, against the others' weights; 0 = 1
};

// What a request asks for, known before any work.
struct Demand {
  uint64_t prompt_bytes = 0;  // of text; token prompts count four bytes a token
  uint32_t sequences = 1;     // n
  uint64_t kv_bytes = 0;      // worst case of all its sequences; 0 = not known yet
};

// How busy everybody keeps the engine (or the model): from Scheduler::load().
struct Load {
  uint32_t waiting = 0;
  uint32_t queue_max = 0;  // 0 = no limit of the engine
  uint64_t step_ns = 0;    // recent time of one step
};

struct TenantUsage {
  uint32_t requests_running = 0, requests_waiting = 0, sequences_running = 0, sessions = 0;
  uint64_t requests = 0, refusals = 0, prompt_tokens = 0, generated_tokens = 0, kv_bytes = 0;
};

// kInvalidArgument unless 1 to 63 bytes of [A-Za-z0-9._-].
Status check_name(std::string_view name);
// How long a refused caller should wait: the queue before it, at the recent pace; 10 ms to 30 s.
uint32_t retry_after_ms(uint32_t waiting, uint64_t step_ns);

class Tenant : public std::enable_shared_from_this<Tenant> {
 public:
  static Result<std::shared_ptr<Tenant>> create(TenantId id, std::string_view name, const TenantLimits& limits);
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  TenantId id() const { return account_->tenant; }
  const std::string& name() const { return name_; }
  const TenantLimits& limits() const { return limits_; }  // with the defaults filled in
  const std::shared_ptr<KvAccount>& kv_account() const { return account_; }

  // Closed = destroyed by its owner: nothing new is admitted (kNotFound), what runs is being cancelled.
  void close() { closed_.store(true, std::memory_order_release); }
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // Takes a place in the queue or refuses (and counts the refusal): kQuotaExceeded when it is this tenant's limit,
  // kOverloaded when everybody's queue is full. Whoever was admitted must start() or leave_queue().
  Status admit(const Demand& demand, const Load& load);
  void leave_queue();
  // Takes an admission back before anything was queued: it was not accepted after all.
  void withdraw();
  // Moves a request from waiting to running when its sequences fit the tenant's limit.
  bool start(uint32_t sequences);
  // Whether start would.
  bool may_start(uint32_t sequences) const;
  void finish(uint32_t sequences);
  // Back from running to waiting: its pages were taken back.
  void requeue(uint32_t sequences);

  void session_opened() { sessions_.fetch_add(1, std::memory_order_relaxed); }
  void session_closed() { sessions_.fetch_sub(1, std::memory_order_relaxed); }
  void add_prompt_tokens(uint64_t n) { prompt_tokens_.fetch_add(n, std::memory_order_relaxed); }
  void add_generated_tokens(uint64_t n) { generated_tokens_.fetch_add(n, std::memory_order_relaxed); }
  void add_refusal() { refusals_.fetch_add(1, std::memory_order_relaxed); }  // one made elsewhere
  uint32_t requests_running() const { return running_.load(std::memory_order_relaxed); }
  TenantUsage usage() const;

 private:
  Tenant(TenantId id, std::string_view name, const TenantLimits& limits);
  Status check_demand(const Demand& demand, const Load& load) const;

  const std::string name_;
  const TenantLimits limits_;
  const std::shared_ptr<KvAccount> account_;
  std::atomic<bool> closed_{false};
  std::atomic<uint32_t> waiting_{0}, running_{0}, sequences_{0}, sessions_{0};
  std::atomic<uint64_t> requests_{0}, refusals_{0}, prompt_tokens_{0}, generated_tokens_{0};
};

}  // namespace merritt::tenant
