// SPDX-License-Identifier: Apache-2.0
// Submitting and cancelling: what is decided on the caller's thread, before any work on the step thread, and the
// samplers a request gets when it starts.
#include <algorithm>
#include <new>

#include "engine/engine.hpp"

namespace merritt::engine {
namespace {

// A prompt that does not fit is an error with both numbers, never cut.
Status check_length(const Session& session, const RequestParams& params, const tenant::Grant& grant) {
  const uint64_t cached = params.conversation ? 0 : session.length.load();
  const uint64_t total = cached + params.prompt.size();
  const bool eval = params.eval.logits != nullptr;
  const uint64_t max = session.model->context_max;
  if (params.prompt.empty()) return Status(Code::kInvalidArgument, "the prompt is empty");
  const uint64_t wanted = total + (eval ? 0 : 1);
  const bool tenant_allows = grant.context_max == 0 || wanted <= grant.context_max;
  if (wanted <= max && tenant_allows) return {};
  std::string text = "the prompt has " + std::to_string(params.prompt.size()) + " tokens";
  if (cached != 0) text += " and the session " + std::to_string(cached);
  if (wanted <= max) {
    return session.tenant->refuse(
        tenant::Refusal::kContext,
        Status(Code::kQuotaExceeded, text + "; the tenant's context_max is " + std::to_string(grant.context_max) +
                                         " and one generated token must fit too"));
  }
  return Status(Code::kInvalidArgument, text + "; context_max of this model is " + std::to_string(max) +
                                            " and one generated token must fit too");
}

// Samplers are made here and not at submit: one needs up to a megabyte where the vocabulary is large, and a queue of
// requests must not hold that for each.
Status make_choices_of(const Model& model, Request& request, const sampling::RowKernels& kernels) {
  const RequestParams& params = request.params;
  const Session& session = *request.session;
  // A text that begins here begins without the blank SentencePiece puts before a text.
  const uint32_t before =
      request.first_position - request.prompt_skip;  // tokens of the history that are not the prompt's
  const bool start_of_text = before == 0 && std::all_of(params.prompt.begin(), params.prompt.end(),
                                                        [&](int32_t id) { return model.tokenizer->is_special(id); });
  // What min_tokens forbids is what would end the generation.
  std::vector<int32_t> end_tokens = params.stop_tokens;
  end_tokens.insert(end_tokens.end(), model.tokenizer->eog_ids().begin(), model.tokenizer->eog_ids().end());
  for (uint32_t c = 0; c < params.n; ++c) {
    Choice& choice = request.choices[c];
    MERRITT_TRY(choice.sampler, sampling::Sampler::create(params.sampling, model.file->info.vocabulary, end_tokens, c,
                                                          model.context_max, kernels));
    if (params.speculate_max != 0) {
      const size_t history_max = before + params.prompt.size() + request.max_new_tokens;
      choice.lookup = std::make_unique<sampling::PromptLookup>(static_cast<uint32_t>(history_max));
      choice.draft.reserve(params.speculate_max);
    }
    const auto accept_prompt = [&choice](int32_t id) {
      choice.sampler->accept_prompt(id);
      if (choice.lookup != nullptr) choice.lookup->append(id);
    };
    std::for_each(session.history.begin(), session.history.begin() + before, accept_prompt);
    std::for_each(params.prompt.begin(), params.prompt.end(), accept_prompt);
    if (c != 0) choice.run.reserve(request.max_new_tokens);
    choice.detokenizer = std::make_unique<tokens::Detokenizer>(*model.tokenizer, params.echo_special, start_of_text);
    choice.stop = std::make_unique<tokens::StopMatcher>(request.stops);
  }
  return {};
}

}  // namespace

Result<SessionClaim> SessionClaim::take(std::shared_ptr<Session> session) {
  if (session->closed) return Status(Code::kNotFound, "the session was destroyed");
  if (session->busy.exchange(true)) {
    return Status(Code::kFailedPrecondition, "a request is running on this session; wait for its end or cancel it");
  }
  return SessionClaim(std::move(session));
}

Result<Admission> Engine::admit(const std::shared_ptr<Session>& session, tenant::Demand demand) {
  const Model& model = *session->model;
  MERRITT_CHECK(check_not_draining());
  if (model.closed) return Status(Code::kNotFound, "the model was destroyed");
  if (model.lost) {
    return Status(Code::kBackend, "the device of this model is lost; destroy the model and load it again",
                  Blast::kDevice);
  }
  if (demand.sequences > model.sequences_max) {
    return Status(Code::kInvalidArgument, "n is " + std::to_string(demand.sequences) +
                                              "; sequences_max of this model is " +
                                              std::to_string(model.sequences_max));
  }
  MERRITT_TRY(SessionClaim claim, SessionClaim::take(session));
  if (model.charge.tenant() == nullptr) demand.model = model.id;  // else it is the tenant's own
  demand.context_max = model.context_max;
  MERRITT_TRY(const tenant::Grant grant, session->tenant->admit(demand, model.scheduler->load(), now_ns()));
  return Admission(std::move(claim), session->tenant, grant);
}

Result<std::shared_ptr<Request>> Engine::submit(Admission admission, RequestParams params) {
  auto request = std::make_shared<Request>(std::move(params), admission.session());
  tenant::Tenant& tenant = *request->session->tenant;
  MERRITT_CHECK(check_length(*request->session, request->params, admission.grant()));
  MERRITT_CHECK(tenant.charge(
      admission.grant(), {.sequences = request->params.n, .prompt_tokens = request->params.prompt.size()}, now_ns()));
  request->grant = admission.grant();
  if (request->params.eval.logits == nullptr) request->choices.resize(request->params.n);
  request->stats.submitted_ns = now_ns();
  request->stats.prompt_tokens = static_cast<uint32_t>(request->params.prompt.size());
  if (Status posted = post_new_work([this, request] { begin(request); }); !posted.ok()) {
    if (posted.code() == Code::kOverloaded) tenant.add_refusal(tenant::Refusal::kOverload);
    return posted;
  }
  admission.hand_over();
  return request;
}

Result<std::shared_ptr<Request>> Engine::submit(const std::shared_ptr<Session>& session, RequestParams params) {
  tenant::Demand demand;
  demand.prompt_bytes = params.prompt.size() * sizeof(int32_t);
  demand.prompt_tokens = params.prompt.size();
  demand.sequences = params.n;
  demand.output_tokens = params.eval.logits != nullptr ? 0 : params.max_tokens;
  MERRITT_TRY(Admission admission, admit(session, demand));
  return submit(std::move(admission), std::move(params));
}

// For the requests that start with this plan. False: one could not be made, it was ended and the plan is void.
bool Engine::make_choices(Model& model, const scheduler::BatchPlan& plan) {
  bool made = true;
  for (const uint64_t id : plan.started) {
    const auto found = model.requests.find(id);
    if (found == model.requests.end() || found->second->params.eval.logits != nullptr) continue;
    if (found->second->choices[0].stop != nullptr) continue;  // it starts again
    Status outcome;
    try {
      outcome = make_choices_of(model, *found->second, sampling::row_kernels(isa_max_));
    } catch (const std::bad_alloc&) {
      outcome = Status(Code::kOutOfMemory, "no memory for the samplers of this request");
    }
    if (outcome.ok()) continue;
    fail_request(model, id, std::move(outcome));
    made = false;
  }
  return made;
}

Result<Event> Engine::next_event(Request& request, uint32_t timeout_ms) {
  Result<Event> event = Event{};
  MERRITT_CHECK(drive(timeout_ms, [&](uint32_t wait_ms) {
    event = request.stream.next(wait_ms);
    return !event.ok() || event->kind != EventKind::kNone;
  }));
  return event;
}

void Engine::cancel(Request& request) {
  if (request.cancelled) return;
  // The request outlives the command: it is looked up by its number.
  std::weak_ptr<Request> weak = request.weak_from_this();
  // About one for each request, so that no full queue refuses it. Nothing is left to cancel after a shutdown.
  const auto command = [weak] {
    const auto alive = weak.lock();
    if (alive != nullptr && !alive->finished && alive->id != 0) alive->session->model->scheduler->cancel(alive->id);
  };
  (void)post(command);
  request.cancelled = true;  // last: a cancel that found no memory for its command can be made again
}

}  // namespace merritt::engine
