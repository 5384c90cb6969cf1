// SPDX-License-Identifier: Apache-2.0
// Prompts, in what decoding sequences leave of a step's budget, shared out by weight between the tenants that have
// prompts to run, so that a long prompt keeps nobody waiting.
#include <algorithm>

#include "base/checked.hpp"
#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {

void Scheduler::plan_prefills() {
  uint32_t budget = limits_.step_tokens_max - plan_.n_tokens;
  // Rows for prompts that want all of theirs: one is kept for each other running sequence.
  uint32_t rows = limits_.rows_max - n_sequences_;
  for (State* state : running_) {
    state->share = 0;
    if (state->prefilling() && state->wants_rows()) rows += state->s.n;
  }
  collect_prompts();
  if (turns_.empty()) return;
  while (budget != 0 && plan_prefill_round(&budget, &rows)) {
  }
  for (const State* state : running_) {
    if (state->share != 0) add_prompt_run(*state);
  }
}

// The rest of the past and the prompt, then what each sample has to run again.
Scheduler::Pending Scheduler::pending_of(const State& state) {
  uint32_t end = 0;
  for (const kv::ClassRun& segment : state.segments) {
    end += segment.n_tokens;
    if (state.prompt_done < end) return {0, segment.token_class, end - state.prompt_done};
  }
  for (uint32_t c = 0; c < state.choices.size(); ++c) {
    if (state.choices[c].replay != 0) return {c, kv::TokenClass::kGenerated, state.choices[c].replay};
  }
  return {};
}

// The tenants with prompts to run, the least served first, each with its prompts in the order they started.
void Scheduler::collect_prompts() {
  turns_.clear();
  for (const auto& lane : lanes_) lane->prompts = nullptr;
  for (State* state : running_) {
    if (pending_of(*state).n_tokens == 0) continue;
    Lane& lane = *state->lane;
    state->next_prompt = nullptr;
    if (lane.prompts == nullptr) {
      turns_.push_back(&lane);
      lane.prompts = state;
      lane.served = policy_->served(lane.id());
    } else {
      *lane.prompts_end = state;
    }
    lane.prompts_end = &state->next_prompt;
  }
  std::sort(turns_.begin(), turns_.end(), [](const Lane* a, const Lane* b) {
    return a->served != b->served ? a->served < b->served : a->id() < b->id();
  });
}

// One turn for each tenant that wishes for something when its turn comes; false when nobody does.
bool Scheduler::plan_prefill_round(uint32_t* budget, uint32_t* rows) {
  std::erase_if(turns_, [&](const Lane* lane) {
    const State* state = lane->prompts;
    while (state != nullptr && wish(*state, *budget, *rows) == 0) state = state->next_prompt;
    return state == nullptr;
  });
  uint64_t weights = 0;
  for (const Lane* lane : turns_) weights += weight_of(*lane->tenant);
  for (Lane* lane : turns_) {
    const uint64_t weight = weight_of(*lane->tenant);
    const auto share = static_cast<uint32_t>(divide_up<uint64_t>(*budget * weight, weights));
    const auto row_share = static_cast<uint32_t>(divide_up<uint64_t>(*rows * weight, weights));
    weights -= weight;
    share_out(*lane, share, row_share, budget, rows);
  }
  return !turns_.empty();
}

void Scheduler::share_out(Lane& lane, uint32_t share, uint32_t row_share, uint32_t* budget, uint32_t* rows) {
  for (State* state = lane.prompts; state != nullptr && share != 0; state = state->next_prompt) {
    const uint32_t n = wish(*state, share, row_share);
    if (n == 0) continue;
    const uint32_t cost = std::min(cost_of(*state, n), share);
    state->share += n;
    share -= cost;
    *budget -= cost;
    if (!state->wants_rows()) continue;
    row_share -= n;
    *rows -= n;
  }
}

// How many more prompt tokens than its share a request can use in this step, of so much budget and so many rows.
uint32_t Scheduler::wish(const State& state, uint32_t budget, uint32_t rows) const {
  const Pending pending = pending_of(state);
  uint32_t n = std::min({budget, chunk_of(state.s) - state.share, pending.n_tokens - state.share});
  if (state.wants_rows()) n = std::min(n, rows);
  if (n == 0 || cost_of(state, n) <= budget) return n;
  // A token costs at most 1 + (past + n) / past_doubles here.
  const uint64_t past = uint64_t{cache_.length(state.choices[pending.choice].sequence)} + state.share + n;
  const uint64_t fits = uint64_t{budget} * limits_.past_doubles / (limits_.past_doubles + past);
  return static_cast<uint32_t>(std::max<uint64_t>(std::min<uint64_t>(n, fits), 1));
}

// Of the next n tokens, in tokens without a past.
uint32_t Scheduler::cost_of(const State& state, uint32_t n_tokens) const {
  if (limits_.past_doubles == 0) return n_tokens;
  const uint32_t length = cache_.length(state.choices[pending_of(state).choice].sequence);
  return static_cast<uint32_t>(n_tokens +
                               n_tokens * (uint64_t{length} + state.share + n_tokens / 2) / limits_.past_doubles);
}

void Scheduler::add_prompt_run(const State& state) {
  const Pending pending = pending_of(state);
  const Choice& choice = state.choices[pending.choice];
  const bool prompt = state.prefilling();
  const bool last = prompt && state.prompt_done + state.share == state.s.prompt_tokens;
  const uint32_t rows = state.wants_rows() ? state.share : (last && !state.drawn ? 1 : 0);
  plan_.runs.push_back({.request = state.s.request,
                        .choice = pending.choice,
                        .sequence = choice.sequence,
                        .token_class = pending.token_class,
                        .n_tokens = state.share,
                        .n_rows = rows,
                        .prompt = prompt,
                        .last_of_prompt = last,
                        .replay = state.drawn,
                        .prompt_first = prompt ? state.prompt_done : choice.past - choice.replay});
  plan_.n_tokens += state.share;
  plan_.n_prompt_tokens += state.share;
  plan_.n_rows += rows;
}

}  // namespace merritt::scheduler
