// SPDX-License-Identifier: Apache-2.0
// Submitting and cancelling: everything that is decided on the caller's thread, before any work on the step thread.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {
namespace {

// A prompt that does not fit is an error with both numbers, never cut.
Status check_length(const Session& session, const RequestParams& params) {
  const uint64_t cached = params.conversation ? 0 : session.length.load();
  const uint64_t total = cached + params.prompt.size();
  const bool eval = params.eval.logits != nullptr;
  const uint64_t max = session.model->context_max;
  if (params.prompt.empty()) return Status(Code::kInvalidArgument, "the prompt is empty");
  if (total + (eval ? 0 : 1) <= max) return {};
  std::string text = "the prompt has " + std::to_string(params.prompt.size()) + " tokens";
  if (cached != 0) text += " and the session " + std::to_string(cached);
  return Status(Code::kInvalidArgument, text + "; context_max of this model is " + std::to_string(max) +
                                            " and one generated token must fit too");
}

Status make_choices(const Model& model, const Session& session, Request& request) {
  const RequestParams& params = request.params;
  if (params.eval.logits != nullptr) return {};
  // A text that begins here begins without the blank SentencePiece puts before a text.
  const bool start_of_text = (params.conversation || session.length == 0) &&
                             std::all_of(params.prompt.begin(), params.prompt.end(),
                                         [&](int32_t id) { return model.tokenizer->is_special(id); });
  // What min_tokens forbids is what would end the generation.
  std::vector<int32_t> end_tokens = params.stop_tokens;
  end_tokens.insert(end_tokens.end(), model.tokenizer->eog_ids().begin(), model.tokenizer->eog_ids().end());
  for (uint32_t c = 0; c < params.n; ++c) {
    Choice choice;
    MERRITT_TRY(choice.sampler, sampling::Sampler::create(params.sampling, model.file->info.vocabulary, end_tokens, c,
                                                          model.context_max));
    if (!params.conversation) {
      for (const int32_t id : session.history) choice.sampler->accept_prompt(id);
    }
    for (const int32_t id : params.prompt) choice.sampler->accept_prompt(id);
    choice.detokenizer = std::make_unique<tokens::Detokenizer>(*model.tokenizer, params.echo_special, start_of_text);
    choice.stop = std::make_unique<tokens::StopMatcher>(params.stop_strings);
    request.choices.push_back(std::move(choice));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Request>> Engine::submit(const std::shared_ptr<Session>& session, RequestParams params) {
  Model& model = *session->model;
  if (session->closed || model.closed) return Status(Code::kNotFound, "the session or its model was destroyed");
  if (model.lost) {
    return Status(Code::kBackend, "the device of this model is lost; destroy the model and load it again",
                  Blast::kDevice);
  }
  if (params.n > model.sequences_max) {
    return Status(Code::kInvalidArgument, "n is " + std::to_string(params.n) + "; sequences_max of this model is " +
                                              std::to_string(model.sequences_max));
  }
  if (session->busy.exchange(true)) {
    return Status(Code::kFailedPrecondition, "a request is running on this session; wait for its end or cancel it");
  }
  // From here on every way out that does not queue the request gives the session free again.
  auto request = std::make_shared<Request>(std::move(params), session);
  Status outcome = check_length(*session, request->params);
  if (outcome.ok()) outcome = make_choices(model, *session, *request);
  if (outcome.ok()) {
    const tenant::Demand demand{.prompt_bytes = request->params.prompt_bytes, .sequences = request->params.n};
    outcome = session->tenant->admit(demand, model.scheduler->load());
  }
  if (!outcome.ok()) {
    session->busy = false;
    return outcome;
  }
  request->stats.submitted_ns = now_ns();
  request->stats.prompt_tokens = static_cast<uint32_t>(request->params.prompt.size());
  if (Status posted = post([this, request] { begin(request); }); !posted.ok()) {
    session->tenant->leave_queue();
    session->busy = false;
    return posted;
  }
  return request;
}

void Engine::cancel(Request& request) {
  if (request.cancelled.exchange(true)) return;
  // The request outlives the command: it is looked up by its number.
  std::weak_ptr<Request> weak = request.weak_from_this();
  // One for each request at most, so that no full queue refuses it. Nothing is left to cancel after a shutdown.
  const auto command = [weak] {
    const auto alive = weak.lock();
    if (alive != nullptr && !alive->finished && alive->id != 0) alive->session->model->scheduler->cancel(alive->id);
  };
  (void)post(command, SIZE_MAX);
}

}  // namespace merritt::engine
