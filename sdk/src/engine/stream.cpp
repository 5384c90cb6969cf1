// SPDX-License-Identifier: Apache-2.0
#include "engine/stream.hpp"

#include <chrono>

#include "base/limits.hpp"

namespace merritt::engine {

bool Stream::push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return true;
    if (waiting_ >= limits::kEventQueueMax && event.kind != EventKind::kChoiceEnd) return false;
    if (waiting_ == ring_.size()) grow();
    ring_[(first_ + waiting_) % ring_.size()] = std::move(event);
    ++waiting_;
  }
  changed_.notify_one();
  return true;
}

void Stream::grow() {
  std::vector<Event> larger(ring_.empty() ? 8 : 2 * ring_.size());
  for (size_t i = 0; i < waiting_; ++i) larger[i] = std::move(ring_[(first_ + i) % ring_.size()]);
  ring_ = std::move(larger);
  first_ = 0;
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
  const auto ready = [this] { return ended_ || waiting_ != 0; };
  if (timeout_ms == kForever) {
    changed_.wait(lock, ready);
  } else {
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready);
  }
  if (waiting_ != 0) {
    Event event = std::move(ring_[first_]);
    first_ = (first_ + 1) % ring_.size();
    --waiting_;
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
