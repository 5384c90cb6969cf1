// SPDX-License-Identifier: Apache-2.0
#include "engine/stream.hpp"

#include <chrono>

#include "base/limits.hpp"

namespace merritt::engine {

bool Stream::push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return true;
    if (events_.size() >= limits::kEventQueueMax && event.kind != EventKind::kChoiceEnd) return false;
    events_.push_back(std::move(event));
  }
  changed_.notify_one();
  return true;
}

void Stream::end(FinishReason reason, Status failure, uint64_t step) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    failure_ = std::move(failure);
    end_event_ = {EventKind::kEnd, 0, reason, -1, 0, {}, step};
  }
  changed_.notify_all();
}

Result<Event> Stream::next(uint32_t timeout_ms) {
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return ended_ || !events_.empty(); };
  if (timeout_ms == kForever) {
    changed_.wait(lock, ready);
  } else {
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready);
  }
  if (!events_.empty()) {
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  if (!ended_) return Event{};
  if (!failure_.ok()) {
    Status failure = std::move(failure_);
    failure_ = Status();
    return failure;
  }
  return end_event_;
}

bool Stream::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace merritt::engine
