// SPDX-License-Identifier: Apache-2.0
#include "engine/eval.hpp"

namespace merritt::engine {

Status evaluate(Engine& engine, std::shared_ptr<tenant::Tenant> tenant, std::shared_ptr<Model> model,
                std::vector<int32_t> tokens, EvalTarget target) {
  if (tokens.size() > model->context_max) {
    return Status(Code::kInvalidArgument, "the sequence has " + std::to_string(tokens.size()) +
                                              " tokens; context_max of this model is " +
                                              std::to_string(model->context_max));
  }
  MERRITT_TRY(const std::shared_ptr<Session> session, engine.open_session(std::move(tenant), std::move(model)));
  RequestParams params;
  params.prompt = std::move(tokens);
  params.eval = target;
  auto request = engine.submit(session, std::move(params));
  Status outcome = request.ok() ? Status() : request.status();
  while (outcome.ok()) {
    auto event = (*request)->stream.next(Stream::kForever);
    if (!event.ok()) {
      outcome = std::move(event).status();
    } else if (event->kind == EventKind::kEnd) {
      if (event->finish_reason == FinishReason::kCancelled)
        outcome = Status(Code::kCancelled, "the engine is shutting down");
      break;
    }
  }
  const Status closed = engine.close_session(session);
  return outcome.ok() ? closed : outcome;
}

}  // namespace merritt::engine
