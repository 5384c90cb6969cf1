// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/client.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "tests/soak/patience.hpp"

namespace merritt::soak {
namespace {

constexpr size_t kSessionsMost = 6;

}  // namespace

void Client::run() {
  while (!world_.stopping()) act();
}

void Client::act() {
  const uint32_t draw = random_.below(100);
  Session* session = nullptr;
  if (draw < 3) {
    world_.create_tenant(random_, false, false);
  } else if (draw < 5) {
    if (random_.one_in(2)) world_.destroy_some_tenant(random_);
  } else if (draw < 8) {
    change_limits();
  } else if (draw < 18) {
    if (sessions_.size() < kSessionsMost) create_session();
  } else if (draw < 46) {
    if ((session = any(false)) != nullptr) submit_and_hand_over(*session);
  } else if (draw < 72) {
    if ((session = any(true)) != nullptr && session->direct) read_some(*session, random_.between(1, 40));
  } else if (draw < 76) {
    world_.cancel_some(random_);
  } else if (draw < 79) {
    if ((session = any(random_.one_in(8))) != nullptr && sessions_.size() < kSessionsMost) fork(*session);
  } else if (draw < 83) {
    if ((session = any(random_.one_in(8))) != nullptr) truncate(*session);
  } else if (draw < 85) {
    if ((session = any(random_.one_in(8))) != nullptr) publish(*session);
  } else if (draw < 89) {
    if (!sessions_.empty()) destroy(random_.below(static_cast<uint32_t>(sessions_.size())));
  } else if (draw < 91) {
    if ((session = any(true)) != nullptr && !session->tenant->exact) abandon(*session);
  } else if (draw < 93) {
    use_own_queue();
  } else if (draw < 94) {
    evaluate();
  } else if (draw < 95 && random_.one_in(2)) {
    use_own_model();
  } else if (draw < 95) {
    if ((session = any(true)) != nullptr && random_.one_in(2)) submit_again(*session);
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(random_.below(4'000)));
  }
}

// Before the call: a request may end while it is made, and none begins.
Codes Client::while_running(const Session& session) {
  const bool may_run = session.ticket != nullptr && (!session.ticket->settled() || session.ticket->lost());
  return may_run ? codes(MERRITT_FAILED_PRECONDITION, MERRITT_INVALID_ARGUMENT) : codes();
}

Client::Session* Client::any(bool busy) {
  std::vector<Session*> found;
  for (Session& session : sessions_) {
    if (session.busy() == busy) found.push_back(&session);
  }
  return found.empty() ? nullptr : random_.any_of(found);
}

void Client::change_limits() {
  const std::shared_ptr<TenantSlot> tenant = world_.any_tenant(random_);
  if (tenant == nullptr) return;
  merritt_tenant_options limits = world_.random_limits(random_, tenant->exact);
  const Codes floors = limits.kv_bytes_floor != 0 ? codes(MERRITT_INVALID_ARGUMENT) : codes();
  test::Error error;
  const int32_t code = merritt_tenant_limits_set(tenant->handle, &limits, error);
  report_.check(Verb::kLimitsSet, code, world_.orphan(*tenant) | floors, error);
}

void Client::create_session() {
  Session session;
  session.tenant = world_.any_tenant(random_);
  if (session.tenant == nullptr) return;
  const merritt_model model = random_.any_of(world_.models());
  const bool may_be_refused = model != world_.models()[0] && !session.tenant->exact;
  test::Error error;
  const int32_t code = merritt_session_create(session.tenant->handle, model, nullptr, &session.handle, error);
  const Codes refused = may_be_refused ? codes(MERRITT_PERMISSION_DENIED) : codes();
  if (report_.check(Verb::kSessionCreate, code, orphan(session) | refused, error)) {
    sessions_.push_back(std::move(session));
  } else if (code == MERRITT_PERMISSION_DENIED) {
    session.tenant->books.refused();
  }
}

void Client::fork(Session& session) {
  Session forked;
  forked.tenant = session.tenant;
  // The last page of the past is the fork's own, and the tenant's ceiling may be lower by now.
  const Codes own = while_running(session) | codes(MERRITT_QUOTA_EXCEEDED);
  test::Error error;
  const int32_t code = merritt_session_fork(session.handle, &forked.handle, error);
  if (report_.check(Verb::kFork, code, orphan(session) | own, error)) sessions_.push_back(std::move(forked));
}

uint32_t Client::length_of(Session& session, bool* known) {
  uint32_t length = 0;
  test::Error error;
  const int32_t code = merritt_session_length(session.handle, &length, error);
  *known = report_.check(Verb::kLength, code, orphan(session), error);
  return length;
}

void Client::truncate(Session& session) {
  bool known = false;
  const uint32_t length = length_of(session, &known);
  if (!known) return;
  // The session may be shorter when its request has ended: the beginning that it took over is given up.
  const Codes running = while_running(session);
  test::Error error;
  const int32_t code = merritt_session_truncate(session.handle, random_.below(length + 1), error);
  report_.check(Verb::kTruncate, code, orphan(session) | running, error);
}

// The tenant may not be allowed to, its floor may be too small, and there may be nothing to publish.
void Client::publish(Session& session) {
  test::Error error;
  const int32_t code = merritt_session_publish(session.handle, nullptr, error);
  if (code == MERRITT_OK) session.tenant->published = true;
  report_.check(Verb::kPublish, code,
                orphan(session) | codes(MERRITT_PERMISSION_DENIED, MERRITT_FAILED_PRECONDITION, MERRITT_QUOTA_EXCEEDED,
                                        MERRITT_OVERLOADED),
                error);
}

// What a queue reads has an end all the same; what is read here would be lost.
void Client::destroy(size_t index) {
  Session& session = sessions_[index];
  if (session.busy() && session.direct && session.tenant->exact) return;
  if (session.ticket != nullptr) session.ticket->orphan();
  test::Error error;
  const int32_t code = merritt_session_destroy(session.handle, error);
  report_.check(Verb::kSessionDestroy, code, orphan(session), error);
  if (session.busy() && session.direct) session.ticket->lose();
  sessions_.erase(sessions_.begin() + static_cast<ptrdiff_t>(index));
}

// Its failure may be a refusal or the end of what was accepted, which the codes do not tell apart: never of an exact
// tenant.
void Client::evaluate() {
  const std::shared_ptr<TenantSlot> tenant = world_.any_tenant(random_);
  if (tenant != nullptr && !tenant->exact) evaluate(*tenant, random_.any_of(world_.models()));
}

// A model of one tenant, which others may take along with their tenant at any moment.
void Client::use_own_model() {
  const std::shared_ptr<TenantSlot> tenant = world_.any_tenant(random_);
  if (tenant == nullptr || tenant->exact) return;
  merritt_model model = nullptr;
  test::Error error;
  int32_t code = world_.load_model(tenant->handle, &model, error);
  const Codes own = codes(MERRITT_QUOTA_EXCEEDED, MERRITT_OVERLOADED, MERRITT_PERMISSION_DENIED);
  const Codes ended = tenant->lasting ? codes() : codes(MERRITT_CANCELLED);
  if (!report_.check(Verb::kModel, code, world_.orphan(*tenant) | own | ended, error)) {
    Use use;
    use.refusals = {0, 1};
    return tenant->books.add(use);
  }
  if (!random_.one_in(4)) evaluate(*tenant, model);
  code = merritt_model_destroy(model, error);
  report_.check(Verb::kModel, code, world_.orphan(*tenant), error);
}

void Client::evaluate(TenantSlot& tenant, merritt_model model) {
  const uint32_t count = random_.between(1, 24);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random_.below(world_.info().vocabulary));
  std::vector<float> logits(size_t{count} * world_.info().vocabulary);
  merritt_eval_options options{};
  options.struct_size = sizeof(options);
  options.flags = random_.one_in(2) ? MERRITT_EVAL_DECODE : 0;
  options.deadline_ms = random_.one_in(3) ? random_.between(1, 100) : 0;
  test::Error error;
  const int32_t code =
      merritt_model_eval(model, tenant.handle, tokens.data(), count, &options, logits.data(), logits.size(), error);
  const Codes own = codes(MERRITT_QUOTA_EXCEEDED, MERRITT_OVERLOADED, MERRITT_PERMISSION_DENIED, MERRITT_CANCELLED,
                          MERRITT_DEADLINE_EXCEEDED);
  Use use;
  if (report_.check(Verb::kEval, code, world_.orphan(tenant) | own, error)) {
    use.requests = use.finished[0] = Range::exactly(1);
    use.prompt_tokens = Range::exactly(count);
  } else {
    use.requests = use.refusals = {0, 1};
    use.prompt_tokens = {0, count};
    for (Range& reason : use.finished) reason = {0, 1};
  }
  tenant.books.add(use);
}

void Client::finish() {
  for (Session& session : sessions_) {
    if (session.busy() && session.direct) read_to_end(session);
  }
  // What a queue reads comes to its end by itself.
  for (const Session& session : sessions_) {
    if (!wait_for([&] { return !session.busy(); })) report_.fail("a request in a queue has not ended after a minute");
  }
  while (!sessions_.empty()) destroy(sessions_.size() - 1);
}

}  // namespace merritt::soak
