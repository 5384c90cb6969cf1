// SPDX-License-Identifier: Apache-2.0
// Tenants and sessions: the functions of Engine that change what hangs from a tenant. What the step thread owns is
// changed on the step thread, through call(); commands capture by reference, so that they keep nothing alive once the
// caller has gone on.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/engine.hpp"

namespace merritt::engine {

// Under a lock, so that the count that comes last is the one that stays.
void Engine::count_tenants() {
  const std::lock_guard lock(mutex_);
  policy_->set_tenants(tenants_.n_open());
}

Status Engine::close_tenant(const std::shared_ptr<tenant::Tenant>& tenant) {
  tenant->close();
  count_tenants();
  return call([this, &tenant]() -> Status {  // evaluations run on sessions without a handle
    for (const auto& model : models_) {
      std::vector<std::shared_ptr<Request>> running;
      for (const auto& [id, request] : model->requests) {
        if (request->session->tenant == tenant) running.push_back(request);
      }
      for (const auto& request : running) finish_request(*model, *request, FinishReason::kCancelled, Status());
      model->prefixes->forget(tenant->id());
    }
    std::vector<std::shared_ptr<Model>> own;
    const auto loaded_for_it = [&tenant](const auto& model) { return model->charge.tenant() == tenant; };
    std::copy_if(models_.begin(), models_.end(), std::back_inserter(own), loaded_for_it);
    for (const auto& model : own) {
      model->closed = true;
      detach_model(model);
    }
    return {};
  });
}

Result<std::shared_ptr<Session>> Engine::open_session(std::shared_ptr<tenant::Tenant> tenant,
                                                      std::shared_ptr<Model> model) {
  if (tenant->closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  if (model->closed) return Status(Code::kNotFound, "the model was destroyed");
  if (model->charge.tenant() == nullptr) {
    MERRITT_CHECK(tenant->check_model(model->id));
  } else if (model->charge.tenant() != tenant) {
    return tenant->refuse(tenant::Refusal::kModel,
                          Status(Code::kPermissionDenied, "this model was loaded for another tenant"));
  }
  auto session = std::make_shared<Session>(std::move(tenant), std::move(model));
  session->tenant->session_opened();
  return session;
}

Status Engine::close_session(const std::shared_ptr<Session>& session) {
  MERRITT_CHECK(check_may_wait());
  session->closed = true;
  // May be called again, also at the same time: each step below happens once.
  return call([this, &session]() -> Status {
    Model& model = *session->model;
    std::vector<std::shared_ptr<Request>> running;
    for (const auto& [id, request] : model.requests) {
      if (request->session == session) running.push_back(request);
    }
    for (const auto& request : running) finish_request(model, *request, FinishReason::kCancelled, Status());
    if (session->sequence != kv::SequenceId::kNone) model.cache->release(session->sequence);
    session->sequence = kv::SequenceId::kNone;
    session->length = 0;
    session->history.clear();
    session->classes.clear();
    if (std::exchange(session->counted, false)) session->tenant->session_closed();
    return {};
  });
}

Status Engine::truncate_session(const std::shared_ptr<Session>& session, uint32_t position) {
  MERRITT_TRY(const SessionClaim claim, SessionClaim::take(session));
  return call([&session, position]() -> Status {
    if (session->closed) return Status(Code::kNotFound, "the session was destroyed");
    const uint32_t length = session->length;
    if (position > length) {
      return Status(Code::kInvalidArgument, "position is " + std::to_string(position) + "; the session has " +
                                                std::to_string(length) + " tokens");
    }
    if (position == length) return {};
    return cut_history(*session, position);
  });
}

Result<std::shared_ptr<Session>> Engine::fork_session(const std::shared_ptr<Session>& session) {
  MERRITT_TRY(const SessionClaim claim, SessionClaim::take(session));
  if (session->tenant->closed() || session->model->closed) {
    return Status(Code::kNotFound, "the session, its tenant or its model was destroyed");
  }
  auto forked = std::make_shared<Session>(session->tenant, session->model);
  MERRITT_CHECK(call([this, &session, &forked]() -> Status {
    if (session->closed) return Status(Code::kNotFound, "the session was destroyed");
    if (session->sequence == kv::SequenceId::kNone) return {};
    forked->history.reserve(session->model->context_max);
    forked->history = session->history;
    forked->classes = session->classes;
    forked->first_prompt = session->first_prompt;
    forked->suspect = session->suspect;
    kv::Cache& cache = *session->model->cache;
    auto sequence = cache.fork(session->sequence, next_seq_key_++);
    // A full pool is no reason: the fork has no pages then, as if they had been taken back.
    const bool full = !sequence.ok() && sequence.status().code() == Code::kOverloaded;
    if (full) sequence = cache.create(session->tenant->kv_account(), next_seq_key_++);
    // Last, so that nothing after it can fail and leave the pages to nobody.
    MERRITT_TRY(forked->sequence, std::move(sequence));
    forked->length = session->length.load();
    return {};
  }));
  session->tenant->session_opened();
  return forked;
}

}  // namespace merritt::engine
