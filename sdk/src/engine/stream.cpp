// SPDX-License-Identifier: Apache-2.0
#include "engine/stream.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/limits.hpp"
#include "engine/completion_queue.hpp"

namespace merritt::engine {

bool Stream::push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return true;
    if (waiting_ >= limits::kEventQueueMax && event.kind != EventKind::kChoiceEnd) return false;
    if (waiting_ == ring_.size()) grow();
    ring_[(first_ + waiting_) % ring_.size()] = std::move(event);
    ++waiting_;
    note_unread();
  }
  changed_.notify_one();
  return true;
}

// The queue's reader is woken by whoever ran the step, once for all requests.
void Stream::note_unread() {
  if (queue_ == nullptr || listed_) return;
  listed_ = true;
  queue_->note(shared_from_this());
}

Event Stream::pop() {
  Event event = std::move(ring_[first_]);
  first_ = (first_ + 1) % ring_.size();
  --waiting_;
  return event;
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
    note_unread();
  }
  changed_.notify_all();
}

Result<Event> Stream::next(uint32_t timeout_ms) {
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return ended_ || waiting_ != 0 || queue_ != nullptr; };
  if (queue_ != nullptr && queue_->closed()) queue_.reset();
  if (timeout_ms == kForever) {
    changed_.wait(lock, ready);
  } else {
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready);
  }
  if (queue_ != nullptr) {
    return Status(Code::kFailedPrecondition, "the events of this request come through its queue");
  }
  if (waiting_ != 0) return pop();
  if (!ended_) return Event{};
  said_end_ = failure_.ok();
  if (!failure_.ok()) {
    Status failure = std::move(failure_);
    failure_ = Status();
    return failure;
  }
  return end_event_;
}

Status Stream::attach(std::shared_ptr<CompletionQueue> queue, uint64_t user) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_ != nullptr && !queue_->closed()) {
      return Status(Code::kFailedPrecondition, "the request is in a queue already");
    }
    if (said_end_) return Status(Code::kFailedPrecondition, "the request has ended and its end was read");
    queue_ = std::move(queue);
    user_ = user;
    listed_ = false;
    if (waiting_ != 0 || ended_) note_unread();
  }
  changed_.notify_all();  // a reader that waits in next() is told
  return {};
}

Status Stream::detach(const CompletionQueue* queue) {
  const std::lock_guard lock(mutex_);
  if (queue_ == nullptr || (queue != nullptr && queue_.get() != queue)) {
    return Status(Code::kNotFound, "the request is not in this queue");
  }
  if (!said_end_) queue_->remove(this);
  queue_.reset();
  listed_ = false;
  return {};
}

size_t Stream::take(const CompletionQueue& queue, size_t most, std::vector<Completion>* out) {
  const std::lock_guard lock(mutex_);
  if (queue_.get() != &queue) return 0;  // closed meanwhile, and the request is in another
  const size_t events = std::min(most, waiting_);
  for (size_t i = 0; i < events; ++i) out->push_back({.event = pop(), .failure = {}, .user = user_});
  const bool ends = ended_ && waiting_ == 0 && events < most && !said_end_;
  if (ends) {
    said_end_ = true;
    out->push_back({.event = end_event_, .failure = std::exchange(failure_, Status()), .user = user_});
    queue_->forget();
  }
  listed_ = !said_end_ && (waiting_ != 0 || ended_);
  if (listed_) queue_->note(shared_from_this());
  return events + (ends ? 1 : 0);
}

bool Stream::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace merritt::engine
