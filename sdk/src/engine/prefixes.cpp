// SPDX-License-Identifier: Apache-2.0
// A prompt that begins as one of its tenant's did, or as a published one, begins with the pages of that one. What it
// skips was run in class prompt, as it would have been: every row to come has the bits it would have had. Step thread.
#include <algorithm>
#include <new>
#include <span>
#include <utility>

#include "engine/engine.hpp"

namespace merritt::engine {

// What was found; an evaluation wants a row of each of its tokens.
scheduler::Beginning Engine::adopt_prefix(Model& model, Request& request) {
  Session& session = *request.session;
  if (session.length != 0 || request.params.eval.logits != nullptr) return {};
  const std::vector<int32_t>& prompt = request.params.prompt;
  const PrefixCache::Hit hit = model.prefixes->find(*session.tenant->kv_account(), prompt);
  request.branch = hit.branch > hit.tokens ? hit.branch : 0;
  if (hit.tokens == 0) return {};
  auto shared = model.cache->share(hit.sequence, hit.tokens, session.tenant->kv_account(), next_seq_key_++);
  if (!shared.ok()) return {};  // no room for one more window: it is run
  if (session.sequence != kv::SequenceId::kNone) model.cache->release(session.sequence);
  session.sequence = *shared;
  session.history.assign(prompt.begin(), prompt.begin() + hit.tokens);
  session.classes.assign(1, {kv::TokenClass::kPrompt, hit.tokens});
  session.length = hit.tokens;
  request.prompt_skip = hit.tokens;
  request.adopted = true;
  return {hit.sequence, hit.tokens};
}

// For a request whose pages were taken back: the same for what its session begins with in class prompt, short of the
// prompt's last token. Without it, or without memory for it, all is run again. An evaluation, which has no choices, is
// never taken back (Scheduler::is_promised).
void Engine::adopt_again(Model& model, Request& request) noexcept {
  Session& session = *request.session;
  const std::vector<kv::ClassRun>& classes = session.classes;
  if (!model.scheduler->contains(request.id) || classes.empty()) return;
  if (classes[0].token_class != kv::TokenClass::kPrompt) return;
  const size_t end = request.first_position + request.params.prompt.size() - request.prompt_skip;
  const size_t most = std::min<size_t>(classes[0].n_tokens, end - 1);
  const std::span<const int32_t> history = session.history;
  try {
    const auto& account = session.tenant->kv_account();
    const PrefixCache::Hit hit = model.prefixes->find(*account, history.first(std::min(most + 1, history.size())));
    if (hit.tokens == 0) return;
    const auto shared = model.cache->share(hit.sequence, hit.tokens, account, next_seq_key_++);
    if (!shared.ok()) return;
    if (!model.scheduler->resume_from(request.id, *shared)) return model.cache->release(*shared);
    model.scheduler->note_beginning(request.id, {hit.sequence, hit.tokens});
    model.cache->release(std::exchange(session.sequence, *shared));
    request.choices[0].sequence = session.sequence;
  } catch (const std::bad_alloc&) {
    return;
  }
}

// Where a request ends before it ran anything, its session is as it was: empty.
void Engine::give_up_prefix(Request& request) noexcept {
  if (request.adopted && request.prompt_run == 0) (void)cut_history(*request.session, 0);
}

// What ran may be wrong, and so may what it began with: nobody begins with either again.
void Engine::distrust_prefixes(Model& model, const Request& request) noexcept {
  request.session->suspect = true;
  model.prefixes->distrust(request.session->tenant->id(), request.params.prompt);
}

// At the end of the prompt, or where another one is known to go on differently. Only what the session began with in
// class prompt: tokens that were generated have other bits than a prompt's.
void Engine::keep_prefix(Model& model, const Request& request, const scheduler::Run& run) noexcept {
  Session& session = *request.session;
  const uint32_t length = model.cache->length(run.sequence);
  if (run.last_of_prompt && session.first_prompt == 0) session.first_prompt = length;
  if (!run.last_of_prompt && length != request.branch) return;
  if (session.suspect || session.classes.empty() || session.classes[0].token_class != kv::TokenClass::kPrompt) return;
  const std::span<const int32_t> history = session.history;
  const uint32_t n_tokens = std::min(session.classes[0].n_tokens, length);
  try {
    const kv::SequenceId kept =
        model.prefixes->keep(session.tenant->kv_account(), history.first(n_tokens), run.sequence, next_seq_key_++);
    if (kept != kv::SequenceId::kNone) model.scheduler->note_beginning(request.id, {kept, n_tokens});
  } catch (const std::bad_alloc&) {
    return;  // the request does not need it
  }
}

// Soon, and without waiting for it: there is one for each change of limits.
void Engine::trim_prefixes(const tenant::Tenant& tenant) {
  (void)post([this, account = tenant.kv_account()] {
    for (const auto& model : models_) model->prefixes->trim(*account);
  });
}

Result<uint32_t> Engine::publish_prefix(const std::shared_ptr<Session>& session) {
  if (!session->tenant->limits().publishes) {
    return Status(Code::kPermissionDenied, "the tenant may not publish; its limits say so (publishes)");
  }
  MERRITT_TRY(const SessionClaim claim, SessionClaim::take(session));
  uint32_t published = 0;
  MERRITT_CHECK(call([this, &session, &published]() -> Status {
    if (session->closed || session->tenant->closed() || session->model->closed) {
      return Status(Code::kNotFound, "the session, its tenant or its model was destroyed");
    }
    if (session->suspect) {
      return Status(Code::kFailedPrecondition, "a step has failed on this session: what it holds is not published");
    }
    const bool begins = !session->classes.empty() && session->classes[0].token_class == kv::TokenClass::kPrompt;
    const uint32_t n_tokens = begins ? std::min(session->classes[0].n_tokens, session->first_prompt) : 0;
    const std::span<const int32_t> history = session->history;
    MERRITT_TRY(published, session->model->prefixes->publish(session->tenant->kv_account(), history.first(n_tokens),
                                                             session->sequence, next_seq_key_++));
    return {};
  }));
  return published;
}

}  // namespace merritt::engine
