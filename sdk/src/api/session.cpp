// SPDX-License-Identifier: Apache-2.0
// merritt/session.h
#include "api/convert.hpp"
#include "api/lookup.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

extern "C" {

int32_t merritt_session_create(merritt_tenant tenant, merritt_model model, const merritt_session_options* options,
                               merritt_session* out, merritt_error** error) {
  return guard(error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    merritt_session_options own;
    MERRITT_CHECK(read_options(options, "merritt_session_options", own));
    MERRITT_CHECK(check_flags(own.flags, 0, "merritt_session_options"));
    MERRITT_TRY(const auto owner, find(tenant));
    MERRITT_TRY(const auto loaded, find(model));
    if (owner.pin.index() != loaded.pin.index()) {
      return Status(Code::kFailedPrecondition, "the model and the tenant belong to different engines");
    }
    MERRITT_TRY(auto session, owner.engine().open_session(owner.object, loaded.object));
    return publish(owner.pin, std::move(session), out);
  });
}

int32_t merritt_session_destroy(merritt_session handle, merritt_error** error) {
  return guard(error, [&]() -> Status {
    return destroy(handle, [&](Found<engine::Session>& found) -> Status {
      const engine::Session* dying = found.object.get();
      const auto requests = found.pin.handles().remove_if<RequestObject>(
          Kind::kRequest, [&](RequestObject& r) { return r.request->session.get() == dying; });
      return found.engine().close_session(found.object);
    });
  });
}

int32_t merritt_session_length(merritt_session handle, uint32_t* tokens, merritt_error** error) {
  return guard(error, [&]() -> Status {
    if (tokens == nullptr) return invalid("tokens is NULL");
    MERRITT_TRY(const auto found, find(handle));
    *tokens = found->length;
    return {};
  });
}

int32_t merritt_session_truncate(merritt_session handle, uint32_t position, merritt_error** error) {
  return guard(error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    return found.engine().truncate_session(found.object, position);
  });
}

int32_t merritt_session_fork(merritt_session handle, merritt_session* out, merritt_error** error) {
  return guard(error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(auto forked, found.engine().fork_session(found.object));
    return publish(found.pin, std::move(forked), out);
  });
}

int32_t merritt_session_submit(merritt_session handle, const merritt_request_options* options, merritt_request* out,
                               merritt_error** error) {
  return guard(error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(engine::RequestParams params, read_request(*found, options, found.engine().now_ns()));
    auto object = std::make_shared<RequestObject>();
    MERRITT_TRY(object->request, found.engine().submit(found.object, std::move(params)));
    const std::shared_ptr<engine::Request> request = object->request;
    const Status published = publish(found.pin, std::move(object), out);
    if (!published.ok()) found.engine().cancel(*request);
    return published;
  });
}

}  // extern "C"
