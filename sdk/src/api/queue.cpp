// SPDX-License-Identifier: Apache-2.0
// merritt/queue.h
#include <algorithm>
#include <cstring>
#include <new>

#include "api/convert.hpp"
#include "api/lookup.hpp"
#include "base/limits.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

namespace {

// What the public struct points at stays with its arguments. error: filled for an end that is a failure.
merritt_completion completion_of(const engine::Completion& from, merritt_error* error) {
  merritt_completion out{};
  out.kind = static_cast<uint32_t>(from.event.kind);
  out.choice = from.event.choice;
  out.finish_reason = static_cast<uint32_t>(from.event.finish_reason);
  out.token = from.event.token;
  out.logprob = from.event.logprob;
  out.text = from.event.text.data();
  out.text_length = from.event.text.size();
  out.step = from.event.step;
  out.user = from.user;
  if (from.failure.ok()) return out;
  out.error = error;
  try {
    *error = {static_cast<int32_t>(from.failure.code()), static_cast<uint32_t>(from.failure.blast()),
              from.failure.retry_after_ms(), std::string(from.failure.message())};
  } catch (const std::bad_alloc&) {
    out.error = out_of_memory_error();  // the completion itself is not lost
  }
  return out;
}

Status check_room(const merritt_completion* out, uint32_t stride, uint32_t capacity) {
  constexpr uint32_t kFirstBytes = sizeof(merritt_completion);  // in 0.2
  if (out == nullptr) return invalid("out is NULL");
  if (stride < kFirstBytes || stride > kStructBytesMax || stride % alignof(merritt_completion) != 0) {
    return invalid("stride is " + std::to_string(stride) + "; set it to sizeof(merritt_completion)");
  }
  if (capacity == 0) return invalid("capacity is 0");
  return {};
}

}  // namespace

extern "C" {

int32_t merritt_queue_create(merritt_engine handle, const merritt_queue_options* options, merritt_queue* out,
                             merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    merritt_queue_options own;
    MERRITT_CHECK(read_options(options, "merritt_queue_options", own));
    MERRITT_CHECK(check_flags(own.flags, 0, "merritt_queue_options"));
    engine::CompletionQueue::Callback callback;
    if (own.on_completion != nullptr) {
      callback = [fn = own.on_completion, user = own.on_completion_user](const engine::Completion& from) {
        merritt_error failure;
        const merritt_completion completion = completion_of(from, &failure);
        fn(user, &completion);
      };
    }
    MERRITT_TRY(auto place, Place<merritt_queue>::reserve(pin));
    auto object = std::make_shared<QueueObject>();
    MERRITT_TRY(object->queue, pin.engine().create_queue(std::move(callback)));
    *out = place.publish(std::move(object));
    return {};
  });
}

int32_t merritt_queue_destroy(merritt_queue handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    return destroy(handle, [](Found<QueueObject>& found) { return found.engine().close_queue(found->queue); });
  });
}

int32_t merritt_queue_add(merritt_queue handle, merritt_request request, uint64_t user, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(const auto added, find(request));
    if (found.pin.index() != added.pin.index()) {
      return Status(Code::kFailedPrecondition, "the queue and the request belong to different engines");
    }
    if (added->reading.exchange(true)) {
      return Status(Code::kFailedPrecondition, "another thread is reading this request");
    }
    const ReadingEnds ends{added->reading};
    return found->queue->add(added->request->stream, user);
  });
}

int32_t merritt_queue_remove(merritt_queue handle, merritt_request request, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(const auto removed, find(request));
    return removed->request->stream.detach(found->queue.get());
  });
}

int32_t merritt_queue_fd(merritt_queue handle, int64_t* fd, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (fd == nullptr) return invalid("fd is NULL");
    *fd = -1;
    MERRITT_TRY(const auto found, find(handle));
    if (found->queue->has_callback()) return Status(Code::kUnsupported, "a queue with a callback has no descriptor");
    MERRITT_TRY(const int descriptor, found->queue->fd());
    *fd = descriptor;
    return {};
  });
}

int32_t merritt_queue_next(merritt_queue handle, uint32_t timeout_ms, merritt_completion* out, uint32_t stride,
                           uint32_t capacity, uint32_t* count, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (count == nullptr) return invalid("count is NULL");
    *count = 0;
    MERRITT_CHECK(check_room(out, stride, capacity));
    MERRITT_TRY(const auto found, find(handle));
    if (found->queue->has_callback()) {
      return Status(Code::kFailedPrecondition, "the completions of this queue go to its callback");
    }
    if (found->reading.exchange(true)) {
      return Status(Code::kFailedPrecondition, "another thread is reading this queue");
    }
    const ReadingEnds ends{found->reading};
    const size_t most = std::min(capacity, limits::kCompletionsMax);
    found->errors.resize(most);  // before anything is taken
    found->completions.clear();
    MERRITT_CHECK(found.engine().next_completions(*found->queue, timeout_ms, most, &found->completions));
    for (size_t i = 0; i < found->completions.size(); ++i) {
      const merritt_completion completion = completion_of(found->completions[i], &found->errors[i]);
      char* at = reinterpret_cast<char*>(out) + i * stride;
      std::memset(at, 0, stride);
      std::memcpy(at, &completion, sizeof(completion));
    }
    *count = static_cast<uint32_t>(found->completions.size());
    return {};
  });
}

}  // extern "C"
