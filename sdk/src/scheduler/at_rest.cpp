// SPDX-License-Identifier: Apache-2.0
// Pages of sequences at rest: of sessions without a request, and of requests that wait. They spare somebody work when
// the session goes on, and that is less than what somebody needs who runs: they give way first, as far as they are
// above their owner's floor, and what they held is run again when it is wanted, each token in the class that it had.
// The owner that is furthest above its part gives first, and of its sequences the one that has been at rest for
// longest, of those that give something: pages that others name too become free with the last of them.
#include <algorithm>

#include "scheduler/mutant.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

// So many sequences of one owner are looked at for one that can give something: where layers have a window, a sequence
// can often give all it has or nothing, and all may be too much.
constexpr uint32_t kLookedAt = 64;
constexpr uint32_t kInUseLookedAt = 256;  // beside them, of which somebody runs on all pages: these go to the end

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
  std::make_heap(resting_.begin(), resting_.end(), gives_later);
  for (; !resting_.empty(); resting_.pop_back()) {
    std::pop_heap(resting_.begin(), resting_.end(), gives_later);
    if (drop_of(resting_.back(), state.s.sequence)) return true;
  }
  return false;
}

// The cut after which something is free the soonest: at once, or when the others that name the same pages have been cut
// too, of which the fewest come first.
bool Scheduler::drop_of(const Resting& owner, kv::SequenceId spared) {
  Cut best;
  kv::SequenceId passed = kv::SequenceId::kNone;
  uint32_t looked = 0, in_use = 0;
  kv::SequenceId sequence = cache_.next_at_rest(*owner.account, kv::SequenceId::kNone);
  while (sequence != kv::SequenceId::kNone && sequence != passed && best.cuts != 1) {
    const kv::SequenceId next = cache_.next_at_rest(*owner.account, sequence);
    if (cache_.cuts_to_free(sequence, 0) == 0) {  // as good as used now
      cache_.touch(sequence);
      if (passed == kv::SequenceId::kNone) passed = sequence;
      if (++in_use == kInUseLookedAt) break;
    } else {
      const Cut cut = cut_of(owner, sequence);
      if (sequence != spared && cut.cuts < best.cuts) best = cut;
      if (++looked == kLookedAt) break;
    }
    sequence = next;
  }
  if (best.sequence == kv::SequenceId::kNone) return false;
  drop_tail(best.sequence, best.position);
  return true;
}

// Where a window forbids to cut a sequence and all of it is more than is above the floor, it stays if it could be
// within the floor, which is then at most doubled; else it is in nobody's floor.
Scheduler::Cut Scheduler::cut_of(const Resting& owner, kv::SequenceId sequence) const {
  uint32_t position = cache_.position_within(sequence, owner.bytes);
  const bool whole = position == cache_.length(sequence) && cache_.bytes_claimed(sequence) > owner.floor;
  if (whole && owner.bytes != 0) position = 0;
  const uint32_t cuts = cache_.cuts_to_free(sequence, position);
  return {.sequence = sequence, .position = position, .cuts = cuts == 0 ? UINT32_MAX : cuts};
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
