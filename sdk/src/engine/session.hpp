// SPDX-License-Identifier: Apache-2.0
// A session: one tenant's past with one model, as tokens in the model's KV cache; and the right to change it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "kv/cache.hpp"
#include "tenant/tenant.hpp"

namespace merritt::engine {

class Model;

class Session {
 public:
  Session(std::shared_ptr<tenant::Tenant> t, std::shared_ptr<Model> m) : tenant(std::move(t)), model(std::move(m)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::shared_ptr<tenant::Tenant> tenant;
  const std::shared_ptr<Model> model;

  std::atomic<bool> busy{false};    // a request is queued or running
  std::atomic<bool> closed{false};  // destroyed: nothing new is accepted
  std::atomic<uint32_t> length{0};  // tokens

  // Step thread.
  kv::SequenceId sequence = kv::SequenceId::kNone;
  std::vector<int32_t> history;  // its tokens, history.size() == length
  // The class that each token of the history was run in. Pages may be taken back: what the cache lacks of the history
  // is run again by the next request, in these.
  std::vector<kv::ClassRun> classes;
  uint32_t first_prompt = 0;  // of the history, what its first prompt was
  bool suspect = false;       // a step has failed on it: its pages may not be right, and nobody else gets them
  bool counted = true;        // in its tenant's sessions
};

// The right to change a session, one at a time: taken before any work, given back at the end of the scope unless the
// step thread has taken it over with a request.
class SessionClaim {
 public:
  // kNotFound: destroyed. kFailedPrecondition: a request is running on it.
  static Result<SessionClaim> take(std::shared_ptr<Session> session);
  SessionClaim(SessionClaim&& other) noexcept = default;
  SessionClaim& operator=(SessionClaim&&) = delete;
  ~SessionClaim() {
    if (session_ != nullptr) session_->busy = false;
  }
  const std::shared_ptr<Session>& session() const { return session_; }
  void hand_over() { session_.reset(); }  // finish_request() gives the session free

 private:
  explicit SessionClaim(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  std::shared_ptr<Session> session_;
};

// What a request has before it costs anything: its session, a place in its tenant's queue and what it may use. All of
// it goes back at the end of the scope unless the request was queued.
class Admission {
 public:
  Admission(SessionClaim claim, std::shared_ptr<tenant::Tenant> tenant, const tenant::Grant& grant)
      : claim_(std::move(claim)), tenant_(std::move(tenant)), grant_(grant) {}
  Admission(Admission&& other) noexcept = default;
  Admission& operator=(Admission&&) = delete;
  ~Admission() {
    if (tenant_ != nullptr) tenant_->withdraw(grant_, os::monotonic_ns());
  }
  const std::shared_ptr<Session>& session() const { return claim_.session(); }
  tenant::Grant& grant() { return grant_; }
  void hand_over() {  // scheduler and step thread account for it from here on
    claim_.hand_over();
    tenant_->accept();
    tenant_.reset();
  }

 private:
  SessionClaim claim_;
  std::shared_ptr<tenant::Tenant> tenant_;
  tenant::Grant grant_;
};

}  // namespace merritt::engine
