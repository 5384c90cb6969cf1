// SPDX-License-Identifier: Apache-2.0
// From waiting to running: inside a tenant the highest priority first, and of equals first come first served; the
// policy between tenants; and only when the pages can be had that the request starts with (borrow.cpp). What a tenant
// gets does not depend on its priorities: they say which of its requests gets it.
#include <algorithm>
#include <string>

#include "scheduler/mutant.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

// How many younger requests may start while an older one waits for room. Then nobody else starts before it does:
// small requests cannot starve a large one.
constexpr uint32_t kBypassMax = 16;
// How many heads are tried in vain in one step.
constexpr uint32_t kFailuresMax = 16;

}  // namespace

Scheduler::Lane& Scheduler::lane_of(tenant::Tenant* tenant) {
  const auto at = std::lower_bound(lanes_.begin(), lanes_.end(), tenant->id(),
                                   [](const auto& lane, TenantId id) { return lane->id() < id; });
  if (at != lanes_.end() && (*at)->tenant == tenant) return **at;
  return **lanes_.insert(at, std::make_unique<Lane>(tenant));
}

// Of waiting requests, then of any.
void Scheduler::drop_if_empty(Lane& lane) {
  if (!lane.waiting.empty()) return;
  if (std::exchange(lane.entered, false)) policy_->leave(lane.id());
  lane.own_limit = false;
  if (lane.n_running != 0) return;
  std::erase_if(lanes_, [&lane](const auto& each) { return each.get() == &lane; });
}

void Scheduler::queue(State* state, Among among) {
  std::deque<State*>& waiting = state->lane->waiting;
  const int32_t priority = state->s.priority;
  const auto at = std::partition_point(waiting.begin(), waiting.end(), [priority, among](const State* other) {
    return among == Among::kFirst ? other->s.priority > priority : other->s.priority >= priority;
  });
  waiting.insert(at, state);
}

void Scheduler::admit() {
  for (const auto& lane : lanes_) {
    lane->blocked = false;
    lane->failure = Code::kOk;
    if (!lane->waiting.empty()) look_at_own_limit(*lane);
  }
  bool known = false;
  for (uint32_t failed = 0; n_waiting_ != 0 && failed < kFailuresMax;) {
    if (!known) collect_candidates();
    Lane* lane = next_lane();
    if (lane == nullptr) break;
    State* state = lane->waiting.front();
    const size_t preempted = plan_.preempted.size();
    bool started = false;
    lane->failure = try_start(*state, &started);
    lane->blocked = !started;
    if (started) start(state);
    if (lane->failure == Code::kOverloaded) least_blocked_ = std::min(least_blocked_, policy_->served(lane->id()));
    failed += started ? 0 : 1;
    known = !started && plan_.preempted.size() == preempted;
  }
  count_bypasses();
}

void Scheduler::start(State* state) {
  Lane& lane = *state->lane;
  plan_.started.push_back(state->s.request);
  running_.push_back(state);
  const auto kept_longer = [state](const State* other) { return other->s.priority < state->s.priority; };
  takeable_.insert(std::partition_point(takeable_.begin(), takeable_.end(), kept_longer), state);
  n_sequences_ += state->s.n;
  state->running = true;
  weighed_ = false;
  state->started_plan = n_plans_;
  state->fresh = 0;
  state->prefix = cache_.length(state->s.sequence) + state->s.prompt_tokens;
  ++lane.n_running;
  lane.n_sequences += state->s.n;
  charge_prompt(*state);
  load_waiting_.store(--n_waiting_, std::memory_order_relaxed);
  lane.waiting.pop_front();
  if (lane.waiting.empty()) {
    drop_if_empty(lane);
  } else {
    State& next = *lane.waiting.front();
    if (next.s.priority < state->s.priority) next.bypassed = 0;  // passed by its own tenant: others owe it nothing
    look_at_own_limit(lane);
  }
}

bool Scheduler::over_sequences(const Lane& lane, uint32_t more) const {
  if (kWithoutCeilings || !shared() || lane.n_running == 0) return false;
  return lane.n_sequences + more > sequences_share_;
}

// Who is held back by a limit of its own is not waiting for service, and is lifted when it comes back. Its sequences at
// rest do not hold it back: they will give way.
void Scheduler::look_at_own_limit(Lane& lane) {
  const State& head = *lane.waiting.front();
  Code failure = Code::kOk;
  bool held_back = !lane.tenant->may_start(head.s.n);
  if (!held_back) {
    const kv::Reservation reservation = reservation_for(head);
    const uint64_t rest = cache_.rest_of_owner(head.s.sequence);
    failure = cache_.room_for(head.s.sequence, reservation, kv::Cache::Room::kOwn, rest);
    held_back = failure != Code::kOk || over_share(lane, head.s.sequence, cache_.bytes_needed(reservation), rest) ||
                over_sequences(lane, head.s.n);
  }
  lane.blocked = head.preempted_plan == n_plans_;  // not again in this plan
  if (held_back) {
    lane.blocked = lane.own_limit = true;
    lane.failure = failure;
    if (std::exchange(lane.entered, false)) policy_->leave(lane.id());
  } else if (!std::exchange(lane.entered, true)) {
    policy_->enter(lane.id(), lane.own_limit ? Return::kFromOwnLimit : Return::kFromIdleness);
    lane.own_limit = false;
  }
}

// When all sequences run, only who may take one is a candidate; the others are next as soon as one ends, and whoever
// goes ahead of them then goes ahead within the bound.
void Scheduler::collect_candidates() {
  starved_ = nullptr;
  least_blocked_ = UINT64_MAX;
  candidates_.clear();
  turns_.clear();
  const bool full = free_sequences() == 0;
  if (full) list_givers();
  for (const auto& lane : lanes_) {
    if (!lane->entered) continue;
    const State& head = *lane->waiting.front();
    const uint64_t served = policy_->served(lane->id());
    const bool older = starved_ == nullptr || head.order < starved_->waiting.front()->order;
    if (head.bypassed >= kBypassMax && older) starved_ = lane.get();
    if (lane->failure == Code::kOverloaded) least_blocked_ = std::min(least_blocked_, served);
    if (lane->blocked) continue;
    if (full && !somebody_gives(head)) {
      least_blocked_ = std::min(least_blocked_, served);
      continue;
    }
    candidates_.push_back({.tenant = lane->id(), .order = head.order, .served = served});
    turns_.push_back(lane.get());
  }
}

// Whose head is tried next; null = nobody's. While somebody with less service waits for room, only requests go ahead
// that leave their tenant within the bound.
Scheduler::Lane* Scheduler::next_lane() {
  if (starved_ != nullptr) return starved_->blocked ? nullptr : starved_;
  while (!candidates_.empty()) {
    const size_t turn = policy_->pick(candidates_);
    Lane* lane = turns_[turn];
    candidates_[turn] = candidates_.back();
    candidates_.pop_back();
    turns_[turn] = turns_.back();
    turns_.pop_back();
    if (may_bypass(*lane, least_blocked_)) return lane;
    lane->blocked = true;
  }
  return nullptr;
}

// Whether the tenant would still be within the lead of the least served one that waits for room when everything it
// runs, and its next request, have run to their ends.
bool Scheduler::may_bypass(const Lane& lane, uint64_t least_blocked) const {
  if (least_blocked == UINT64_MAX || kMutant == Mutant::kFcfs || policy_->served(lane.id()) <= least_blocked)
    return true;
  const State& head = *lane.waiting.front();
  Service to_come = compute(to_run(head), prompt_cost(head));
  to_come += still_to_come(head);
  for (const State* state : running_) {
    if (state->lane == &lane) to_come += still_to_come(*state);
  }
  const uint32_t weight = weight_of(*lane.tenant);
  return policy_->served(lane.id(), weight, to_come) <= least_blocked + lead_ / weight;
}

// The tenant's own limits first: what of its own gives way to them is room for all.
Code Scheduler::room_to_start(const State& state, const kv::Reservation& reservation) const {
  const kv::SequenceId sequence = state.s.sequence;
  if (over_share(*state.lane, sequence, cache_.bytes_needed(reservation))) return Code::kQuotaExceeded;
  const Code own = cache_.room_for(sequence, reservation, kv::Cache::Room::kOwn);
  return own != Code::kOk ? own : cache_.room_for(sequence, reservation, kv::Cache::Room::kAll);
}

// Not started with an ok code: the tenant's own sequences_max.
Code Scheduler::try_start(State& state, bool* started) {
  if (!can_take(state)) return Code::kOverloaded;
  const kv::Reservation reservation = reservation_for(state);
  Code room = room_to_start(state, reservation);
  while (room == Code::kOverloaded ? make_room(state, reservation)
                                   : room == Code::kQuotaExceeded && drop_at_rest(state, Whose::kOwn)) {
    room = room_to_start(state, reservation);
  }
  if (room != Code::kOk) return room;
  if (const Status reserved = cache_.reserve(state.s.sequence, reservation); !reserved.ok()) return reserved.code();
  if (!take_sequences(state)) {  // who would have given lost its pages instead
    cache_.unreserve(state.s.sequence);
    return Code::kOverloaded;
  }
  *started = state.s.tenant->start(state.s.n);
  if (!*started) {
    cache_.unreserve(state.s.sequence);
    return Code::kOk;
  }
  state.promised = is_promised(state);
  if (fits_floor(state)) {
    state.floor_bytes = cache_.bytes_needed(reservation);
    state.s.tenant->kv_account()->floor_used_bytes.fetch_add(state.floor_bytes, std::memory_order_relaxed);
  }
  return Code::kOk;
}

void Scheduler::count_bypasses() {
  if (plan_.started.empty()) return;
  for (const auto& lane : lanes_) {
    if (lane->failure != Code::kOverloaded) continue;
    State& head = *lane->waiting.front();
    for (const uint64_t request : plan_.started) {
      const State& started = *find(request);
      head.bypassed += started.order > head.order && started.lane != lane.get() ? 1 : 0;
    }
  }
}

// A request that waits for pages which only floors of others keep would wait for ever, and one whose reservation fails
// for another reason would fail again.
void Scheduler::refuse_stuck() {
  overdue_.clear();
  for (const auto& lane : lanes_) {
    const Code code = lane->failure;
    const bool may_clear = (code == Code::kOverloaded && !running_.empty()) ||
                           (code == Code::kQuotaExceeded && lane->tenant->requests_running() != 0);
    if (lane->blocked && code != Code::kOk && !may_clear) overdue_.push_back(lane->waiting.front());
  }
  for (State* state : overdue_) {
    const Status why = cache_.reserve(state->s.sequence, reservation_for(*state));
    if (why.ok()) {  // somebody refused before it made room
      cache_.unreserve(state->s.sequence);
      continue;
    }
    std::string message(why.message());
    const bool full = why.code() == Code::kOverloaded || why.code() == Code::kQuotaExceeded;
    if (full) message += "; what idle sessions hold of the rest is within KV floors: end or truncate some";
    const uint32_t retry = full ? tenant::retry_after_ms(n_waiting_, load().step_ns) : 0;
    end(state, EndReason::kRefused, Status(why.code(), std::move(message), Blast::kRequest, retry));
  }
}

}  // namespace merritt::scheduler
