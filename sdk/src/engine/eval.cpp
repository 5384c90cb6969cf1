// SPDX-License-Identifier: Apache-2.0
#include "engine/eval.hpp"

#include <chrono>
#include <thread>

namespace merritt::engine {
namespace {

constexpr uint32_t kReportMs = 50;  // between reports of progress

// Ends the session whatever happens: once it is closed, nothing writes to the caller's logits any more. Where even the
// memory for that is wanting, it waits for some, because the buffer may not be given back before.
class SessionEnds {
 public:
  SessionEnds(Engine& engine, std::shared_ptr<Session> session) : engine_(engine), session_(std::move(session)) {}
  SessionEnds(const SessionEnds&) = delete;
  SessionEnds& operator=(const SessionEnds&) = delete;
  ~SessionEnds() {
    while (!try_close()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  bool try_close() noexcept {
    try {
      const Status closed = engine_.close_session(session_);
      return closed.ok() || closed.code() == Code::kFailedPrecondition;  // refused in callbacks, where nothing began
    } catch (...) {
      return false;
    }
  }
  Engine& engine_;
  const std::shared_ptr<Session> session_;
};

Status outcome_of(FinishReason reason, bool by_caller) {
  switch (reason) {
    case FinishReason::kDeadline: return Status(Code::kDeadlineExceeded, "the evaluation passed its deadline_ms");
    case FinishReason::kCancelled:
      return Status(Code::kCancelled, by_caller ? "the evaluation was cancelled by its progress function"
                                                : "the tenant, the model or the engine is being destroyed");
    default: return {};
  }
}

}  // namespace

Status evaluate(Engine& engine, std::shared_ptr<tenant::Tenant> tenant, std::shared_ptr<Model> model,
                Evaluation evaluation) {
  MERRITT_CHECK(engine.check_may_wait());
  evaluation.progress = engine.as_callback(std::move(evaluation.progress));
  const float total = static_cast<float>(evaluation.tokens.size());
  MERRITT_TRY(const std::shared_ptr<Session> session, engine.open_session(std::move(tenant), std::move(model)));
  const SessionEnds ends(engine, session);
  RequestParams params;
  params.prompt = std::move(evaluation.tokens);
  params.eval = evaluation.target;
  params.deadline_ns = evaluation.deadline_ns;
  MERRITT_TRY(const std::shared_ptr<Request> request, engine.submit(session, std::move(params)));
  bool cancelled = false;
  for (uint32_t report_ms = 0;; report_ms = kReportMs) {  // the first report comes at once
    const bool reports = evaluation.progress != nullptr && !cancelled;
    MERRITT_TRY(const Event event, engine.next_event(*request, reports ? report_ms : Stream::kForever));
    if (event.kind == EventKind::kEnd) return outcome_of(event.finish_reason, cancelled);
    if (reports && evaluation.progress(static_cast<float>(session->length) / total)) {
      cancelled = true;
      engine.cancel(*request);
    }
  }
}

}  // namespace merritt::engine
