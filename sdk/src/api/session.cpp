// SPDX-License-Identifier: Apache-2.0
// merritt/session.h
#include "api/convert.hpp"
#include "api/lookup.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

namespace {

bool is_orphan(const engine::Session& session) {
  return session.closed || session.tenant->closed() || session.model->closed;
}

// Hands out a session. A parent destroyed meanwhile has closed itself before it looked for its children, so either it
// has ended this one, or it is seen to be closed here.
Status publish_session(engine::Engine& engine, Place<merritt_session>& place, std::shared_ptr<engine::Session> session,
                       merritt_session* out) {
  merritt_session handle = place.publish(session);
  if (!is_orphan(*session)) {
    *out = handle;
    return {};
  }
  MERRITT_CHECK(engine.close_session(session));
  place.take_back();
  return Status(Code::kNotFound, "the tenant or the model was destroyed");
}

}  // namespace

extern "C" {

int32_t merritt_session_create(merritt_tenant handle, merritt_model model, const merritt_session_options* options,
                               merritt_session* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    merritt_session_options own;
    MERRITT_CHECK(read_options(options, "merritt_session_options", own));
    MERRITT_CHECK(check_flags(own.flags, 0, "merritt_session_options"));
    MERRITT_TRY(const auto owner, find(handle));
    MERRITT_TRY(const auto loaded, find(model));
    if (owner.pin.index() != loaded.pin.index()) {
      return Status(Code::kFailedPrecondition, "the model and the tenant belong to different engines");
    }
    MERRITT_TRY(auto place, Place<merritt_session>::reserve(owner.pin));
    MERRITT_TRY(auto session, owner.engine().open_session(owner.object, loaded.object));
    return publish_session(owner.engine(), place, std::move(session), out);
  });
}

int32_t merritt_session_destroy(merritt_session handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    return destroy(handle, [&](Found<engine::Session>& found) -> Status {
      MERRITT_CHECK(found.engine().close_session(found.object));
      found.pin.handles().remove_if<RequestObject>(
          Kind::kRequest, [&](RequestObject& r) { return r.request->session == found.object; });
      return {};
    });
  });
}

int32_t merritt_session_length(merritt_session handle, uint32_t* tokens, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (tokens == nullptr) return invalid("tokens is NULL");
    MERRITT_TRY(const auto found, find(handle));
    *tokens = found->length;
    return {};
  });
}

int32_t merritt_session_truncate(merritt_session handle, uint32_t position, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    return found.engine().truncate_session(found.object, position);
  });
}

int32_t merritt_session_fork(merritt_session handle, merritt_session* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(auto place, Place<merritt_session>::reserve(found.pin));
    MERRITT_TRY(auto forked, found.engine().fork_session(found.object));
    return publish_session(found.engine(), place, std::move(forked), out);
  });
}

int32_t merritt_session_publish(merritt_session handle, uint32_t* tokens, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(const uint32_t published, found.engine().publish_prefix(found.object));
    if (tokens != nullptr) *tokens = published;
    return {};
  });
}

int32_t merritt_session_submit(merritt_session handle, const merritt_request_options* options, merritt_request* out,
                               merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const auto found, find(handle));
    const uint64_t now_ns = found.engine().now_ns();
    merritt_request_options own;
    MERRITT_TRY(const tenant::Demand demand, read_demand(options, own));
    // The session is claimed and the tenant's quota taken before the prompt is read: only then is there work.
    MERRITT_TRY(engine::Admission admission, found.engine().admit(found.object, demand));
    MERRITT_TRY(auto place, Place<merritt_request>::reserve(found.pin));
    auto object = std::make_shared<RequestObject>();
    MERRITT_TRY(engine::RequestParams params, read_request(*found, own, admission.grant(), now_ns));
    MERRITT_TRY(object->request, found.engine().submit(std::move(admission), std::move(params)));
    *out = place.publish(object);
    if (!is_orphan(*found)) return {};
    *out = nullptr;
    place.take_back();
    found.engine().cancel(*object->request);
    return Status(Code::kNotFound, "the session, its tenant or its model was destroyed");
  });
}

}  // extern "C"
