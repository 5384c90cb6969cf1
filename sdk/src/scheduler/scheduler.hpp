// SPDX-License-Identifier: Apache-2.0
// Continuous batching for one model: which sequences run how many tokens in the next step.
//
// The engine's step:   plan(now) -> end the requests of plan.ended -> prepare_append, run, commit -> advance() for each
// run that was committed -> fork and add_choice(), propose(), end_choice(), finish() as the drawn tokens say ->
// step_done(duration). A run that is not advanced is planned again. A failed step needs no call.
//
// Threads: the step thread only, but load(), which any thread may call. Times are passed in; the same calls give the
// same plans. The decode path allocates nothing. Invariants of a plan: tokens <= step_tokens_max, runs <=
// sequences_max, rows <= rows_max; every decoding sequence is in it; a sequence stands in it once; drafts take only
// what nothing else of the step wants.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/limits.hpp"
#include "base/status.hpp"
#include "kv/cache.hpp"
#include "scheduler/policy.hpp"
#include "tenant/tenant.hpp"

namespace merritt::scheduler {

struct Limits {
  uint32_t step_tokens_max = 512;
  uint32_t sequences_max = 32;                    // running at once
  uint32_t rows_max = 32;                         // rows of logits in a step; also bounds the running sequences
  uint32_t prefill_chunk = 0;                     // tokens of one prompt in one step; 0 = step_tokens_max
  uint32_t draft_rows_max = 0;                    // decoding rows up to which drafts fill a step; 0 = no drafts
  uint32_t queue_max = limits::kRequestQueueMax;  // requests waiting
};

enum class Rows : uint32_t { kLast = 0, kAll = 1 };  // of the prompt

struct Submission {
  uint64_t request = 0;              // the caller's number, not 0, unique among the live ones
  tenant::Tenant* tenant = nullptr;  // admitted; kept alive until the request has ended
  kv::SequenceId sequence{};         // of choice 0, with what is cached already
  uint32_t prompt_tokens = 0;        // still to run, at least 1
  uint32_t max_new_tokens = 0;       // to generate per choice; 0 = an evaluation, which ends with its prompt
  uint32_t n = 1;                    // choices
  uint64_t deadline_ns = 0;          // 0 = none
  Rows prompt_rows = Rows::kLast;
  kv::TokenClass prompt_class = kv::TokenClass::kPrompt;
  uint32_t prompt_chunk = 0;  // most prompt tokens in one step; 0 = the limit
};

struct Run {
  uint64_t request = 0;
  uint32_t choice = 0;
  kv::SequenceId sequence{};
  kv::TokenClass token_class = kv::TokenClass::kPrompt;
  uint32_t n_tokens = 0;
  uint32_t n_rows = 0;  // the last n_rows tokens of the run want logits
  bool prompt = false;  // tokens come from the prompt (else: the token drawn last, then n_tokens - 1 of its draft)
  bool last_of_prompt = false;
  uint32_t prompt_first = 0;  // of the prompt tokens submitted, the first one of this run
};

enum class EndReason : uint32_t { kCancelled = 0, kDeadline = 1, kRefused = 2 };
struct Ended {
  uint64_t request = 0;
  EndReason reason = EndReason::kCancelled;
  Status failure;  // kRefused only
};

struct BatchPlan {
  std::vector<Run> runs;          // decodes first
  std::vector<Ended> ended;       // the scheduler has forgotten these already
  std::vector<uint64_t> started;  // left the queue with this plan
  uint32_t n_tokens = 0, n_rows = 0;
  uint32_t n_prompt_tokens = 0;

  bool empty() const { return runs.empty(); }
};

class Scheduler {
 public:
  // cache must outlive the scheduler. policy null = round robin.
  Scheduler(const Limits& limits, kv::Cache& cache, std::unique_ptr<Policy> policy = nullptr);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes the request into the queue. On failure (kOverloaded: queue full; kInvalidArgument: can never fit, with the
  // numbers) the scheduler knows nothing of it and the caller's tenant.leave_queue() is due.
  Status submit(const Submission& submission);
  // The next plan reports it ended. Unknown requests are ignored.
  void cancel(uint64_t request);

  // The next step. Valid until the next call.
  const BatchPlan& plan(uint64_t now_ns);
  const BatchPlan& last_plan() const { return plan_; }
  // The run was committed with n_tokens tokens. Of a decoding choice, what was proposed is forgotten.
  void advance(uint64_t request, uint32_t choice, uint32_t n_tokens);
  // The choice has a draft of n_tokens tokens for its next run, not more than it may still generate after that run's
  // own; the next plans take as many of them, from the first on, as there is room for.
  void propose(uint64_t request, uint32_t choice, uint32_t n_tokens);
  // A sample forked from choice 0 after the prompt; decodes from the next plan on.
  Status add_choice(uint64_t request, uint32_t choice, kv::SequenceId sequence);
  // The choice decodes no more; its reservation ends. The sequence stays the caller's.
  void end_choice(uint64_t request, uint32_t choice);
  // Forgets the request wherever it is, with all reservations.
  void finish(uint64_t request);
  // Duration of the step just done, for retry hints.
  void step_done(uint64_t duration_ns);

  bool contains(uint64_t request) const { return requests_.contains(request); }
  bool idle() const { return requests_.empty(); }
  uint32_t n_waiting() const { return n_waiting_; }
  uint32_t n_running() const { return static_cast<uint32_t>(requests_.size()) - n_waiting_; }
  tenant::Load load() const;

 private:
  struct Choice {
    kv::SequenceId sequence{};
    bool live = false;
    uint32_t proposed = 0;  // tokens of its draft
  };
  struct State {
    Submission s;
    std::shared_ptr<tenant::Tenant> keep;  // s.tenant
    uint64_t order = 0;                    // of submission
    uint32_t prompt_done = 0;
    uint32_t bypassed = 0;  // younger requests that started while there was no room for this one
    uint32_t share = 0;     // prompt tokens in the plan being made
    bool running = false;
    bool cancelled = false;
    std::vector<Choice> choices;

    bool prefilling() const { return prompt_done < s.prompt_tokens; }
    TenantId tenant() const { return s.tenant->id(); }
  };
  struct Queue {  // of one tenant
    explicit Queue(tenant::Tenant* t) : tenant(t) {}
    tenant::Tenant* tenant;
    std::deque<State*> waiting;
    bool blocked = false;  // its head could not start in this plan,
    Status failure;        // because of this; ok = the tenant's sequences_max
  };

  State* find(uint64_t request);
  uint32_t chunk_of(const Submission& s) const;
  kv::Reservation reservation_of(const Submission& s) const;
  Status check(const Submission& s) const;
  void remove(State* state);
  void end(State* state, EndReason reason, Status failure);
  void end_overdue(uint64_t now_ns);

  // scheduler/admission.cpp
  Queue& queue_of(tenant::Tenant* tenant);
  void admit();
  Queue* next_queue();
  Status try_start(State& state, bool* started);
  void count_bypasses();
  void refuse_stuck();

  // scheduler/decode.cpp
  void plan_decodes();
  void plan_drafts();

  // scheduler/prefill.cpp
  void plan_prefills();
  bool wishes(TenantId tenant, uint32_t tokens, uint32_t rows) const;
  bool plan_prefill_round(uint32_t* tokens, uint32_t* rows);
  uint32_t wish(const State& state, uint32_t tokens, uint32_t rows) const;
  void add_prompt_run(const State& state);

  Limits limits_;
  kv::Cache& cache_;
  std::unique_ptr<Policy> policy_;
  std::unordered_map<uint64_t, std::unique_ptr<State>> requests_;  // never iterated: its order is not ours
  std::vector<Queue> queues_;      // in the order of tenant ids; only tenants with waiting requests
  std::vector<State*> running_;    // in the order they started
  std::vector<State*> overdue_;    // scratch
  std::vector<TenantId> tenants_;  // scratch: the candidates of a turn
  std::vector<uint32_t> wanted_;   // scratch: draft tokens the runs of the plan still wait for
  BatchPlan plan_;
  uint32_t n_waiting_ = 0;
  uint32_t n_sequences_ = 0;  // of the running requests, all their choices from the start
  uint64_t next_order_ = 1;
  std::atomic<uint32_t> load_waiting_{0};
  std::atomic<uint64_t> load_step_ns_{0};
};

}  // namespace merritt::scheduler
