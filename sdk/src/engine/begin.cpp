// SPDX-License-Identifier: Apache-2.0
// The first thing that happens to a request on the step thread: its prompt meets the session's cache, and it is queued.
#include <algorithm>

#include "engine/engine.hpp"
#include "engine/thrown.hpp"

namespace merritt::engine {
namespace {

constexpr size_t kClassesKept = 16;  // more than most sessions come to: decoding calls no allocator then

}  // namespace

void Engine::begin(const std::shared_ptr<Request>& request) noexcept {
  Session& session = *request->session;
  Model& model = *session.model;
  try {
    request->id = next_request_id_++;
    model.requests.emplace(request->id, request);
    // Destroyed since it was submitted: it ends as it would have a moment later.
    if (session.closed || model.closed || session.tenant->closed()) {
      return end_unplaced(request, FinishReason::kCancelled, Status());
    }
    Status outcome;
    if (model.lost || model.compiled->device().lost()) {
      outcome = Status(Code::kBackend, "the device of this model is lost; destroy the model and load it again",
                       Blast::kDevice);
    } else {
      outcome = place(model, *request);
    }
    if (!outcome.ok()) return end_unplaced(request, FinishReason::kError, std::move(outcome));
    if (request->cancelled) model.scheduler->cancel(request->id);
  } catch (...) {
    end_unplaced(request, FinishReason::kError, status_of_exception());
  }
}

// The scheduler has not taken it.
void Engine::end_unplaced(const std::shared_ptr<Request>& request, FinishReason reason, Status failure) noexcept {
  Session& session = *request->session;
  Model& model = *session.model;
  session.tenant->leave_queue();
  if (model.requests.contains(request->id)) {
    finish_request(model, *request, reason, std::move(failure));
    return;
  }
  request->finished = true;
  settle(*request, reason);
  request->stats.finish_reason = static_cast<uint32_t>(reason);
  session.busy = false;
  request->stream.end(reason, std::move(failure), steps_);
}

Status Engine::place(Model& model, Request& request) {
  Session& session = *request.session;
  session.history.reserve(model.context_max);
  session.classes.reserve(kClassesKept);
  if (request.params.conversation) MERRITT_CHECK(match_cache(model, request));
  const scheduler::Beginning beginning = adopt_prefix(model, request);
  if (session.sequence == kv::SequenceId::kNone) {
    session.sequence = model.cache->create(session.tenant->kv_account(), next_seq_key_++);
  }
  if (!request.choices.empty()) request.choices[0].sequence = session.sequence;
  request.first_position = session.length;

  const bool eval = request.params.eval.logits != nullptr;
  const uint32_t prompt_tokens = static_cast<uint32_t>(request.params.prompt.size()) - request.prompt_skip;
  const uint32_t length = session.length + prompt_tokens;
  const uint32_t own_max = request.grant.context_max == 0 ? model.context_max : request.grant.context_max;
  const uint32_t context_max = std::min(model.context_max, own_max);
  request.max_new_tokens = eval ? 0 : std::min(request.params.max_tokens, context_max - length);
  request.stats.cached_tokens = request.prompt_skip;

  scheduler::Submission submission;
  submission.request = request.id;
  submission.tenant = session.tenant.get();
  submission.sequence = session.sequence;
  submission.prompt_tokens = prompt_tokens;
  submission.max_new_tokens = request.max_new_tokens;
  submission.n = request.params.n;
  submission.deadline_ns = request.params.deadline_ns;
  submission.priority = request.params.priority;
  submission.past = missing_past(model, session);
  submission.beginning = beginning;
  if (request.branch != 0) submission.prompt_split = request.branch - request.prompt_skip;
  if (eval) {
    submission.prompt_rows = scheduler::Rows::kAll;
    submission.prompt_chunk = request.params.eval.decode ? 1 : 0;
    submission.prompt_class = request.params.eval.decode ? kv::TokenClass::kGenerated : kv::TokenClass::kPrompt;
  }
  return model.scheduler->submit(submission);
}

// A conversation is given whole: the longest prefix that the cache holds is kept, the rest of the cache dropped. At
// least one token must be run to have logits. Where a windowed layer has dropped what the new position needs, all is
// run again.
Status Engine::match_cache(Model& model, Request& request) {
  Session& session = *request.session;
  const auto& prompt = request.params.prompt;
  const size_t most = std::min(session.history.size(), prompt.size() - 1);
  uint32_t common = 0;
  while (common < most && session.history[common] == prompt[common]) ++common;
  if (common < session.history.size()) {
    if (common != 0 && common < model.cache->lowest_truncation(session.sequence)) common = 0;
    MERRITT_CHECK(cut_history(session, common));
  }
  request.prompt_skip = common;
  return {};
}

}  // namespace merritt::engine
