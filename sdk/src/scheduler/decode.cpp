// SPDX-License-Identifier: Apache-2.0
// Decoding sequences: each runs the token it drew last in every step, and as much of its draft as the step has room for
// when everybody else has got theirs.
#include <algorithm>

#include "scheduler/scheduler.hpp"

namespace merritt::scheduler {

void Scheduler::plan_decodes() {
  wanted_.clear();
  for (const State* state : running_) {
    if (state->prefilling() || state->s.max_new_tokens == 0) continue;
    for (uint32_t i = 0; i < state->choices.size(); ++i) {
      const Choice& choice = state->choices[i];
      if (!choice.live || choice.replay != 0) continue;
      plan_.runs.push_back({.request = state->s.request,
                            .choice = i,
                            .sequence = choice.sequence,
                            .token_class = kv::TokenClass::kGenerated,
                            .n_tokens = 1,
                            .n_rows = 1});
      const uint32_t room = cache_.promised_length(choice.sequence) - cache_.length(choice.sequence);
      wanted_.push_back(std::min(choice.proposed, std::max(room, 1u) - 1));
    }
  }
  plan_.n_tokens = plan_.n_rows = static_cast<uint32_t>(plan_.runs.size());
}

// One token to each draft in turn while there is room. Rows of many sequences keep the multiply units busy as they are:
// drafts fill a step up to draft_rows_max decoding rows and no further, so that they cost the others little.
void Scheduler::plan_drafts() {
  const auto n_decodes = static_cast<uint32_t>(wanted_.size());
  uint32_t room = limits_.draft_rows_max - std::min(limits_.draft_rows_max, n_decodes);
  room = std::min({room, limits_.step_tokens_max - plan_.n_tokens, limits_.rows_max - plan_.n_rows});
  for (bool taken = true; taken && room != 0;) {
    taken = false;
    for (uint32_t i = 0; i < n_decodes && room != 0; ++i) {
      if (wanted_[i] == 0) continue;
      --wanted_[i];
      --room;
      ++plan_.runs[i].n_tokens;
      ++plan_.runs[i].n_rows;
      ++plan_.n_tokens;
      ++plan_.n_rows;
      taken = true;
    }
  }
}

void Scheduler::propose(uint64_t request, uint32_t choice, uint32_t n_tokens) {
  State* state = find(request);
  if (state == nullptr || choice >= state->choices.size() || !state->choices[choice].live) return;
  // The reservation holds pages for runs of a prompt's chunk.
  state->choices[choice].proposed = std::min(n_tokens, chunk_of(state->s) - 1);
}

}  // namespace merritt::scheduler
