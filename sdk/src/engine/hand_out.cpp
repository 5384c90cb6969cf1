// SPDX-License-Identifier: Apache-2.0
// After the commit of a step: histories, forks of n samples, and the text of drawn tokens. Step thread.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {

void Engine::hand_out(Model& model, const scheduler::BatchPlan& plan, uint64_t step_number) {
  size_t draw = 0;
  TenantId first_tenant = TenantId::kNone;
  bool mixed = false;
  for (size_t s = 0; s < plan.runs.size(); ++s) {
    const scheduler::Run& run = plan.runs[s];
    while (draw < draws_.size() && draws_[draw].run < s) ++draw;
    const auto found = model.requests.find(run.request);
    if (found == model.requests.end()) {
      model.cache->abort_append(run.sequence);  // another sample of this request has failed in this step
      continue;
    }
    const std::shared_ptr<Request> request = found->second;  // it may end below
    const TenantId tenant = request->session->tenant->id();
    mixed |= first_tenant != TenantId::kNone && tenant != first_tenant;
    first_tenant = tenant;

    if (accepted_[s] == 0) {
      model.cache->abort_append(run.sequence);
      const int32_t code = model.compiled->staging().seq_status[s];
      fail_request(model, run.request,
                   Status(code == MRT_CORRUPT ? Code::kCorrupt : Code::kBackend,
                          "the backend could not run this sequence (code " + std::to_string(code) +
                              "); other sequences of the step are not affected"));
      continue;
    }
    const Status committed = model.cache->commit(run.sequence, run.n_tokens, run.token_class);
    if (!committed.ok()) {
      fail_request(model, run.request, committed);
      continue;
    }
    model.scheduler->advance(run.request, run.choice, run.n_tokens);
    note_progress(*request, run);
    const bool drawn = draw < draws_.size() && draws_[draw].run == s;
    if (drawn &&
        request->params.eval.logits != nullptr) {  // nothing is drawn for these: rows that may not be given out
      fail_request(model, run.request, std::move(draws_[draw].drawn).status());
      continue;
    }
    if (!run.last_of_prompt && run.prompt) continue;
    if (request->params.eval.logits != nullptr) {
      finish_request(model, *request, FinishReason::kNone, Status());
      continue;
    }
    if (run.last_of_prompt && !fork_samples(model, *request)) continue;
    for (; draw < draws_.size() && draws_[draw].run == s; ++draw) {
      if (request->finished) continue;
      take_draw(model, *request, draws_[draw], step_number);
    }
  }
  if (mixed) steps_mixed_.fetch_add(1);
}

void Engine::note_progress(Request& request, const scheduler::Run& run) {
  request.stats.steps.fetch_add(1);
  Session& session = *request.session;
  if (run.prompt) {
    for (uint32_t i = 0; i < run.n_tokens; ++i) session.history.push_back(request.prompt_at(run.prompt_first + i));
    request.eval_rows += run.n_rows;
    session.tenant->add_prompt_tokens(run.n_tokens);
  } else if (run.choice == 0) {
    session.history.push_back(request.choices[0].next_token);
  }
  (run.token_class == kv::TokenClass::kPrompt ? prompt_tokens_ : generated_tokens_).fetch_add(run.n_tokens);
  session.length = static_cast<uint32_t>(session.history.size());
}

// The other samples share the prompt's pages from here on.
bool Engine::fork_samples(Model& model, Request& request) {
  for (uint32_t c = 1; c < request.params.n; ++c) {
    auto forked = model.cache->fork(request.choices[0].sequence, next_seq_key_++);
    Status outcome = forked.ok() ? model.scheduler->add_choice(request.id, c, *forked) : forked.status();
    if (!outcome.ok()) {
      if (forked.ok()) model.cache->release(*forked);
      fail_request(model, request.id, std::move(outcome));
      return false;
    }
    request.choices[c].sequence = *forked;
  }
  return true;
}

void Engine::take_draw(Model& model, Request& request, Draw& draw, uint64_t step_number) {
  if (!draw.drawn.ok()) {
    fail_request(model, request.id, std::move(draw.drawn).status());
    return;
  }
  Choice& choice = request.choices[draw.choice];
  const int32_t token = draw.drawn->token;
  const uint64_t now = now_ns();
  uint64_t unset = 0;
  request.stats.first_token_ns.compare_exchange_strong(unset, now);
  request.stats.last_token_ns = now;
  request.stats.generated_tokens.fetch_add(1);
  request.session->tenant->add_generated_tokens(1);
  choice.sampler->accept(token);
  choice.next_token = token;
  ++choice.generated;

  Event event{EventKind::kText, draw.choice, FinishReason::kNone, token, draw.drawn->logprob, {}, step_number};
  const auto& stops = request.params.stop_tokens;
  FinishReason reason = FinishReason::kNone;
  if ((!request.params.ignore_eos && model.tokenizer->is_eog(token)) ||
      std::find(stops.begin(), stops.end(), token) != stops.end()) {
    reason = FinishReason::kEos;
  } else {
    // What would end the generation does so only after min_tokens, stop strings as well as end tokens.
    const bool may_stop = choice.generated > request.params.sampling.min_tokens;
    std::string piece;
    choice.detokenizer->push(token, piece);
    if (choice.stop->push(piece, event.text, may_stop)) reason = FinishReason::kStop;
  }
  if (reason == FinishReason::kNone && choice.generated >= request.max_new_tokens) reason = FinishReason::kLength;
  if (reason != FinishReason::kNone && reason != FinishReason::kStop) {
    const bool may_stop = choice.generated > request.params.sampling.min_tokens;
    if (choice.flush_text(event.text, may_stop)) reason = FinishReason::kStop;
  }
  if (!request.stream.push(std::move(event))) {
    fail_request(model, request.id,
                 Status(Code::kOverloaded, std::to_string(limits::kEventQueueMax) +
                                               " events of this request were not read; read them as they come"));
    return;
  }
  if (reason != FinishReason::kNone) end_choice(model, request, draw.choice, reason, step_number);
}

}  // namespace merritt::engine
