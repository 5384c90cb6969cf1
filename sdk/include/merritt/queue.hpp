// SPDX-License-Identifier: Apache-2.0
//
// merritt/queue.hpp: owns a queue: the events of many requests in one place. Thread rule: one thread reads; add() and
// fd() from any thread. Invariant: what next() answered is valid until the next call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <merritt/queue.h>
#include <merritt/request.hpp>
#include <merritt/result.hpp>

namespace merritt {
inline namespace v0 {

struct Completion {
  Event event;
  uint64_t user = 0;            // as given to add()
  Code code = Code::kOk;        // of an end with Finish::kError: why,
  std::string_view message{};   // in words,
  uint32_t retry_after_ms = 0;  // and when to try again
};

class Queue : public detail::Handle<merritt_queue, merritt_queue_destroy> {
 public:
  using Handle::Handle;
  using Callback = std::function<void(const Completion&)>;  // must not throw

  // The callback must outlive the handle's destruction, as members do not.
  Queue(Queue&&) noexcept = default;
  Queue& operator=(Queue&& other) noexcept {
    Handle::operator=(static_cast<Handle&&>(other));  // the handle only; the rest is swapped below
    std::swap(callback_, other.callback_);
    std::swap(raw_completions_, other.raw_completions_);
    std::swap(completions_, other.completions_);
    return *this;
  }
  ~Queue() { close(); }

  // With a callback, completions are told to it on a thread of the queue's own, or inside Engine::poll.
  [[nodiscard]] static Result<Queue> create(merritt_engine engine, Callback callback = {}) {
    merritt_queue_options raw{};
    raw.struct_size = sizeof(raw);
    auto owned = callback ? std::make_unique<Callback>(std::move(callback)) : nullptr;
    if (owned != nullptr) {
      raw.on_completion = &forward;
      raw.on_completion_user = owned.get();
    }
    Queue queue;
    auto made = detail::call([&](merritt_error** e) { return merritt_queue_create(engine, &raw, &queue.raw_, e); });
    if (!made) {
      return std::move(made).error();
    }
    queue.callback_ = std::move(owned);
    return queue;
  }

  // What the request has not said yet comes through this queue, marked with `user`.
  [[nodiscard]] Result<void> add(const Request& request, uint64_t user) {
    return detail::call([&](merritt_error** e) { return merritt_queue_add(raw_, request.capi(), user, e); });
  }
  // From now on the request is read with next() of its own again.
  [[nodiscard]] Result<void> remove(const Request& request) {
    return detail::call([&](merritt_error** e) { return merritt_queue_remove(raw_, request.capi(), e); });
  }
  // For poll(2) and its kin; owned by the queue.
  [[nodiscard]] Result<int64_t> fd() const {
    int64_t descriptor = -1;
    auto got = detail::call([&](merritt_error** e) { return merritt_queue_fd(raw_, &descriptor, e); });
    if (!got) {
      return std::move(got).error();
    }
    return descriptor;
  }
  // At most `capacity` completions; none when the timeout passed first.
  [[nodiscard]] Result<std::span<const Completion>> next(uint32_t timeout_ms = MERRITT_WAIT_FOREVER,
                                                         uint32_t capacity = 256) {
    raw_completions_.resize(capacity);
    uint32_t count = 0;
    auto got = detail::call([&](merritt_error** e) {
      return merritt_queue_next(raw_, timeout_ms, raw_completions_.data(), sizeof(merritt_completion), capacity, &count,
                                e);
    });
    if (!got) {
      return std::move(got).error();
    }
    completions_.clear();
    for (uint32_t i = 0; i < count; ++i) {
      completions_.push_back(completion_of(raw_completions_[i]));
    }
    return std::span<const Completion>(completions_);
  }

 private:
  static Completion completion_of(const merritt_completion& raw) {
    Completion out;
    out.event = {static_cast<EventKind>(raw.kind),
                 raw.choice,
                 static_cast<Finish>(raw.finish_reason),
                 raw.token,
                 raw.logprob,
                 std::string_view(raw.text, raw.text_length),
                 raw.step};
    out.user = raw.user;
    out.code = static_cast<Code>(merritt_error_code(raw.error));
    out.message = merritt_error_message(raw.error);
    out.retry_after_ms = merritt_error_retry_after_ms(raw.error);
    return out;
  }
  static void forward(void* user, const merritt_completion* raw) {
    (*static_cast<const Callback*>(user))(completion_of(*raw));
  }

  std::unique_ptr<Callback> callback_;
  std::vector<merritt_completion> raw_completions_;
  std::vector<Completion> completions_;
};

}  // namespace v0
}  // namespace merritt
