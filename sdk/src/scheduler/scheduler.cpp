// SPDX-License-Identifier: Apache-2.0
#include "scheduler/scheduler.hpp"

#include <algorithm>
#include <string>

namespace merritt::scheduler {
namespace {

// Every running sequence can decode in every step, and a prompt always finds one token and one row beside them.
Limits usable(Limits limits) {
  limits.step_tokens_max = std::max(limits.step_tokens_max, 1u);
  limits.rows_max = std::max(limits.rows_max, 1u);
  limits.sequences_max = std::clamp(limits.sequences_max, 1u, std::min(limits.rows_max, limits.step_tokens_max));
  if (limits.prefill_chunk == 0) limits.prefill_chunk = limits.step_tokens_max;
  limits.prefill_chunk = std::min(limits.prefill_chunk, limits.step_tokens_max);
  return limits;
}

}  // namespace

Scheduler::Scheduler(const Limits& limits, kv::Cache& cache, std::shared_ptr<Policy> policy)
    : limits_(usable(limits)), cache_(cache), policy_(std::move(policy)) {
  if (policy_ == nullptr) policy_ = std::make_shared<VirtualTokens>();
  running_.reserve(limits_.sequences_max);
  takeable_.reserve(limits_.sequences_max);
  turns_.reserve(limits_.sequences_max);
  wanted_.reserve(limits_.sequences_max);
  plan_.runs.reserve(limits_.sequences_max);
  plan_.started.reserve(limits_.sequences_max);
  set_prices();
}

Scheduler::~Scheduler() {
  while (!running_.empty()) remove(running_.back());
  while (!lanes_.empty()) remove(lanes_.back()->waiting.back());
}

Scheduler::State* Scheduler::find(uint64_t request) {
  const auto found = requests_.find(request);
  return found == requests_.end() ? nullptr : found->second.get();
}

tenant::Load Scheduler::load() const {
  return {.waiting = load_waiting_.load(std::memory_order_relaxed),
          .queue_max = limits_.queue_max,
          .step_ns = load_step_ns_.load(std::memory_order_relaxed)};
}

// The most tokens a sequence of the request appends at once.
uint32_t Scheduler::chunk_of(const Submission& s) const {
  return s.prompt_chunk == 0 ? limits_.prefill_chunk : std::min(s.prompt_chunk, limits_.prefill_chunk);
}

// The prompt, then max_new_tokens of each choice; choices fork when the prompt is in.
kv::Reservation Scheduler::worst_case(const Submission& s, uint32_t forks) const {
  const uint64_t prompt_end = uint64_t{cache_.length(s.sequence)} + s.prompt_tokens;
  const auto clamp = [](uint64_t n) { return static_cast<uint32_t>(std::min<uint64_t>(n, UINT32_MAX)); };
  return {.max_length = clamp(prompt_end + s.max_new_tokens),
          .chunk = chunk_of(s),
          .forks = forks,
          .fork_length = clamp(prompt_end),
          .room_length = 0};
}

// ---- Requests come and go

Status Scheduler::check(const Submission& s) const {
  if (s.request == 0 || s.tenant == nullptr || requests_.contains(s.request)) {
    return Status(Code::kInternal, "a request needs a tenant and a number of its own");
  }
  if (!cache_.contains(s.sequence)) return Status(Code::kNotFound, "the request's sequence is not in the KV cache");
  if (s.prompt_tokens == 0) return Status(Code::kInvalidArgument, "the prompt has no token to run");
  if (s.n == 0 || s.n > limits_.sequences_max) {
    return Status(Code::kInvalidArgument, "n is " + std::to_string(s.n) + "; 1 to " +
                                              std::to_string(limits_.sequences_max) +
                                              " samples can run at once on this model");
  }
  if (n_waiting_ >= limits_.queue_max) {
    return Status(Code::kOverloaded, std::to_string(n_waiting_) + " requests are waiting, as many as the queue takes",
                  Blast::kRequest, tenant::retry_after_ms(n_waiting_, load().step_ns));
  }
  Submission whole = s;
  for (const kv::ClassRun& run : s.past) whole.prompt_tokens += run.n_tokens;
  return cache_.check_possible(*s.tenant->kv_account(), worst_case(whole, s.n - 1));
}

Status Scheduler::submit(const Submission& submission) {
  MERRITT_CHECK(check(submission));
  auto state = std::make_unique<State>();
  state->s = submission;
  state->keep = submission.tenant->shared_from_this();
  state->order = next_order_++;
  state->segments = submission.past;
  const uint32_t split = std::min(submission.prompt_split, submission.prompt_tokens);
  if (split != 0) state->segments.push_back({submission.prompt_class, split});
  state->segments.push_back({submission.prompt_class, submission.prompt_tokens - split});
  for (const kv::ClassRun& run : submission.past) state->past_tokens += run.n_tokens;
  state->s.prompt_tokens += state->past_tokens;
  state->choices.resize(submission.n);
  state->choices[0] = {.sequence = submission.sequence, .live = true};
  // Known first, so that want of memory for the queue leaves nothing behind.
  State* const known = requests_.emplace(submission.request, std::move(state)).first->second.get();
  try {
    known->lane = &lane_of(submission.tenant);
    queue(known, Among::kLast);
  } catch (...) {
    if (known->lane != nullptr) drop_if_empty(*known->lane);
    requests_.erase(submission.request);
    throw;
  }
  load_waiting_.store(++n_waiting_, std::memory_order_relaxed);
  note_deadline(submission);
  return {};
}

void Scheduler::note_deadline(const Submission& s) {
  if (s.deadline_ns != 0) next_deadline_ns_ = std::min(next_deadline_ns_, s.deadline_ns);
}

void Scheduler::cancel(uint64_t request) {
  State* state = find(request);
  if (state != nullptr) state->cancelled = some_cancelled_ = true;
}

void Scheduler::note_beginning(uint64_t request, const Beginning& beginning) {
  if (State* state = find(request); state != nullptr) state->s.beginning = beginning;
}

void Scheduler::finish(uint64_t request) {
  if (State* state = find(request); state != nullptr) remove(state);
}

void Scheduler::stop_running(State* state) {
  weighed_ = false;
  std::erase(running_, state);
  std::erase(takeable_, state);
  n_sequences_ -= state->s.n;
  --state->lane->n_running;
  state->lane->n_sequences -= state->s.n;
  refund_prompt(*state);
  state->s.tenant->kv_account()->floor_used_bytes.fetch_sub(std::exchange(state->floor_bytes, 0),
                                                            std::memory_order_relaxed);
}

void Scheduler::remove(State* state) {
  if (state->running) {
    for (const Choice& choice : state->choices) cache_.unreserve(choice.sequence);
    stop_running(state);
    state->s.tenant->finish(state->s.n);
  } else {
    std::erase(state->lane->waiting, state);
    load_waiting_.store(--n_waiting_, std::memory_order_relaxed);
    state->s.tenant->leave_queue();
  }
  drop_if_empty(*state->lane);
  requests_.erase(state->s.request);
}

void Scheduler::end(State* state, EndReason reason, Status failure) {
  plan_.ended.push_back({.request = state->s.request, .reason = reason, .failure = std::move(failure)});
  remove(state);
}

void Scheduler::end_overdue(uint64_t now_ns) {
  const auto overdue = [now_ns](const State* state) {
    return state->cancelled || state->s.tenant->closed() ||
           (state->s.deadline_ns != 0 && now_ns >= state->s.deadline_ns);
  };
  bool look = std::exchange(some_cancelled_, false) || now_ns >= next_deadline_ns_;
  for (const auto& lane : lanes_) look = look || lane->tenant->closed();
  if (!look) return;
  overdue_.clear();
  std::copy_if(running_.begin(), running_.end(), std::back_inserter(overdue_), overdue);
  for (const auto& lane : lanes_) {
    std::copy_if(lane->waiting.begin(), lane->waiting.end(), std::back_inserter(overdue_), overdue);
  }
  for (State* state : overdue_) {
    const bool cancelled = state->cancelled || state->s.tenant->closed();
    end(state, cancelled ? EndReason::kCancelled : EndReason::kDeadline, Status());
  }
  next_deadline_ns_ = UINT64_MAX;
  for (const auto& [request, state] : requests_) note_deadline(state->s);
}

// ---- The step

const BatchPlan& Scheduler::plan(uint64_t now_ns) {
  plan_.runs.clear();
  plan_.ended.clear();
  plan_.started.clear();
  plan_.preempted.clear();
  plan_.dropped.clear();
  ++n_plans_;
  weighed_ = false;
  plan_.n_tokens = plan_.n_rows = plan_.n_prompt_tokens = 0;
  end_overdue(now_ns);
  secure_pages();
  admit();
  refuse_stuck();
  plan_decodes();
  plan_prefills();
  plan_drafts();
  charge_pages();
  return plan_;
}

void Scheduler::advance(uint64_t request, uint32_t choice, uint32_t n_tokens) {
  State* state = find(request);
  if (state == nullptr) return;
  if (state->prefilling()) {
    state->prompt_done += std::min(n_tokens, state->s.prompt_tokens - state->prompt_done);
    note_fresh_prompt(*state, n_tokens);
    if (state->prefilling() || state->s.max_new_tokens == 0 || std::exchange(state->drawn, true)) return;
    for (Choice& each : state->choices) each.generated = 1;  // drawn after the prompt
    charge_generated(*state, state->s.n);
    return;
  }
  if (choice >= state->choices.size()) return;
  if (uint32_t& replay = state->choices[choice].replay; replay != 0) {
    replay -= std::min(n_tokens, replay);
    return;
  }
  state->choices[choice].proposed = 0;
  state->choices[choice].generated += n_tokens;
  charge_generated(*state, n_tokens);
}

Status Scheduler::add_choice(uint64_t request, uint32_t choice, kv::SequenceId sequence) {
  State* state = find(request);
  if (state == nullptr) return Status(Code::kNotFound, "the request has ended");
  if (choice >= state->choices.size() || state->choices[choice].live || state->choices[choice].ended ||
      state->prefilling()) {
    return Status(Code::kInternal, "choice " + std::to_string(choice) + " cannot be added to this request now");
  }
  state->choices[choice].sequence = sequence;
  state->choices[choice].live = true;
  return {};
}

void Scheduler::end_choice(uint64_t request, uint32_t choice) {
  State* state = find(request);
  if (state == nullptr || choice >= state->choices.size() || !state->choices[choice].live) return;
  state->choices[choice].live = false;
  state->choices[choice].ended = true;
  cache_.end_growth(state->choices[choice].sequence);
}

void Scheduler::step_done(uint64_t duration_ns) {
  const uint64_t before = load_step_ns_.load(std::memory_order_relaxed);
  const uint64_t now = before == 0 ? duration_ns : before - before / 8 + duration_ns / 8;
  load_step_ns_.store(now, std::memory_order_relaxed);
}

}  // namespace merritt::scheduler
