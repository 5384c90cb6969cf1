// SPDX-License-Identifier: Apache-2.0
// What tenants pay: a prompt when it starts, each generated token when it is produced, pages in every step; and what
// they get back of a prompt that did not run to its end.
#include <algorithm>

#include "scheduler/mutant.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {
namespace {

constexpr Service of(Resource resource, uint64_t units) {
  Service service{};
  service[static_cast<size_t>(resource)] = units;
  return service;
}

}  // namespace

// A step is full when sequences_max sequences decode, or when the whole pool is held. A bypass may take what half of
// the longest service would be that one tenant can have ahead of another (docs/adr/0014).
void Scheduler::set_prices() {
  const Costs& costs = limits_.costs;
  const uint64_t full = uint64_t{limits_.sequences_max} * std::max(costs.generated_token, 1u);
  compute_price_ = costs.compute_price != 0 ? costs.compute_price : std::max<uint64_t>(kStepShare / full, 1);
  double pool_bytes = 0;
  uint64_t pool_tokens = 0;
  for (uint32_t g = 0; g < cache_.n_groups(); ++g) {
    const kv::GroupShape& shape = cache_.pool(g).shape();
    pool_bytes += static_cast<double>(shape.page_bytes) * shape.n_pages;
    if (shape.window == 0) pool_tokens = std::max(pool_tokens, uint64_t{shape.page_tokens} * shape.n_pages);
    cushion_ = std::max(cushion_, shape.page_tokens);
  }
  const uint32_t sequences = limits_.sequences_max;
  sequences_share_ = std::max(std::min((3 * sequences + 3) / 4, sequences - 1), 1u);
  pool_share_ = cache_.pool_bytes() / 4 * 3;
  for (uint32_t g = 0; g < cache_.n_groups() && costs.pages; ++g) {
    const double share = static_cast<double>(cache_.pool(g).shape().page_bytes) / std::max(pool_bytes, 1.0);
    page_prices_[g] = std::max<uint64_t>(static_cast<uint64_t>(share * static_cast<double>(kStepShare)), 1);
  }
  lead_ = pool_tokens * costs.generated_token * compute_price_ / 2;
}

Service Scheduler::compute(uint64_t tokens, uint64_t cost) const {
  return of(Resource::kCompute, tokens * cost * compute_price_);
}

uint64_t Scheduler::prompt_cost(const State& state) const {
  const bool generated = state.s.prompt_class == kv::TokenClass::kGenerated;
  return generated ? limits_.costs.generated_token : limits_.costs.prompt_token;
}

void Scheduler::charge_prompt(State& state) {
  state.weight = weight_of(*state.s.tenant);
  if (kMutant == Mutant::kChargeAtEnd) return;
  policy_->charge(state.tenant(), state.weight, compute(to_run(state), prompt_cost(state)));
}

// Of the past, the prompt, and of what was generated and has to be run again: that costs what a prompt does.
uint64_t Scheduler::to_run(const State& state) {
  uint64_t tokens = state.s.prompt_tokens - state.prompt_done;
  for (const Choice& choice : state.choices) tokens += choice.replay;
  return tokens;
}

// Of a request that stops running.
void Scheduler::refund_prompt(const State& state) {
  if (kMutant == Mutant::kChargeAtEnd) {
    uint64_t generated = 0;
    for (const Choice& choice : state.choices) generated += choice.generated;
    policy_->charge(state.tenant(), state.weight, compute(state.prompt_done, prompt_cost(state)));
    policy_->charge(state.tenant(), state.weight, compute(generated, limits_.costs.generated_token));
    return;
  }
  const uint64_t left = to_run(state);
  if (kMutant == Mutant::kNoRefund || left == 0) return;
  policy_->refund(state.tenant(), state.weight, compute(left, prompt_cost(state)));
}

// Of the tokens that were just run, those that this request had not run before.
void Scheduler::note_fresh_prompt(State& state, uint32_t n_tokens) {
  const uint32_t end = state.prefix - (state.s.prompt_tokens - state.prompt_done);
  state.fresh += uint64_t{end - std::min(end, std::max(state.reached, end - n_tokens))} * limits_.costs.prompt_token;
  state.reached = std::max(state.reached, end);
}

void Scheduler::charge_generated(State& state, uint32_t n_tokens) {
  state.fresh += uint64_t{n_tokens} * limits_.costs.generated_token;
  if (kMutant == Mutant::kChargeAtEnd || kMutant == Mutant::kInputOnly) return;
  policy_->charge(state.tenant(), weight_of(*state.s.tenant), compute(n_tokens, limits_.costs.generated_token));
}

// At most what the running request may still be charged for tokens.
Service Scheduler::still_to_come(const State& state) const {
  uint64_t tokens = 0;
  for (const Choice& choice : state.choices) {
    if (choice.live || state.prefilling())
      tokens += state.s.max_new_tokens - std::min(choice.generated, state.s.max_new_tokens);
  }
  return compute(tokens, limits_.costs.generated_token);
}

// Pages of the requests that run: sessions at rest are bounded by ceilings, and pay nothing.
void Scheduler::charge_pages() {
  if (!limits_.costs.pages) return;
  for (const State* state : running_) {
    uint64_t units = 0;
    for (const Choice& choice : state->choices) {
      for (uint32_t g = 0; g < cache_.n_groups(); ++g) {
        units += cache_.pages(choice.sequence, g).pages.size() * page_prices_[g];
      }
    }
    state->lane->page_units += units;
  }
  for (const auto& lane : lanes_) {
    const uint64_t units = std::exchange(lane->page_units, 0);
    if (units != 0) policy_->charge(lane->id(), weight_of(*lane->tenant), of(Resource::kPages, units));
  }
}

void Scheduler::charge_bytes(const tenant::Tenant& tenant, uint64_t bytes) {
  const uint64_t most = UINT64_MAX / kStepShare;
  const uint64_t units = std::min(bytes, most) * kStepShare / std::max<uint64_t>(limits_.costs.bytes_per_step, 1);
  policy_->charge(tenant.id(), weight_of(tenant), of(Resource::kBytes, units));
}

}  // namespace merritt::scheduler
