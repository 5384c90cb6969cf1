// SPDX-License-Identifier: Apache-2.0
// After the commit of a step: histories, forks of n samples, and the text of drawn tokens. Step thread.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {

void Engine::hand_out(Model& model, const scheduler::BatchPlan& plan, uint64_t step_number) {
  auto first = draws_.begin();
  TenantId first_tenant = TenantId::kNone;
  bool mixed = false;
  for (size_t s = 0; s < plan.runs.size(); ++s) {
    const scheduler::Run& run = plan.runs[s];
    const auto last = std::find_if(first, draws_.end(), [s](const Draw& draw) { return draw.run != s; });
    const std::span<Draw> draws(first, last);
    first = last;
    for (Draw& draw : draws) draw.event.step = step_number;
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
    } else if (run.replay && !run.prompt) {
      (void)commit_run(model, *request, run, run.n_tokens);
    } else if (run.prompt) {
      hand_out_prompt(model, *request, run, draws);
    } else {
      hand_out_decode(model, *request, run, draws);
    }
  }
  if (mixed) steps_mixed_.fetch_add(1);
}

void Engine::hand_out_prompt(Model& model, Request& request, const scheduler::Run& run, std::span<Draw> draws) {
  if (!commit_run(model, request, run, run.n_tokens)) return;
  if (request.params.eval.logits != nullptr) {
    if (!draws.empty()) {  // nothing is drawn for these: rows that may not be given out
      fail_request(model, run.request, std::move(draws[0].drawn).status());
    } else if (run.last_of_prompt) {
      finish_request(model, request, FinishReason::kNone, Status());
    }
    return;
  }
  const bool sound = std::all_of(draws.begin(), draws.end(), [](const Draw& draw) { return draw.drawn.ok(); });
  if (sound) keep_prefix(model, request, run);
  if (!run.last_of_prompt || !fork_samples(model, request)) return;
  for (Draw& draw : draws) {
    if (!draw.drawn.ok()) return fail_request(model, run.request, std::move(draw.drawn).status());
    tell(model, request, draw);
    give(model, request, draw);
    if (request.finished) return;
    propose(model, request, draw.choice);
  }
}

// Rows behind the token that ends the choice do not become past: the sequence is left as a run without a draft leaves
// it. So what the tokens say comes first.
void Engine::hand_out_decode(Model& model, Request& request, const scheduler::Run& run, std::span<Draw> draws) {
  uint32_t told = 0;
  bool ends = false;
  for (; told < draws.size() && draws[told].drawn.ok() && !ends; ++told) ends = tell(model, request, draws[told]);
  const bool fails = !ends && told < draws.size();
  if (!commit_run(model, request, run, fails ? told + 1 : told)) return;
  for (Draw& draw : draws.first(told)) {
    give(model, request, draw);
    if (request.finished) return;
  }
  if (fails) return fail_request(model, run.request, std::move(draws[told].drawn).status());
  propose(model, request, run.choice);
}

// False: the request has failed.
bool Engine::commit_run(Model& model, Request& request, const scheduler::Run& run, uint32_t n_tokens) {
  // Before, so that want of memory leaves cache and session alike.
  std::vector<kv::ClassRun>& classes = request.session->classes;
  if (classes.size() == classes.capacity()) classes.reserve(2 * classes.size() + 1);
  Status committed = model.cache->commit(run.sequence, n_tokens, run.token_class);
  if (!committed.ok()) {
    fail_request(model, run.request, std::move(committed));
    return false;
  }
  model.scheduler->advance(run.request, run.choice, n_tokens);
  note_progress(request, run, n_tokens);
  return true;
}

// What is run again was counted and noted when it ran first.
void Engine::note_progress(Request& request, const scheduler::Run& run, uint32_t n_tokens) {
  request.stats.steps.fetch_add(1);
  if (request.cancelled) request.stats.steps_after_cancel.fetch_add(1);
  Session& session = *request.session;
  const uint32_t end = session.model->cache->length(run.sequence);
  uint32_t fresh = n_tokens;
  if (run.prompt) {
    fresh = end - std::min(end, std::max(end - n_tokens, session.length.load()));
    for (uint32_t i = end - fresh; i < end; ++i) session.history.push_back(request.prompt_at(i));
    note_class(session, run.token_class, fresh);
    request.eval_rows += run.n_rows;
    count_prompt(request, fresh);
  } else if (run.replay) {
    fresh = 0;
  } else {
    Choice& choice = request.choices[run.choice];
    std::vector<int32_t>& past = run.choice == 0 ? session.history : choice.run;
    for (uint32_t i = 0; i < n_tokens; ++i) past.push_back(choice.token_at(i));
    if (run.choice == 0) note_class(session, run.token_class, n_tokens);
    if (run.n_tokens > 1) note_draft(request, choice, run.n_tokens - 1, n_tokens - 1);
  }
  (run.token_class == kv::TokenClass::kPrompt ? prompt_tokens_ : generated_tokens_).fetch_add(fresh);
  session.length = static_cast<uint32_t>(session.history.size());
}

// Of tokens that were not run before: those whose pages were taken back are not counted again.
void Engine::count_prompt(Request& request, uint32_t fresh) {
  tenant::Tenant& tenant = *request.session->tenant;
  if (request.prompt_run == 0 && fresh != 0) tenant.ledger().add(tenant::Counter::kCachedTokens, request.prompt_skip);
  tenant.add_prompt_tokens(fresh);
  request.prompt_run += fresh;
}

// The step's time up to its commit, by the rows of each tenant, in whole nanoseconds that add up to it.
void Engine::charge_step(Model& model, const scheduler::BatchPlan& plan, uint64_t step_ns) {
  uint64_t rows = 0, charged = 0;
  for (const scheduler::Run& run : plan.runs) {
    rows += run.n_tokens;
    const uint64_t until = tenant::share_until(step_ns, rows, plan.n_tokens);
    model.requests.at(run.request)->session->tenant->ledger().add(tenant::Counter::kComputeNs, until - charged);
    charged = until;
  }
  step_ns_.fetch_add(charged);
}

// The other samples share the prompt's pages from here on.
bool Engine::fork_samples(Model& model, Request& request) {
  for (uint32_t c = 1; c < request.params.n; ++c) {
    if (request.choices[c].finish != FinishReason::kNone) continue;  // the prompt was run again
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

// What a drawn token completes of the text, and whether its choice ends with it (then true).
bool Engine::tell(Model& model, Request& request, Draw& draw) {
  Choice& choice = request.choices[draw.choice];
  const int32_t token = draw.drawn->token;
  const uint64_t now = now_ns();
  uint64_t unset = 0;
  request.stats.first_token_ns.compare_exchange_strong(unset, now);
  request.stats.last_token_ns = now;
  request.stats.generated_tokens.fetch_add(1);
  ++choice.generated;

  Event& event = draw.event;
  event.kind = EventKind::kText;
  event.choice = draw.choice;
  event.token = token;
  event.logprob = draw.drawn->logprob;
  FinishReason& reason = draw.reason;
  if (ends_choice(model, request, token)) {
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
  return reason != FinishReason::kNone;
}

void Engine::give(Model& model, Request& request, Draw& draw) {
  Choice& choice = request.choices[draw.choice];
  choice.next_token = draw.event.token;
  if (choice.lookup != nullptr) choice.lookup->append(draw.event.token);
  const uint64_t step_number = draw.event.step;
  if (!request.stream.push(std::move(draw.event))) {
    fail_request(model, request.id,
                 Status(Code::kOverloaded, std::to_string(limits::kEventQueueMax) +
                                               " events of this request were not read; read them as they come"));
    return;
  }
  request.session->tenant->add_generated_tokens(1);  // not before it was handed out
  if (draw.reason != FinishReason::kNone) end_choice(model, request, draw.choice, draw.reason, step_number);
}

}  // namespace merritt::engine
