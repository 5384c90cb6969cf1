// SPDX-License-Identifier: Apache-2.0
#include "api/end_model.hpp"

namespace merritt::api {

Status end_model(const EnginePin& pin, const std::shared_ptr<engine::Model>& model) {
  // Closed first: a session made at the same time is either seen here, or sees that it came too late.
  model->closed = true;
  HandleTable& handles = pin.handles();
  const auto of_it = [&](engine::Session& s) { return s.model == model; };
  for (const auto& session : handles.all_of<engine::Session>(Kind::kSession, of_it)) {
    MERRITT_CHECK(pin.engine().close_session(session));
  }
  MERRITT_CHECK(pin.engine().unload_model(model));
  handles.remove_if<RequestObject>(Kind::kRequest, [&](RequestObject& r) { return of_it(*r.request->session); });
  handles.remove_if<engine::Session>(Kind::kSession, of_it);
  return {};
}

}  // namespace merritt::api
