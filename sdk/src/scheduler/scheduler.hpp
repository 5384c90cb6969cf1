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

// What tenants pay.
struct Costs {
  uint32_t prompt_token = 1, generated_token = 2;
  uint64_t compute_price = 0;  // counter units of the 1 above; 0 = sequences_max generated tokens fill a step
  bool pages = true;           // pages held in a step are paid for
  uint64_t bytes_per_step = uint64_t{64} << 20;  // spilled or sealed: as much as fills a step
};

struct Limits {
  uint32_t step_tokens_max = 512;
  uint32_t sequences_max = 32;                    // running at once
  uint32_t rows_max = 32;                         // rows of logits in a step; also bounds the running sequences
  uint32_t prefill_chunk = 0;                     // tokens of one prompt in one step; 0 = step_tokens_max
  uint32_t draft_rows_max = 0;                    // decoding rows up to which drafts fill a step; 0 = no drafts
  uint32_t queue_max = limits::kRequestQueueMax;  // requests waiting
  bool one_tenant = false;                        // all requests are one tenant's, which shares with nobody
  // So many tokens of past make a prompt token cost twice: attention grows with them. A step's budget counts that, so
  // that the late chunks of a long prompt are shorter and nobody's decoding is held up. 0 = all tokens cost the same.
  uint32_t past_doubles = 8192;
  Costs costs = {};
};

enum class Rows : uint32_t { kLast = 0, kAll = 1 };  // of the prompt

// The one place where a weight is read: it may change while requests run, and the next charge is made with the new one.
inline uint32_t weight_of(const KvAccount& account) { return account.weight.load(std::memory_order_relaxed); }
inline uint32_t weight_of(const tenant::Tenant& tenant) { return weight_of(*tenant.kv_account()); }

// A sequence that holds the first tokens of a request as well, so that the request could begin with them again.
struct Beginning {
  kv::SequenceId sequence = kv::SequenceId::kNone;
  uint32_t tokens = 0;
};

struct Submission {
  uint64_t request = 0;              // the caller's number, not 0, unique among the live ones
  tenant::Tenant* tenant = nullptr;  // admitted; kept alive until the request has ended
  kv::SequenceId sequence{};         // of choice 0, with what is cached already
  uint32_t prompt_tokens = 0;        // still to run, at least 1
  uint32_t max_new_tokens = 0;       // to generate per choice; 0 = an evaluation, which ends with its prompt
  uint32_t n = 1;                    // choices
  uint64_t deadline_ns = 0;          // 0 = none
  int32_t priority = 0;              // among the requests of its tenant; higher is first
  Rows prompt_rows = Rows::kLast;
  kv::TokenClass prompt_class = kv::TokenClass::kPrompt;
  uint32_t prompt_split = 0;            // a step ends when so many of prompt_tokens are in; 0 = nowhere
  uint32_t prompt_chunk = 0;            // most prompt tokens in one step; 0 = the limit
  std::vector<kv::ClassRun> past = {};  // tokens of the sequence that are not cached (any more): run before the prompt
  Beginning beginning = {};             // of the sequence
};

struct Run {
  uint64_t request = 0;
  uint32_t choice = 0;
  kv::SequenceId sequence{};
  kv::TokenClass token_class = kv::TokenClass::kPrompt;
  uint32_t n_tokens = 0;
  uint32_t n_rows = 0;  // the last n_rows tokens of the run want logits
  bool prompt = false;  // tokens come from the past and the prompt (else: the token drawn last, then its draft)
  bool last_of_prompt = false;
  bool replay = false;  // tokens that were drawn before: nothing is drawn; of a choice, those from prompt_first on
  uint32_t prompt_first = 0;  // of the past and the prompt, the first token of this run
};

enum class EndReason : uint32_t { kCancelled = 0, kDeadline = 1, kRefused = 2 };
struct Ended {
  uint64_t request = 0;
  EndReason reason = EndReason::kCancelled;
  Status failure;  // kRefused only
};

// Its pages were taken back: it waits again, its sequence is empty, and the forked ones are gone. When it starts again
// it runs what it ran before, each token in the class that it had, but for what resume_from() says.
struct Preempted {
  uint64_t request = 0;
  uint32_t n_tokens = 0;  // of choice 0
};

// Pages of a sequence at rest were taken back: it ends at `position` now. Whoever runs next on it runs its tokens again
// from there; a request that waits for its turn on it does so by itself.
struct Dropped {
  kv::SequenceId sequence{};
  uint32_t position = 0;
};

struct BatchPlan {
  std::vector<Run> runs;          // decodes first
  std::vector<Ended> ended;       // the scheduler has forgotten these already
  std::vector<uint64_t> started;  // left the queue with this plan
  std::vector<Preempted> preempted;
  std::vector<Dropped> dropped;
  uint32_t n_tokens = 0, n_rows = 0;
  uint32_t n_prompt_tokens = 0;

  bool empty() const { return runs.empty(); }
};

class Scheduler {
 public:
  // cache must outlive the scheduler. The schedulers of an engine share a policy; null = one of its own.
  Scheduler(const Limits& limits, kv::Cache& cache, std::shared_ptr<Policy> policy = nullptr);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes the request into the queue. On failure (kOverloaded: queue full; kInvalidArgument: can never fit, with the
  // numbers) the scheduler knows nothing of it and the caller's tenant.leave_queue() is due.
  Status submit(const Submission& submission);
  // The next plan reports it ended. Unknown requests are ignored.
  void cancel(uint64_t request);
  // What would be there if the request had to begin again; instead of what was noted before.
  void note_beginning(uint64_t request, const Beginning& beginning);
  // A preempted request goes on from this sequence, which holds its first tokens: these are not run again. False: it
  // does not wait with an empty sequence (any more), or nothing of its prompt would be left to run. Else its old
  // sequence is the caller's.
  bool resume_from(uint64_t request, kv::SequenceId sequence);

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
  // Bytes that were moved or sealed for the tenant.
  void charge_bytes(const tenant::Tenant& tenant, uint64_t bytes);
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
    uint32_t proposed = 0;   // tokens of its draft
    uint32_t generated = 0;  // drawn
    uint32_t past = 0;       // of those run, which have to be run again in all,
    uint32_t replay = 0;     // and which still
    bool ended = false;
  };
  struct Lane;
  struct State {
    Submission s;
    std::shared_ptr<tenant::Tenant> keep;  // s.tenant
    Lane* lane = nullptr;
    State* next_prompt = nullptr;        // of the same tenant, in the plan being made
    uint32_t weight = 1;                 // of the tenant when the prompt was paid for
    uint64_t order = 0;                  // of submission
    std::vector<kv::ClassRun> segments;  // s.prompt_tokens in classes
    uint32_t past_tokens = 0;            // of s.past
    uint32_t prefix = 0;                 // length of the sequence when the prompt is in
    uint32_t prompt_done = 0;
    uint32_t preempted = 0;                         // times
    uint32_t reached = 0;                           // length of the sequence at most, by the prompt
    uint64_t fresh = 0;                             // cost of what it ran since it started and had not run before
    uint64_t floor_bytes = 0;                       // taken of the tenant's floor
    uint64_t started_plan = 0, preempted_plan = 0;  // numbers of plans
    bool promised = false;                          // the worst case is reserved, nobody takes it back
    bool drawn = false;                             // the first tokens
    uint32_t bypassed = 0;  // younger requests of others that started while there was no room for this one
    uint32_t share = 0;     // prompt tokens in the plan being made
    bool running = false;
    bool cancelled = false;
    std::vector<Choice> choices;

    bool prefilling() const { return prompt_done < s.prompt_tokens; }
    bool wants_rows() const { return s.prompt_rows == Rows::kAll && prompt_done >= past_tokens; }
    TenantId tenant() const { return s.tenant->id(); }
  };
  struct Lane {  // of one tenant with requests here
    explicit Lane(tenant::Tenant* t) : tenant(t) {}
    TenantId id() const { return tenant->id(); }

    tenant::Tenant* tenant;
    std::deque<State*> waiting;  // the highest priority first
    uint32_t n_running = 0;
    uint32_t n_sequences = 0;  // of the running ones
    bool entered = false;      // the policy knows that it waits for service
    bool own_limit = false;    // not so, because a limit of its own holds it back
    bool blocked = false;      // its head could not start in this plan,
    Code failure = Code::kOk;  // because of this; ok = the tenant's sequences_max
    uint64_t page_units = 0;   // scratch of a plan, as these:
    State* gives = nullptr;
    uint32_t given = 0;
    State* prompts = nullptr;
    State** prompts_end = nullptr;
    uint64_t served = 0;
    uint64_t excess = 0;
  };

  State* find(uint64_t request);
  uint32_t chunk_of(const Submission& s) const;
  kv::Reservation worst_case(const Submission& s, uint32_t forks) const;
  Status check(const Submission& s) const;
  void stop_running(State* state);
  void remove(State* state);
  void end(State* state, EndReason reason, Status failure);
  void note_deadline(const Submission& s);
  void end_overdue(uint64_t now_ns);

  // scheduler/admission.cpp
  Lane& lane_of(tenant::Tenant* tenant);
  void drop_if_empty(Lane& lane);
  enum class Among : uint32_t { kFirst = 0, kLast = 1 };  // of those with the same priority
  static void queue(State* state, Among among);
  void admit();
  bool shared() const { return !limits_.one_tenant && policy_->tenants() >= 2; }
  bool over_sequences(const Lane& lane, uint32_t more) const;
  void look_at_own_limit(Lane& lane);
  void collect_candidates();
  Lane* next_lane();
  bool may_bypass(const Lane& lane, uint64_t least_blocked) const;
  Code room_to_start(const State& state, const kv::Reservation& reservation) const;
  Code try_start(State& state, bool* started);
  void start(State* state);
  void count_bypasses();
  void refuse_stuck();

  // scheduler/borrow.cpp
  uint32_t forks_to_come(const State& state) const;
  bool fits_floor(const State& state) const;
  bool is_promised(const State& state) const;
  kv::Reservation reservation_for(const State& state) const;
  bool over_share(const Lane& lane, kv::SequenceId sequence, uint64_t more_bytes, uint64_t back = 0) const;
  void secure_pages();
  bool secure(State& state);
  uint64_t excess_of(const KvAccount& account, uint64_t claimed_bytes) const;
  void weigh_lanes();
  bool may_lose_pages(const State& state, uint64_t least_excess) const;
  State* victim_of(const Lane* only, const Lane* spared, uint64_t least_excess) const;
  bool make_room(const State& state, const kv::Reservation& reservation);
  void preempt(State* state);

  // scheduler/at_rest.cpp
  enum class Whose : uint32_t { kOwn = 0, kAnybodys = 1 };
  struct Resting {  // of one owner
    const KvAccount* account = nullptr;
    uint64_t excess = 0;
    uint64_t floor = 0;
    uint64_t bytes = 0;  // that may be taken
  };
  struct Cut {
    kv::SequenceId sequence = kv::SequenceId::kNone;
    uint32_t position = 0;
    uint32_t cuts = UINT32_MAX;  // with it, until something is free
  };
  void look_at_rest(const State& state, Whose whose);
  uint64_t bytes_at_rest(const State& state);
  bool drop_at_rest(const State& state, Whose whose);
  bool drop_of(const Resting& owner, kv::SequenceId spared);
  Cut cut_of(const Resting& owner, kv::SequenceId sequence) const;
  void drop_tail(kv::SequenceId sequence, uint32_t position);

  // scheduler/slots.cpp
  // A tenant that would give a sequence to one that will run up to twice / (2 * weight) by weight, and the two of it
  // and of those that would give to more who have had most service.
  struct Giver {
    const Lane* lane = nullptr;
    uint64_t twice = 0, weight = 0;
    const Lane* most = nullptr;
    uint64_t most_served = 0, second_served = 0;
    bool has_second = false;
  };
  uint32_t free_sequences() const { return limits_.sequences_max - n_sequences_; }
  uint64_t cost_to_rerun(const State& state) const;
  bool may_be_taken(const State& state) const;
  static bool gives(const State& from, uint32_t given, const State& to);
  void look_at_givers();
  void list_givers();
  bool somebody_gives(const State& to) const;
  State* first_to_give(const State& to) const;
  bool can_take(const State& state);
  bool take_sequences(const State& state);

  // scheduler/charges.cpp
  void set_prices();
  Service compute(uint64_t tokens, uint64_t cost) const;
  uint64_t prompt_cost(const State& state) const;
  static uint64_t to_run(const State& state);
  Service still_to_come(const State& state) const;
  void charge_prompt(State& state);
  void refund_prompt(const State& state);
  void note_fresh_prompt(State& state, uint32_t n_tokens);
  void charge_generated(State& state, uint32_t n_tokens);
  void charge_pages();

  // scheduler/decode.cpp
  void plan_decodes();
  void plan_drafts();

  // scheduler/prefill.cpp
  void plan_prefills();
  struct Pending {  // what a request that does not decode yet runs next
    uint32_t choice = 0;
    kv::TokenClass token_class = kv::TokenClass::kPrompt;
    uint32_t n_tokens = 0;  // of one class; 0 = nothing
  };
  static Pending pending_of(const State& state);
  void collect_prompts();
  bool plan_prefill_round(uint32_t* budget, uint32_t* rows);
  void share_out(Lane& lane, uint32_t share, uint32_t row_share, uint32_t* budget, uint32_t* rows);
  uint32_t wish(const State& state, uint32_t budget, uint32_t rows) const;
  uint32_t cost_of(const State& state, uint32_t n_tokens) const;
  void add_prompt_run(const State& state);

  Limits limits_;
  kv::Cache& cache_;
  std::shared_ptr<Policy> policy_;
  uint64_t compute_price_ = 1;
  std::array<uint64_t, kv::kMaxGroups> page_prices_{};
  uint64_t lead_ = 0;                                              // of service that a bypass may make
  std::unordered_map<uint64_t, std::unique_ptr<State>> requests_;  // its order decides nothing
  std::vector<std::unique_ptr<Lane>> lanes_;                       // in the order of tenant ids
  std::vector<State*> running_;                                    // in the order they started
  std::vector<State*> takeable_;         // the same; of each tenant's, who is taken back first comes first
  std::vector<State*> overdue_;          // scratch
  std::vector<Giver> givers_;            // of this plan, when all sequences run; who gives to most first
  std::vector<Candidate> candidates_;    // scratch: of a turn,
  std::vector<Lane*> turns_;             // and their lanes; of a round of prompts
  Lane* starved_ = nullptr;              // whose head everybody waits for
  uint64_t least_blocked_ = UINT64_MAX;  // service of those that wait for room
  bool weighed_ = false;                 // Lane::excess is right, and the largest of them:
  uint64_t most_excess_ = 0;
  std::vector<kv::Cache::Rest> owners_;  // scratch: who has sequences at rest,
  std::vector<Resting> resting_;         // and what of that may be taken
  std::vector<uint32_t> wanted_;         // scratch: draft tokens the runs of the plan still wait for
  BatchPlan plan_;
  uint32_t n_waiting_ = 0;
  uint32_t n_sequences_ = 0;  // of the running requests, all their choices from the start
  uint64_t next_order_ = 1;
  uint64_t n_plans_ = 0;
  bool some_cancelled_ = false;
  uint64_t next_deadline_ns_ = UINT64_MAX;  // the earliest, or an earlier one
  uint32_t cushion_ = 1;                    // tokens that a borrowing sequence is extended by
  uint32_t sequences_share_ = 1;            // default ceilings of one tenant of several
  uint64_t pool_share_ = 0;
  std::atomic<uint32_t> load_waiting_{0};
  std::atomic<uint64_t> load_step_ns_{0};
};

}  // namespace merritt::scheduler
