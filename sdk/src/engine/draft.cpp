// SPDX-License-Identifier: Apache-2.0
// Speculative decoding: what a choice proposes to run beside the token it drew last, and what becomes of it. Step
// thread.
//
// The draft of a choice is run in one step with its token, as rows of class generated, and each row is drawn from as if
// it were a step of its own (Engine::draw_decode). So a draft changes when a token is made, and never which.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {

Result<sampling::Drawn> Choice::draw(std::span<float> logits) {
  Result<sampling::Drawn> drawn = sampler->sample(logits, nullptr);
  if (drawn.ok()) sampler->accept(drawn->token);
  return drawn;
}

bool Engine::ends_choice(const Model& model, const Request& request, int32_t token) {
  const auto& stops = request.params.stop_tokens;
  return (!request.params.ignore_eos && model.tokenizer->is_eog(token)) ||
         std::find(stops.begin(), stops.end(), token) != stops.end();
}

// Nothing is run behind the last token that may be generated, nor behind one that ends the choice.
void Engine::propose(Model& model, Request& request, uint32_t choice_index) {
  Choice& choice = request.choices[choice_index];
  if (choice.lookup == nullptr || choice.finish != FinishReason::kNone) return;
  const uint32_t left = request.max_new_tokens - choice.generated - 1;
  choice.draft.resize(std::min(request.params.speculate_max, left));
  choice.draft.resize(choice.lookup->draft(choice.draft));
  const auto end = std::find_if(choice.draft.begin(), choice.draft.end(),
                                [&](int32_t token) { return ends_choice(model, request, token); });
  choice.draft.erase(end, choice.draft.end());
  model.scheduler->propose(request.id, choice_index, static_cast<uint32_t>(choice.draft.size()));
}

void Engine::note_draft(Request& request, Choice& choice, uint32_t drafted, uint32_t accepted) {
  choice.lookup->learn(drafted, accepted);
  request.stats.draft_tokens.fetch_add(drafted);
  request.stats.draft_tokens_accepted.fetch_add(accepted);
  tenant::Ledger& ledger = request.session->tenant->ledger();
  ledger.add(tenant::Counter::kDraftTokens, drafted);
  ledger.add(tenant::Counter::kDraftTokensAccepted, accepted);
  draft_tokens_.fetch_add(drafted);
  draft_tokens_accepted_.fetch_add(accepted);
}

}  // namespace merritt::engine
