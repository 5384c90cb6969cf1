// SPDX-License-Identifier: Apache-2.0
// Sessions whose pages were taken back, all or those at the end, while they ran or were at rest. Their tokens and the
// classes these were run in stay; whoever runs next on the session runs them again first, so every row to come has the
// past that it would have had. Step thread.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {

// The scheduler has emptied the sequences. That of a session at rest needs nothing: its next request sees what it
// lacks.
void Engine::take_back(Model& model, const scheduler::BatchPlan& plan) {
  for (const scheduler::Preempted& taken : plan.preempted) {
    preemptions_.fetch_add(1);
    const auto found = model.requests.find(taken.request);
    if (found == model.requests.end()) continue;
    Request& request = *found->second;
    for (uint32_t c = 1; c < request.choices.size(); ++c) request.choices[c].sequence = kv::SequenceId::kNone;
    adopt_again(model, request);
  }
}

void Engine::note_class(Session& session, kv::TokenClass token_class, uint32_t n_tokens) {
  if (n_tokens == 0) return;
  std::vector<kv::ClassRun>& classes = session.classes;
  if (classes.empty() || classes.back().token_class != token_class) classes.push_back({token_class, 0});
  classes.back().n_tokens += n_tokens;
}

// Of the history, what the cache lacks.
std::vector<kv::ClassRun> Engine::missing_past(const Model& model, const Session& session) {
  std::vector<kv::ClassRun> missing;
  uint32_t cached = model.cache->length(session.sequence);
  for (const kv::ClassRun& run : session.classes) {
    const uint32_t known = std::min(run.n_tokens, cached);
    cached -= known;
    if (known != run.n_tokens) missing.push_back({run.token_class, run.n_tokens - known});
  }
  return missing;
}

// Drops the tokens from `position` on, cached or not.
Status Engine::cut_history(Session& session, uint32_t position) {
  kv::Cache& cache = *session.model->cache;
  if (position < cache.length(session.sequence)) MERRITT_CHECK(cache.truncate(session.sequence, position));
  session.history.resize(position);
  session.length = position;
  session.first_prompt = std::min(session.first_prompt, position);
  if (position == 0) session.suspect = false;
  uint32_t left = position;
  for (kv::ClassRun& run : session.classes) {
    run.n_tokens = std::min(run.n_tokens, left);
    left -= run.n_tokens;
  }
  while (!session.classes.empty() && session.classes.back().n_tokens == 0) session.classes.pop_back();
  return {};
}

// The i-th token of a run whose sequence has `past` tokens.
int32_t Engine::token_of(const Request& request, const scheduler::Run& run, uint32_t past, uint32_t i) {
  const std::vector<int32_t>& history = request.session->history;
  const Choice* choice = run.prompt ? nullptr : &request.choices[run.choice];
  if (choice != nullptr && !run.replay) return choice->token_at(i);
  if (choice != nullptr && run.choice != 0) return choice->run[run.prompt_first + i];
  return past + i < history.size() ? history[past + i] : request.prompt_at(past + i);
}

}  // namespace merritt::engine
