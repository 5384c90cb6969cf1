// SPDX-License-Identifier: Apache-2.0
// Pages of sequences at rest: of sessions without a request, and of requests that wait. They spare somebody work when
// the session goes on, and that is less than what somebody needs who runs: they give way first, as far as they are
// above their owner's floor, and what they held is run again when it is wanted, each token in the class that it had.
// The owner that is furthest above its part gives first, and of its sequences the one that has been at rest for
// longest.
#include <algorithm>

#include "scheduler/mutant.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

// So many sequences of one owner are looked at for one that can give something: where layers have a window, a sequence
// can often give all it has or nothing, and all may be too much.
constexpr uint32_t kLookedAt = 64;
constexpr uint32_t kSharedLookedAt = 8;  // of them, such as give nothing by themselves: each costs a look at its pages

}  // namespace

// What each owner may have to give to the request.
void Scheduler::look_at_rest(const State& state, Whose whose) {
  resting_.clear();
  if (kMutant == Mutant::kRestStays) return;
  const KvAccount* const own = state.s.tenant->kv_account().get();
  cache_.owners_at_rest(&owners_);
  for (const kv::Cache::Rest& owner : owners_) {
    const KvAccount& account = *owner.account;
    const bool is_own = &account == own;
    if (whose == Whose::kOwn && !is_own) continue;
    const uint64_t rest = is_own ? cache_.rest_of_owner(state.s.sequence) : owner.rest_bytes;
    const uint64_t claimed = account.claimed_bytes.load(std::memory_order_relaxed);
    const uint64_t floor = is_own || kWithoutCeilings ? 0 : account.floor_bytes.load(std::memory_order_relaxed);
    // What an owner who is gone has left to this one is on nobody's floor.
    const uint64_t above = claimed - std::min(claimed, floor) + owner.departed_bytes;
    resting_.push_back({&account, excess_of(account, owner.claimed_bytes), floor, std::min(above, rest)});
  }
}

uint64_t Scheduler::bytes_at_rest(const State& state) {
  look_at_rest(state, Whose::kAnybodys);
  uint64_t bytes = 0;
  for (const Resting& owner : resting_) bytes += owner.bytes;
  return bytes;
}

// One sequence, or the end of one. False: there is nothing to be had.
bool Scheduler::drop_at_rest(const State& state, Whose whose) {
  if (cache_.rest_bytes() == 0) return false;
  look_at_rest(state, whose);
  const auto gives_later = [](const Resting& a, const Resting& b) {
    return a.excess != b.excess ? a.excess < b.excess : a.account->tenant > b.account->tenant;
  };
  for (; !resting_.empty(); resting_.pop_back()) {
    std::iter_swap(std::max_element(resting_.begin(), resting_.end(), gives_later), resting_.end() - 1);
    if (drop_of(resting_.back(), state.s.sequence)) return true;
  }
  return false;
}

// Where a window forbids to cut a sequence and all of it is more than is above the floor, it stays if it could be
// within the floor, which is then at most doubled; else it is in nobody's floor.
// Those whose pages others hold too go last: by themselves they give nothing.
bool Scheduler::drop_of(const Resting& owner, kv::SequenceId spared) {
  kv::SequenceId sequence = cache_.next_at_rest(*owner.account, kv::SequenceId::kNone);
  kv::SequenceId last = kv::SequenceId::kNone;
  uint32_t last_position = 0, shared = 0;
  for (uint32_t i = 0; sequence != kv::SequenceId::kNone && i < kLookedAt; ++i) {
    uint32_t position = cache_.position_within(sequence, owner.bytes);
    const bool whole = position == cache_.length(sequence) && cache_.bytes_claimed(sequence) > owner.floor;
    if (whole && owner.bytes != 0) position = 0;
    if (sequence != spared && position < cache_.length(sequence)) {
      if (cache_.freed_by(sequence, position) != 0) {
        drop_tail(sequence, position);
        return true;
      }
      if (last == kv::SequenceId::kNone) {
        last = sequence;
        last_position = position;
      }
      if (++shared == kSharedLookedAt) break;
    }
    sequence = cache_.next_at_rest(*owner.account, sequence);
  }
  if (last == kv::SequenceId::kNone) return false;
  drop_tail(last, last_position);
  return true;
}

// A request that waits on it has so much more of a past to run first.
void Scheduler::drop_tail(kv::SequenceId sequence, uint32_t position) {
  std::vector<kv::ClassRun> gone;
  uint32_t begin = 0;
  for (const kv::ClassRun& run : cache_.classes(sequence)) {
    const uint32_t end = begin + run.n_tokens;
    if (end > position) gone.push_back({run.token_class, end - std::max(begin, position)});
    begin = end;
  }
  plan_.dropped.push_back({sequence, position});
  (void)cache_.truncate(sequence, position);
  weighed_ = false;
  for (const auto& lane : lanes_) {
    for (State* state : lane->waiting) {
      if (state->s.sequence != sequence) continue;
      state->segments.insert(state->segments.begin(), gone.begin(), gone.end());
      state->past_tokens += begin - position;
      state->s.prompt_tokens += begin - position;
      return;
    }
  }
}

}  // namespace merritt::scheduler
