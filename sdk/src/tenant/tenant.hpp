// SPDX-License-Identifier: Apache-2.0
// A tenant: its identity, its limits, the admission of its requests before any work is done for them, and its usage.
//
// Threads: every function may be called from any thread. start and finish are called by the step thread. Times are
// passed in, on a clock that never goes back. A request is counted once: admit -> waiting -> (start -> running ->
// finish | leave_queue); its tokens per minute are held from admit on, until settle or withdraw.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/kv_account.hpp"
#include "base/status.hpp"
#include "tenant/archive.hpp"
#include "tenant/bucket.hpp"
#include "tenant/ledger.hpp"
#include "tenant/limits.hpp"
#include "tenant/model_charge.hpp"

namespace merritt::tenant {

// What a request asks for, known before any work.
struct Demand {
  uint64_t prompt_bytes = 0;    // of text; token prompts count four bytes a token
  uint32_t sequences = 1;       // n
  uint64_t kv_bytes = 0;        // worst case of all its sequences; 0 = not known yet
  uint64_t prompt_tokens = 0;   // 0 = not known yet: counts as one until it is
  uint32_t output_tokens = 0;   // max_tokens of each sequence
  bool output_default = false;  // the caller named none: output_max bounds it instead of refusing it
  uint32_t context_max = 0;     // of the model, 0 = not known; no output is longer
  uint64_t model = 0;           // its id; 0 = any
};

// What an admitted request may do: the limits as they were when it was admitted.
struct Grant {
  uint64_t hold = 0;           // of tokens per minute
  uint64_t tokens = 0;         // held
  uint32_t max_tokens = 0;     // of each sequence, as asked or, where nothing was, as output_max has it
  uint32_t output_tokens = 0;  // the same, as far as the model's context goes
  uint32_t context_max = 0;    // 0 = the model's
  uint32_t deadline_ms = 0;    // of a request that names none; 0 = none
  uint32_t prompt_bytes_max = 0;
  uint64_t template_steps_max = 0, template_bytes_max = 0;
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
  uint64_t model_bytes = 0;
  Counts counts{};
};

// kInvalidArgument unless 1 to 63 bytes of [A-Za-z0-9._-].
Status check_name(std::string_view name);
// How long a refused caller should wait: the queue before it, at the recent pace; 10 ms to 30 s.
uint32_t retry_after_ms(uint32_t waiting, uint64_t step_ns);

class Tenant : public std::enable_shared_from_this<Tenant> {
 public:
  // What it has used goes to the archive with it. kv_clock measures how long it holds KV pages.
  static Result<std::shared_ptr<Tenant>> create(TenantId id, std::string_view name, const TenantLimits& limits,
                                                uint64_t now_ns = os::monotonic_ns(),
                                                std::shared_ptr<Archive> archive = nullptr,
                                                KvAccount::Clock kv_clock = os::monotonic_ns);
  ~Tenant();
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  TenantId id() const { return account_->tenant; }
  const std::string& name() const { return name_; }
  const std::shared_ptr<KvAccount>& kv_account() const { return account_; }

  TenantLimits limits() const;  // with the defaults filled in
  uint32_t weight() const { return account_->weight.load(std::memory_order_relaxed); }
  // Replaces all limits, also while requests wait and run: what was accepted goes on as it was accepted.
  Status set_limits(const TenantLimits& limits, uint64_t now_ns);

  // Closed = destroyed by its owner: nothing new is admitted (kNotFound), what runs is being cancelled.
  void close() { closed_.store(true, std::memory_order_release); }
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // kPermissionDenied (and counted) unless the tenant may use the model.
  Status check_model(uint64_t model);
  // Takes a place in the queue, a request of those per second and the tokens, or refuses (and counts the refusal):
  // kQuotaExceeded when it is this tenant's limit, kPermissionDenied for a model that is not its own, kOverloaded when
  // everybody's queue is full. Whoever was admitted must start() or leave_queue(), and settle().
  Result<Grant> admit(const Demand& demand, const Load& load, uint64_t now_ns);
  // The same for a caller that has nothing to settle.
  Status admit(const Demand& demand, const Load& load);
  // The number of prompt tokens is known: holds the tokens it comes to in place of those held so far. When they are
  // refused, nothing is held any more.
  Status charge(Grant& grant, const Demand& demand, uint64_t now_ns);
  // The admitted request was queued.
  void accept();
  // Takes an admission back before anything was queued: it was not accepted after all. It stays one of the requests per
  // second.
  void withdraw(const Grant& grant = {}, uint64_t now_ns = 0);
  void leave_queue();
  // Moves a request from waiting to running when its sequences fit the tenant's limit. One that was accepted under a
  // larger limit runs alone.
  bool start(uint32_t sequences);
  // Whether start would.
  bool may_start(uint32_t sequences) const;
  void finish(uint32_t sequences);
  // Back from running to waiting: its pages were taken back.
  void requeue(uint32_t sequences);
  // The request has ended, having run and generated `used` tokens.
  void settle(const Grant& grant, uint64_t used, uint64_t now_ns);

  // A model is to be loaded on its account: one at a time, as one of its requests per second, and only where
  // model_bytes_max says so. The account's bytes are asked of the charge, as far as they are known.
  Result<ModelCharge> admit_load(uint64_t now_ns);
  uint64_t model_bytes() const;

  // Counts a refusal made elsewhere and hands its status on.
  Status refuse(Refusal cause, Status status);
  void add_refusal(Refusal cause = Refusal::kOther) { ledger_.add(index_of(cause), 1); }

  void session_opened() { sessions_.fetch_add(1, std::memory_order_relaxed); }
  void session_closed() { sessions_.fetch_sub(1, std::memory_order_relaxed); }
  void add_prompt_tokens(uint64_t n) { ledger_.add(Counter::kPromptTokens, n); }
  void add_generated_tokens(uint64_t n) { ledger_.add(Counter::kGeneratedTokens, n); }
  void add_finished(uint32_t reason) { ledger_.add(index_of_finish(reason), 1); }
  Ledger& ledger() { return ledger_; }
  uint32_t requests_running() const { return running_.load(std::memory_order_relaxed); }
  TenantUsage usage() const;
  Counts counts() const;

 private:
  friend class ModelCharge;
  struct Verdict {
    Refusal cause{};
    Status status;
  };

  Tenant(TenantId id, std::string_view name, std::shared_ptr<Archive> archive, KvAccount::Clock kv_clock);
  Status model_refusal() const;
  Verdict check_demand(const Demand& demand, const Load& load) const;
  Verdict check_request_rate(uint64_t now_ns);
  Verdict check_rates(uint64_t tokens, uint64_t now_ns);
  Verdict check_load(uint64_t now_ns);
  Status token_refusal(uint64_t tokens, uint64_t wait_ns, uint64_t left) const;
  void apply_limits(TenantLimits limits, uint64_t now_ns);
  void forget_accepted();

  const std::string name_;
  const std::shared_ptr<KvAccount> account_;
  const std::shared_ptr<Archive> archive_;
  std::atomic<bool> closed_{false};

  mutable std::mutex mutex_;  // guards all down to the blank line; held for arithmetic only
  TenantLimits limits_;
  Bucket request_rate_, token_rate_;
  uint64_t model_bytes_ = 0;
  uint32_t models_ = 0;   // on its account, with the one that is being loaded
  bool loading_ = false;  // there is one

  std::atomic<uint32_t> sequences_max_{0};  // of limits_, for the step thread
  std::atomic<uint32_t> waiting_{0}, running_{0}, sequences_{0}, sessions_{0};
  std::atomic<uint32_t> pending_{0};  // admitted, and not accepted or withdrawn yet
  Ledger ledger_;
};

}  // namespace merritt::tenant
