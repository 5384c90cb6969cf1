// SPDX-License-Identifier: Apache-2.0
// Whose sequences, when all that may run at once do. A tenant that runs few by weight does not wait for one that runs
// many to end a request: it takes a sequence from the tenant that runs most, as long as that one will run no fewer than
// it by weight, or, where few sequences make that coarse, runs at least twice as many as it will. So nobody takes back
// what was taken, and the sum of the squares of what tenants run, by weight, falls with each taking. docs/adr/0014 has
// both, and what running again costs: no request is taken before it has run as much that is new as would have to be run
// again.
#include <algorithm>

#include "scheduler/mutant.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {

// All that it has, but for what it could begin with again, at the price of a prompt.
uint64_t Scheduler::cost_to_rerun(const State& state) const {
  const Beginning& beginning = state.s.beginning;
  const uint32_t again = cache_.shareable(beginning.sequence, std::min(beginning.tokens, state.prefix - 1));
  uint64_t tokens = 0;
  for (const Choice& choice : state.choices) {
    const uint32_t length = cache_.length(choice.sequence);
    tokens += length - std::min(length, &choice == &state.choices[0] ? again : state.prefix);
  }
  return tokens * limits_.costs.prompt_token;
}

bool Scheduler::may_be_taken(const State& state) const {
  return !state.promised && state.started_plan != n_plans_ && state.fresh >= cost_to_rerun(state);
}

// Whether the tenant of a running request, having given so many sequences, gives those of this one as well.
// Not to one that has had more than it: that would turn what the policy decides.
bool Scheduler::gives(const State& from, uint32_t given, const State& to) {
  if (from.lane == to.lane || from.lane->served < to.lane->served) return false;
  const uint64_t runs = from.lane->n_sequences - given, weight = weight_of(*to.lane->tenant);
  const uint64_t will_run = (uint64_t{to.lane->n_sequences} + to.s.n) * weight_of(*from.lane->tenant);
  return (runs - from.s.n) * weight >= will_run || runs * weight >= 2 * will_run;
}

// What each tenant has had, and its request that would be taken first.
void Scheduler::look_at_givers() {
  for (const auto& lane : lanes_) {
    lane->served = policy_->served(lane->id());
    lane->gives = nullptr;
    lane->given = 0;
  }
  if (kWithoutCeilings || kMutant == Mutant::kSequencesStay) return;
  for (State* each : takeable_) {
    if (each->lane->gives == nullptr && may_be_taken(*each)) each->lane->gives = each;
  }
}

// gives() of all tenants in an order in which a request finds one by halving: both its conditions on numbers say how
// many sequences by weight the taker may come to run at most.
void Scheduler::list_givers() {
  look_at_givers();
  givers_.clear();
  for (const auto& lane : lanes_) {
    if (lane->gives == nullptr) continue;
    const uint64_t runs = lane->n_sequences, left = runs - lane->gives->s.n;
    givers_.push_back({.lane = lane.get(), .twice = std::max(2 * left, runs), .weight = weight_of(*lane->tenant)});
  }
  std::sort(givers_.begin(), givers_.end(),
            [](const Giver& a, const Giver& b) { return a.twice * b.weight > b.twice * a.weight; });
  Giver before;
  for (Giver& giver : givers_) {
    const uint64_t served = giver.lane->served;
    const bool first = before.most == nullptr || served > before.most_served;
    giver.most = first ? giver.lane : before.most;
    giver.most_served = first ? served : before.most_served;
    giver.second_served = first ? before.most_served : std::max(before.second_served, served);
    giver.has_second = before.most != nullptr;
    before = giver;
  }
}

bool Scheduler::somebody_gives(const State& to) const {
  const uint64_t will_run = uint64_t{to.lane->n_sequences} + to.s.n, weight = weight_of(*to.lane->tenant);
  const auto end = std::partition_point(givers_.begin(), givers_.end(), [&](const Giver& giver) {
    return giver.twice * weight >= 2 * will_run * giver.weight;
  });
  if (end == givers_.begin()) return false;
  const Giver& last = *(end - 1);
  if (last.most != to.lane) return last.most_served >= to.lane->served;
  return last.has_second && last.second_served >= to.lane->served;
}

// Of the tenant that runs most by weight, of those that give to this one, the request that is taken first.
Scheduler::State* Scheduler::first_to_give(const State& to) const {
  const auto may_give = [&](const State& each) { return gives(each, 0, to) && may_be_taken(each); };
  const Lane* from = nullptr;
  for (const State* each : running_) {
    const Lane& lane = *each->lane;
    if (&lane == from || !may_give(*each)) continue;
    if (from != nullptr) {
      const uint64_t own = uint64_t{lane.n_sequences} * weight_of(*from->tenant);
      if (own <= uint64_t{from->n_sequences} * weight_of(*lane.tenant)) continue;
    }
    from = &lane;
  }
  const auto first = std::find_if(takeable_.begin(), takeable_.end(),
                                  [&](const State* each) { return each->lane == from && may_give(*each); });
  return first == takeable_.end() ? nullptr : *first;
}

// Whether the request could have its sequences, of those that are free and those that others would give.
bool Scheduler::can_take(const State& state) {
  uint32_t sequences = free_sequences();
  if (sequences >= state.s.n) return true;
  if (kWithoutCeilings || kMutant == Mutant::kSequencesStay) return false;
  look_at_givers();
  for (auto each = takeable_.begin(); each != takeable_.end() && sequences < state.s.n; ++each) {
    Lane& lane = *(*each)->lane;
    if (!gives(**each, lane.given, state) || !may_be_taken(**each)) continue;
    lane.given += (*each)->s.n;
    sequences += (*each)->s.n;
  }
  return sequences >= state.s.n;
}

// False: there are not enough.
bool Scheduler::take_sequences(const State& state) {
  if (!can_take(state)) return false;
  while (free_sequences() < state.s.n) {
    State* taken = first_to_give(state);
    if (taken == nullptr) return false;
    preempt(taken);
  }
  return true;
}

}  // namespace merritt::scheduler
