// SPDX-License-Identifier: Apache-2.0
// Whose pages. A request that fits its tenant's floor starts with its worst case promised. Everybody else borrows:
// pages for the prompt at the start, then one after another, and what is borrowed can be taken back. Of the tenant that
// is furthest above its part, the request with the lowest priority that started last goes back to the queue and is
// recomputed. It does so a few times at most: then it waits for its worst case, and nobody takes that.
#include <algorithm>

#include "scheduler/mutant.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

constexpr uint32_t kPreemptedMax = 4;
constexpr uint64_t kBurst = uint64_t{1} << 63;  // more than any excess: who is above its ceiling gives first

}  // namespace

// ---- What a request starts with

uint32_t Scheduler::forks_to_come(const State& state) const {
  const auto ended =
      std::count_if(state.choices.begin() + 1, state.choices.end(), [](const Choice& c) { return c.ended; });
  return state.s.n - 1 - static_cast<uint32_t>(ended);
}

bool Scheduler::fits_floor(const State& state) const {
  const KvAccount& account = *state.s.tenant->kv_account();
  const uint64_t floor = account.floor_bytes.load(std::memory_order_relaxed);
  if (floor == 0 || limits_.one_tenant) return false;  // a floor is kept against others
  const uint64_t used = account.floor_used_bytes.load(std::memory_order_relaxed);
  return used + cache_.bytes_needed(worst_case(state.s, forks_to_come(state))) <= floor;
}

// Evaluations cannot be taken back: their rows are handed out.
bool Scheduler::is_promised(const State& state) const {
  return state.preempted >= kPreemptedMax || state.s.max_new_tokens == 0 || fits_floor(state);
}

kv::Reservation Scheduler::reservation_for(const State& state) const {
  kv::Reservation reservation = worst_case(state.s, forks_to_come(state));
  if (is_promised(state)) return reservation;
  uint32_t past = 0;
  for (const Choice& choice : state.choices) past = std::max(past, choice.replay);
  reservation.room_length = reservation.max_length;
  const uint64_t length = uint64_t{reservation.fork_length} + past + cushion_;
  reservation.max_length = static_cast<uint32_t>(std::min<uint64_t>(reservation.max_length, length));
  return reservation;
}

// Without a ceiling of its own, one tenant of several takes three quarters of the pool, and of the sequences, at most;
// its only request may be larger.
bool Scheduler::over_share(const Lane& lane, kv::SequenceId sequence, uint64_t more_bytes, uint64_t back) const {
  if (kWithoutCeilings || !shared() || lane.n_running == 0) return false;
  const bool own_ceiling = lane.tenant->kv_account()->limit_bytes.load(std::memory_order_relaxed) != 0;
  const uint64_t claimed = cache_.claimed_by_owner(sequence);
  return !own_ceiling && claimed - std::min(claimed, back) + more_bytes > pool_share_;
}

// ---- Growing

// Before anybody starts: those that run come first, in the order they started.
void Scheduler::secure_pages() {
  for (size_t i = 0; i < running_.size();) {
    i = secure(*running_[i]) ? i + 1 : 0;
  }
}

// Room for the next token of each sample, and for a draft where it costs nobody. False: somebody was preempted.
bool Scheduler::secure(State& state) {
  if (state.promised || state.prefilling()) return true;
  for (const Choice& choice : state.choices) {
    if (!choice.live || choice.replay != 0) continue;
    const uint32_t length = cache_.length(choice.sequence), promised = cache_.promised_length(choice.sequence);
    if (promised > length + choice.proposed) continue;
    const uint32_t most = state.prefix + state.s.max_new_tokens;
    const uint32_t wanted = std::min(std::max(promised + cushion_, length + choice.proposed + 1), most);
    const auto grow = [&] {
      if (state.lane->n_running != 1 && over_share(*state.lane, choice.sequence, 0)) return Code::kQuotaExceeded;
      weighed_ = false;
      const Code more = cache_.extend(choice.sequence, wanted);
      return more == Code::kOk ? more : cache_.extend(choice.sequence, std::min(length + 1, most));
    };
    Code room = grow();
    if (promised > length) continue;
    while (room != Code::kOk && drop_at_rest(state, room == Code::kOverloaded ? Whose::kAnybodys : Whose::kOwn)) {
      room = grow();
    }
    if (room == Code::kOk) continue;
    weigh_lanes();
    State* victim = victim_of(room == Code::kQuotaExceeded ? state.lane : nullptr, nullptr, 0);
    preempt(victim == nullptr ? &state : victim);
    return false;
  }
  return true;
}

// What the tenant holds above its floor, by weight; more than 0.
uint64_t Scheduler::excess_of(const KvAccount& account, uint64_t claimed_bytes) const {
  const uint64_t floor = account.floor_bytes.load(std::memory_order_relaxed);
  const uint64_t excess = (claimed_bytes - std::min(claimed_bytes, floor)) / weight_of(account) + 1;
  return account.in_burst() ? excess | kBurst : excess;
}

void Scheduler::weigh_lanes() {
  if (std::exchange(weighed_, true)) return;
  most_excess_ = 0;
  for (const auto& lane : lanes_) lane->excess = 0;
  for (const State* state : running_) {
    Lane& lane = *state->lane;
    if (lane.excess != 0) continue;
    lane.excess = excess_of(*lane.tenant->kv_account(), cache_.claimed_by_owner(state->s.sequence));
    most_excess_ = std::max(most_excess_, lane.excess);
  }
}

bool Scheduler::may_lose_pages(const State& state, uint64_t least_excess) const {
  return !state.promised && state.started_plan != n_plans_ && state.lane->excess > least_excess;
}

// Of the tenant with the largest excess above the least, of equals that of the borrower that started last: the first of
// its borrowers to be taken back. Null = there is none.
Scheduler::State* Scheduler::victim_of(const Lane* only, const Lane* spared, uint64_t least_excess) const {
  const Lane* from = nullptr;
  for (const State* state : running_) {
    const Lane& lane = *state->lane;
    if (&lane == spared || (only != nullptr && &lane != only) || !may_lose_pages(*state, least_excess)) continue;
    if (from == nullptr || lane.excess >= from->excess) from = &lane;
  }
  const auto victim = std::find_if(takeable_.begin(), takeable_.end(), [&](const State* state) {
    return state->lane == from && may_lose_pages(*state, least_excess);
  });
  return victim == takeable_.end() ? nullptr : *victim;
}

// ---- Taking back

// From sequences at rest; then, for a request within its floor, from whoever else borrows; for another one, from those
// that have more than twice as much by weight as its tenant will have with it. False: there is nobody, or all of them
// together have too little.
bool Scheduler::make_room(const State& state, const kv::Reservation& reservation) {
  weigh_lanes();
  const bool floor = fits_floor(state);
  const uint64_t all = cache_.bytes_needed(reservation);
  const uint64_t need = all - std::min(all, cache_.bytes_claimed(state.s.sequence));
  const Lane& lane = *state.lane;
  const uint64_t own = cache_.claimed_by_owner(state.s.sequence) + need;
  const uint64_t least = floor ? 0 : 2 * own / weight_of(*lane.tenant) + 1;
  uint64_t bytes = 0;
  for (uint32_t g = 0; g < cache_.n_groups(); ++g) {
    bytes += cache_.pool(g).free_pages() * cache_.pool(g).shape().page_bytes;
  }
  const bool nobody = kWithoutCeilings || most_excess_ <= least;  // gives pages that it runs on
  for (const State* each : running_) {
    if (nobody) break;
    if (each->promised || each->started_plan == n_plans_ || each->lane->excess <= least) continue;
    if (each->lane == &lane) continue;
    for (const Choice& choice : each->choices) bytes += cache_.bytes_claimed(choice.sequence);
  }
  const bool enough = bytes + cache_.rest_bytes() >= need && bytes + bytes_at_rest(state) >= need;
  if (!enough) return false;
  if (drop_at_rest(state, Whose::kAnybodys)) return true;
  State* victim = nobody ? nullptr : victim_of(nullptr, &lane, least);
  if (victim == nullptr) return false;
  preempt(victim);
  return true;
}

// Back to the head of its tenant's queue, behind higher priorities. What it ran is noted in classes, to be run again.
void Scheduler::preempt(State* state) {
  const kv::SequenceId sequence = state->s.sequence;
  const std::span<const kv::ClassRun> classes = cache_.classes(sequence);
  plan_.preempted.push_back({state->s.request, cache_.length(sequence)});
  stop_running(state);
  std::vector<kv::ClassRun> segments;
  uint32_t done = 0;
  for (const kv::ClassRun& run : classes) {
    const uint32_t n = std::min(run.n_tokens, state->prefix - done);
    if (n != 0) segments.push_back({run.token_class, n});
    done += n;
  }
  uint32_t end = 0;
  for (const kv::ClassRun& segment : state->segments) {
    end += segment.n_tokens;
    if (state->prompt_done >= end) continue;
    const uint32_t n = std::min(segment.n_tokens, end - state->prompt_done);
    segments.push_back({segment.token_class, n});
  }
  for (Choice& choice : state->choices) {
    const uint32_t length = cache_.length(choice.sequence);
    if (choice.sequence != kv::SequenceId::kNone && length > state->prefix) {
      choice.past = length - state->prefix + choice.replay;
      choice.replay = choice.past;
    }
    choice.proposed = 0;
    if (&choice == &state->choices[0]) continue;
    cache_.release(std::exchange(choice.sequence, kv::SequenceId::kNone));
    choice.live = false;
    if (choice.ended) choice.past = choice.replay = 0;
  }
  (void)cache_.truncate(sequence, 0);
  state->segments = std::move(segments);
  state->s.prompt_tokens = state->prefix;
  state->prompt_done = 0;
  state->running = state->promised = false;
  state->bypassed = 0;
  ++state->preempted;
  state->preempted_plan = n_plans_;
  state->s.tenant->requeue(state->s.n);
  queue(state, Among::kFirst);
  load_waiting_.store(++n_waiting_, std::memory_order_relaxed);
  Code& failure = state->lane->failure;
  if (failure == Code::kQuotaExceeded) failure = Code::kOk;  // of another head, when this one held its pages
  look_at_own_limit(*state->lane);
}

bool Scheduler::resume_from(uint64_t request, kv::SequenceId sequence) {
  State* state = find(request);
  const uint32_t length = cache_.length(sequence);
  if (state == nullptr || state->running || cache_.length(state->s.sequence) != 0) return false;
  if (length >= state->s.prompt_tokens) return false;
  uint32_t left = length;
  for (kv::ClassRun& segment : state->segments) {
    const uint32_t n = std::min(left, segment.n_tokens);
    segment.n_tokens -= n;
    left -= n;
  }
  state->past_tokens -= std::min(state->past_tokens, length);
  state->s.prompt_tokens -= length;
  state->s.sequence = state->choices[0].sequence = sequence;
  return true;
}

}  // namespace merritt::scheduler
