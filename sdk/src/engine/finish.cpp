// SPDX-License-Identifier: Apache-2.0
// How requests end: choices, whole requests, failures and failed steps. Step thread.
#include "engine/engine.hpp"

namespace merritt::engine {

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

void Engine::fail_request(Model& model, uint64_t id, Status failure) {
  const auto found = model.requests.find(id);
  if (found == model.requests.end()) return;
  const std::shared_ptr<Request> request = found->second;
  finish_request(model, *request, FinishReason::kError, std::move(failure));
}

void Engine::finish_request(Model& model, Request& request, FinishReason reason, Status failure) {
  if (request.finished) return;
  request.finished = true;
  model.scheduler->finish(request.id);
  for (uint32_t c = 0; c < request.choices.size(); ++c) {
    Choice& choice = request.choices[c];
    if (choice.finish != FinishReason::kNone || request.params.eval.logits != nullptr) continue;
    choice.finish = reason;
    if (c != 0 && choice.sequence != kv::SequenceId::kNone) model.cache->release(choice.sequence);
    request.stream.push({EventKind::kChoiceEnd, c, reason, -1, 0, {}, steps_});
  }
  if (request.stats.finish_reason == 0) request.stats.finish_reason = static_cast<uint32_t>(reason);
  const std::shared_ptr<Request> keep = model.requests.at(request.id);
  model.requests.erase(request.id);
  request.session->busy = false;
  request.stream.end(reason, std::move(failure), steps_);
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
    if (found != model.requests.end()) found->second->stats.started_ns = now;
  }
}

// Nobody advanced. Who pays depends on the blast radius the backend reports: one sequence, the step, the program (it is
// rebuilt), or the device (every request of the model).
void Engine::handle_step_failure(Model& model, const scheduler::BatchPlan& plan, Status failure, uint32_t blast,
                                 uint32_t culprit) {
  log_->write(observe::LogLevel::kError, "step failed: " + std::string(failure.message()));
  std::vector<uint64_t> victims;
  for (uint32_t s = 0; s < plan.runs.size(); ++s) {
    model.cache->abort_append(plan.runs[s].sequence);
    if (culprit == UINT32_MAX || culprit == s) victims.push_back(plan.runs[s].request);
  }
  if (blast >= MRT_BLAST_DEVICE) {
    model.lost = true;
    victims.clear();
    for (const auto& [id, request] : model.requests) victims.push_back(id);
    failure = Status(failure.code(), std::string(failure.message()), Blast::kDevice);
  } else if (blast == MRT_BLAST_PROGRAM) {
    const Status rebuilt = model.compiled->rebuild_program();
    if (!rebuilt.ok()) model.lost = true;
  }
  for (const uint64_t id : victims) fail_request(model, id, failure);
}

void Engine::end_all_requests() {
  for (const auto& model : models_) {
    std::vector<std::shared_ptr<Request>> running;
    for (const auto& [id, request] : model->requests) running.push_back(request);
    for (const auto& request : running) finish_request(*model, *request, FinishReason::kCancelled, Status());
  }
  publish_load();
}

void Engine::publish_load() {
  uint64_t running = 0, waiting = 0;
  for (const auto& model : models_) {
    running += model->scheduler->n_running();
    waiting += model->scheduler->n_waiting();
  }
  requests_running_ = running;
  requests_waiting_ = waiting;
}

}  // namespace merritt::engine
