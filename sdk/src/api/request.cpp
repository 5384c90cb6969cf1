// SPDX-License-Identifier: Apache-2.0
// The request half of merritt/session.h: reading, cancelling and measuring one generation.
#include "api/lookup.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

namespace {
uint64_t between(uint64_t from_ns, uint64_t to_ns) { return from_ns == 0 || to_ns < from_ns ? 0 : to_ns - from_ns; }
}  // namespace

extern "C" {

int32_t merritt_request_next(merritt_request handle, uint32_t timeout_ms, merritt_event* event, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (event == nullptr) return invalid("event is NULL");
    MERRITT_TRY(const auto found, find(handle));
    merritt_event out{};
    out.token = -1;
    MERRITT_CHECK(write_info(out, "merritt_event", event));
    if (found->reading.exchange(true)) {
      return Status(Code::kFailedPrecondition, "another thread is reading this request");
    }
    const ReadingEnds ends{found->reading};
    MERRITT_TRY(engine::Event next, found.engine().next_event(*found->request, timeout_ms));
    found->text = std::move(next.text);
    out.kind = static_cast<uint32_t>(next.kind);
    out.choice = next.choice;
    out.finish_reason = static_cast<uint32_t>(next.finish_reason);
    out.token = next.token;
    out.logprob = next.logprob;
    out.text = found->text.data();
    out.text_length = found->text.size();
    out.step = next.step;
    return write_info(out, "merritt_event", event);
  });
}

int32_t merritt_request_cancel(merritt_request handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    found.engine().cancel(*found->request);
    return {};
  });
}

int32_t merritt_request_destroy(merritt_request handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    return destroy(handle, [&](Found<RequestObject>& found) -> Status {
      found.engine().cancel(*found->request);
      (void)found->request->stream.detach(nullptr);  // not in one is as well
      return {};
    });
  });
}

int32_t merritt_request_stats_get(merritt_request handle, merritt_request_stats* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    const engine::RequestStats& stats = found->request->stats;
    merritt_request_stats info{};
    info.finish_reason = stats.finish_reason;
    info.prompt_tokens = stats.prompt_tokens;
    info.cached_tokens = stats.cached_tokens;
    info.generated_tokens = stats.generated_tokens;
    info.steps = stats.steps;
    info.queue_ns = between(stats.submitted_ns, stats.started_ns);
    info.first_token_ns = between(stats.submitted_ns, stats.first_token_ns);
    info.prefill_ns = between(stats.started_ns, stats.first_token_ns);
    info.decode_ns = between(stats.first_token_ns, stats.last_token_ns);
    info.draft_tokens = stats.draft_tokens;
    info.draft_tokens_accepted = stats.draft_tokens_accepted;
    info.steps_after_cancel = stats.steps_after_cancel;
    info.pages_freed = stats.pages_freed;
    info.kv_bytes_released = stats.kv_bytes_released;
    return write_info(info, "merritt_request_stats", out);
  });
}

}  // extern "C"
