// SPDX-License-Identifier: Apache-2.0
// Tenants and sessions: the functions of Engine that change what hangs from a tenant. What the step thread owns is
// changed on the step thread, through call(); commands capture by reference, so that they keep nothing alive once the
// caller has gone on.
#include "engine/engine.hpp"

namespace merritt::engine {

Result<std::shared_ptr<tenant::Tenant>> Engine::create_tenant(std::string_view name,
                                                              const tenant::TenantLimits& limits) {
  const std::lock_guard lock(mutex_);
  MERRITT_TRY(std::shared_ptr<tenant::Tenant> created,
              tenant::Tenant::create(static_cast<TenantId>(next_tenant_id_), name, limits));
  ++next_tenant_id_;
  std::erase_if(tenants_, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : tenants_) {
    const auto other = weak.lock();
    if (other != nullptr && !other->closed() && other->name() == name) {
      return Status(Code::kFailedPrecondition, "a tenant named " + std::string(name) + " lives in this engine already");
    }
  }
  if (tenants_.size() >= limits::kTenantsMax) {
    return Status(Code::kOverloaded, "this engine has " + std::to_string(tenants_.size()) +
                                         " tenants, as many as it may: destroy one first");
  }
  tenants_.push_back(created);
  return created;
}

Status Engine::close_tenant(const std::shared_ptr<tenant::Tenant>& tenant) {
  tenant->close();
  return {};
}

Result<std::shared_ptr<Session>> Engine::open_session(std::shared_ptr<tenant::Tenant> tenant,
                                                      std::shared_ptr<Model> model) {
  if (tenant->closed()) return Status(Code::kNotFound, "the tenant was destroyed");
  if (model->closed) return Status(Code::kNotFound, "the model was destroyed");
  tenant->session_opened();
  return std::make_shared<Session>(std::move(tenant), std::move(model));
}

Status Engine::close_session(const std::shared_ptr<Session>& session) {
  MERRITT_CHECK(check_may_wait());
  if (session->closed.exchange(true)) return {};
  session->tenant->session_closed();
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
    return {};
  });
}

Status Engine::truncate_session(const std::shared_ptr<Session>& session, uint32_t position) {
  if (session->busy.exchange(true)) {
    return Status(Code::kFailedPrecondition, "a request is running on this session; wait for its end or cancel it");
  }
  Status outcome = call([&session, position]() -> Status {
    const uint32_t length = session->length;
    if (position > length) {
      return Status(Code::kInvalidArgument, "position is " + std::to_string(position) + "; the session has " +
                                                std::to_string(length) + " tokens");
    }
    if (position == length) return {};
    MERRITT_CHECK(session->model->cache->truncate(session->sequence, position));
    session->history.resize(position);
    session->length = position;
    return {};
  });
  session->busy = false;
  return outcome;
}

Result<std::shared_ptr<Session>> Engine::fork_session(const std::shared_ptr<Session>& session) {
  if (session->busy.exchange(true)) {
    return Status(Code::kFailedPrecondition, "a request is running on this session; wait for its end or cancel it");
  }
  auto forked = open_session(session->tenant, session->model);
  Status outcome = forked.ok() ? Status() : forked.status();
  if (outcome.ok()) {
    outcome = call([this, &session, &forked]() -> Status {
      if (session->sequence == kv::SequenceId::kNone) return {};
      MERRITT_TRY((*forked)->sequence, session->model->cache->fork(session->sequence, next_seq_key_++));
      (*forked)->history = session->history;
      (*forked)->length = session->length.load();
      return {};
    });
    if (!outcome.ok()) session->tenant->session_closed();
  }
  session->busy = false;
  if (!outcome.ok()) return outcome;
  return forked;
}

}  // namespace merritt::engine
