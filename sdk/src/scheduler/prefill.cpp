// SPDX-License-Identifier: Apache-2.0
// Prompts, in what decoding sequences leave of a step's budget, shared out evenly between the tenants that have prompts
// to run, so that a long prompt keeps nobody waiting.
#include <algorithm>

#include "base/checked.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {

void Scheduler::plan_prefills() {
  uint32_t tokens = limits_.step_tokens_max - plan_.n_tokens;
  // Rows for prompts that want all of theirs: one is kept for each other running sequence.
  uint32_t rows = limits_.rows_max - n_sequences_;
  for (State* state : running_) {
    state->share = 0;
    if (state->prefilling() && state->s.prompt_rows == Rows::kAll) rows += state->s.n;
  }
  while (tokens != 0 && plan_prefill_round(&tokens, &rows)) {
  }
  for (const State* state : running_) {
    if (state->share != 0) add_prompt_run(*state);
  }
}

bool Scheduler::wishes(TenantId tenant, uint32_t tokens, uint32_t rows) const {
  return std::any_of(running_.begin(), running_.end(),
                     [&](const State* state) { return state->tenant() == tenant && wish(*state, tokens, rows) != 0; });
}

// One turn for each tenant that wishes for something when its turn comes; false when nobody does.
bool Scheduler::plan_prefill_round(uint32_t* tokens, uint32_t* rows) {
  tenants_.clear();
  for (const State* state : running_) {
    if (wish(*state, *tokens, *rows) != 0) tenants_.push_back(state->tenant());
  }
  std::sort(tenants_.begin(), tenants_.end());
  tenants_.erase(std::unique(tenants_.begin(), tenants_.end()), tenants_.end());
  if (tenants_.empty()) return false;
  while (!tenants_.empty()) {
    const size_t turn = policy_->pick(Turn::kPrefill, tenants_);
    uint32_t share = divide_up(*tokens, static_cast<uint32_t>(tenants_.size()));
    uint32_t row_share = divide_up(*rows, static_cast<uint32_t>(tenants_.size()));
    for (State* state : running_) {
      if (state->tenant() != tenants_[turn]) continue;
      const uint32_t n = wish(*state, share, row_share);
      state->share += n;
      share -= n;
      *tokens -= n;
      if (state->s.prompt_rows != Rows::kAll) continue;
      row_share -= n;
      *rows -= n;
    }
    tenants_.erase(tenants_.begin() + static_cast<ptrdiff_t>(turn));
    std::erase_if(tenants_, [&](TenantId tenant) { return !wishes(tenant, *tokens, *rows); });
  }
  return true;
}

// How many more prompt tokens than its share a request can use in this step, of so many tokens and rows.
uint32_t Scheduler::wish(const State& state, uint32_t tokens, uint32_t rows) const {
  if (!state.prefilling()) return 0;
  const uint32_t room = chunk_of(state.s) - state.share;
  const uint32_t left = state.s.prompt_tokens - state.prompt_done - state.share;
  const uint32_t n = std::min({tokens, room, left});
  return state.s.prompt_rows == Rows::kAll ? std::min(n, rows) : n;
}

void Scheduler::add_prompt_run(const State& state) {
  const bool last = state.prompt_done + state.share == state.s.prompt_tokens;
  const uint32_t rows = state.s.prompt_rows == Rows::kAll ? state.share : (last ? 1 : 0);
  plan_.runs.push_back({.request = state.s.request,
                        .choice = 0,
                        .sequence = state.choices[0].sequence,
                        .token_class = state.s.prompt_class,
                        .n_tokens = state.share,
                        .n_rows = rows,
                        .prompt = true,
                        .last_of_prompt = last,
                        .prompt_first = state.prompt_done});
  plan_.n_tokens += state.share;
  plan_.n_prompt_tokens += state.share;
  plan_.n_rows += rows;
  policy_->charge(state.tenant(), state.share);
}

}  // namespace merritt::scheduler
