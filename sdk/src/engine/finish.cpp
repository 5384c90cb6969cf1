// SPDX-License-Identifier: Apache-2.0
// How requests end: choices, whole requests, what a plan has ended. Step thread.
#include <algorithm>

#include "engine/engine.hpp"

namespace merritt::engine {
namespace {

uint64_t free_pages(const kv::Cache& cache) {
  uint64_t pages = 0;
  for (uint32_t g = 0; g < cache.n_groups(); ++g) pages += cache.pool(g).free_pages();
  return pages;
}

}  // namespace

bool Choice::flush_text(std::string& out, bool may_stop) {
  if (stop == nullptr) return false;  // the last thing made at the start: the request has not got there
  std::string rest;
  detokenizer->flush(rest);
  if (stop->push(rest, out, may_stop)) return true;
  stop->flush(out);
  return false;
}

void Engine::end_choice(Model& model, Request& request, uint32_t choice_index, FinishReason reason,
                        uint64_t step_number) {
  Choice& choice = request.choices[choice_index];
  choice.finish = reason;
  model.scheduler->end_choice(request.id, choice_index);
  if (choice_index != 0) model.cache->release(choice.sequence);
  if (choice_index == 0) request.stats.finish_reason = static_cast<uint32_t>(reason);
  request.stream.push({EventKind::kChoiceEnd, choice_index, reason, -1, 0, {}, step_number});
  for (const Choice& other : request.choices) {
    if (other.finish == FinishReason::kNone) return;
  }
  finish_request(model, request, request.choices[0].finish, Status());
}

void Engine::fail_request(Model& model, uint64_t id, Status failure) noexcept {
  const auto found = model.requests.find(id);
  if (found == model.requests.end()) return;
  const std::shared_ptr<Request> request = found->second;
  finish_request(model, *request, FinishReason::kError, std::move(failure));
}

// Ends a request whatever there is memory for: events that cannot be made are left out, the end never is.
void Engine::finish_request(Model& model, Request& request, FinishReason reason, Status failure) noexcept {
  if (request.finished) return;
  request.finished = true;
  const KvAccount& account = *request.session->tenant->kv_account();
  const uint64_t claimed = account.claimed_bytes, pages = free_pages(*model.cache);
  model.scheduler->finish(request.id);
  if (failure.code() == Code::kBackend || failure.code() == Code::kCorrupt) distrust_prefixes(model, request);
  give_up_prefix(request);
  for (uint32_t c = 0; c < request.choices.size(); ++c) {
    if (request.choices[c].finish != FinishReason::kNone || request.params.eval.logits != nullptr) continue;
    finish_choice(model, request, c, reason);
  }
  request.stats.pages_freed = static_cast<uint32_t>(free_pages(*model.cache) - pages);
  request.stats.kv_bytes_released = claimed - std::min<uint64_t>(claimed, account.claimed_bytes);
  if (request.stats.finish_reason == 0) request.stats.finish_reason = static_cast<uint32_t>(reason);
  settle(request, reason);
  const std::shared_ptr<Request> keep = request.shared_from_this();
  model.requests.erase(request.id);
  request.session->busy = false;
  publish_load();  // a session, a tenant or a model may end the last one, and then no step comes that would
  request.stream.end(reason, std::move(failure), steps_);
}

// What was held for the request and not used is its tenant's again, before anybody learns of the end.
void Engine::settle(const Request& request, FinishReason reason) noexcept {
  tenant::Tenant& tenant = *request.session->tenant;
  tenant.add_finished(static_cast<uint32_t>(reason));
  tenant.settle(request.grant, uint64_t{request.prompt_run} + request.stats.generated_tokens, now_ns());
}

// A choice that ends before its own end: its tokens were reported, so text held back for a character or a stop string
// that will not be completed belongs to the reader.
void Engine::finish_choice(Model& model, Request& request, uint32_t choice_index, FinishReason reason) noexcept {
  Choice& choice = request.choices[choice_index];
  choice.finish = reason;
  try {
    if (choice_index != 0 && choice.sequence != kv::SequenceId::kNone) model.cache->release(choice.sequence);
    Event held{EventKind::kText, choice_index, FinishReason::kNone, -1, 0, {}, steps_};
    choice.flush_text(held.text);
    if (!held.text.empty()) request.stream.push(std::move(held));
    request.stream.push({EventKind::kChoiceEnd, choice_index, reason, -1, 0, {}, steps_});
  } catch (...) {
    return;
  }
}

void Engine::end_planned(Model& model, const scheduler::BatchPlan& plan) {
  for (const scheduler::Ended& ended : plan.ended) {
    const auto found = model.requests.find(ended.request);
    if (found == model.requests.end()) continue;
    const std::shared_ptr<Request> request = found->second;
    switch (ended.reason) {
      case scheduler::EndReason::kCancelled: finish_request(model, *request, FinishReason::kCancelled, Status()); break;
      case scheduler::EndReason::kDeadline: finish_request(model, *request, FinishReason::kDeadline, Status()); break;
      case scheduler::EndReason::kRefused: finish_request(model, *request, FinishReason::kError, ended.failure); break;
    }
  }
}

void Engine::mark_started(Model& model, const scheduler::BatchPlan& plan, uint64_t now) {
  for (const uint64_t id : plan.started) {
    const auto found = model.requests.find(id);
    if (found == model.requests.end()) continue;
    uint64_t unset = 0;  // a request whose pages were taken back starts again
    found->second->stats.started_ns.compare_exchange_strong(unset, now);
  }
}

void Engine::publish_load() noexcept {
  uint64_t running = 0, waiting = 0;
  for (const auto& model : models_) {
    running += model->scheduler->n_running();
    waiting += model->scheduler->n_waiting();
  }
  requests_running_ = running;
  requests_waiting_ = waiting;
  if (!draining_ || running + waiting != 0) return;
  { const std::lock_guard lock(mutex_); }  // so that drain() is either before its check or in its wait
  quiet_.notify_all();
}

}  // namespace merritt::engine
