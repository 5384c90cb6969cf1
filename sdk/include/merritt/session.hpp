// SPDX-License-Identifier: Apache-2.0
//
// merritt/session.hpp: owns a session: one tenant's conversation with one model and the KV cache of it. Thread rule: as
// the C ABI, any thread; one request runs on a session at a time.
#pragma once

#include <cstdint>

#include <merritt/session.h>
#include <merritt/request.hpp>
#include <merritt/result.hpp>

namespace merritt {
inline namespace v0 {

class Session : public detail::Handle<merritt_session, merritt_session_destroy> {
 public:
  using Handle::Handle;

  [[nodiscard]] static Result<Session> create(merritt_tenant tenant, merritt_model model) {
    Session session;
    auto made = detail::call(
        [&](merritt_error** e) { return merritt_session_create(tenant, model, nullptr, &session.raw_, e); });
    if (!made) {
      return std::move(made).error();
    }
    return session;
  }

  // Queues a generation and returns at once.
  [[nodiscard]] Result<Request> submit(const RequestOptions& options) { return Request::submit(raw_, options); }
  // Tokens in the cache.
  [[nodiscard]] Result<uint32_t> length() const {
    uint32_t tokens = 0;
    auto got = detail::call([&](merritt_error** e) { return merritt_session_length(raw_, &tokens, e); });
    if (!got) {
      return std::move(got).error();
    }
    return tokens;
  }
  // Drops cached tokens from `position` on.
  [[nodiscard]] Result<void> truncate(uint32_t position) {
    return detail::call([&](merritt_error** e) { return merritt_session_truncate(raw_, position, e); });
  }
  // Its first prompt's beginning is there for every tenant's prompts; the number of tokens. See merritt/session.h.
  [[nodiscard]] Result<uint32_t> publish() {
    uint32_t tokens = 0;
    auto done = detail::call([&](merritt_error** e) { return merritt_session_publish(raw_, &tokens, e); });
    if (!done) {
      return std::move(done).error();
    }
    return tokens;
  }
  // A second session with the same past.
  [[nodiscard]] Result<Session> fork() {
    Session session;
    auto made = detail::call([&](merritt_error** e) { return merritt_session_fork(raw_, &session.raw_, e); });
    if (!made) {
      return std::move(made).error();
    }
    return session;
  }
};

}  // namespace v0
}  // namespace merritt
