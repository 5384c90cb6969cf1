// SPDX-License-Identifier: Apache-2.0
#include "engine/completion_queue.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/os/thread.hpp"

namespace merritt::engine {

// The delivery allocates nothing: it has nobody to tell.
CompletionQueue::CompletionQueue(Callback callback) : callback_(std::move(callback)) {
  if (callback_ != nullptr) delivered_.reserve(1);
}

Status CompletionQueue::start_delivery() {
  const std::lock_guard lock(delivery_mutex_);
  if (closed_) return {};
  // It holds the queue, so that a stream it lets go of is never the queue's last holder.
  MERRITT_TRY(delivery_,
              os::start_thread("merritt-queue", [self = shared_from_this()] { self->deliver_until_closed(); }));
  return {};
}

Status CompletionQueue::add(Stream& stream, uint64_t user) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status(Code::kNotFound, "the queue was destroyed");
    if (added_ == ring_.size()) {
      std::vector<std::shared_ptr<Stream>> larger(std::max<size_t>(16, 2 * ring_.size()));
      for (size_t i = 0; i < ready_; ++i) larger[i] = std::move(ring_[(first_ + i) % ring_.size()]);
      ring_ = std::move(larger);
      first_ = 0;
    }
    ++added_;
  }
  Status attached = stream.attach(shared_from_this(), user);
  if (!attached.ok()) forget();
  wake();
  return attached;
}

void CompletionQueue::note(std::shared_ptr<Stream> stream) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  ring_[(first_ + ready_) % ring_.size()] = std::move(stream);
  ++ready_;
  news_.store(true, std::memory_order_relaxed);
}

void CompletionQueue::forget() {
  const std::lock_guard lock(mutex_);
  --added_;
}

void CompletionQueue::remove(const Stream* stream) {
  const std::lock_guard lock(mutex_);
  --added_;
  size_t kept = 0;
  for (size_t i = 0; i < ready_; ++i) {
    auto& from = ring_[(first_ + i) % ring_.size()];
    if (from.get() != stream) std::swap(ring_[(first_ + kept++) % ring_.size()], from);
  }
  if (kept != ready_) ring_[(first_ + kept) % ring_.size()].reset();
  ready_ = kept;
}

void CompletionQueue::wake() {
  if (!news_.exchange(false)) return;
  {
    const std::lock_guard lock(mutex_);
    if (ready_ != 0) event_fd_.raise();
  }
  changed_.notify_all();
}

std::shared_ptr<Stream> CompletionQueue::pop() {
  const std::lock_guard lock(mutex_);
  if (ready_ == 0) return nullptr;
  std::shared_ptr<Stream> stream = std::move(ring_[first_]);
  first_ = (first_ + 1) % ring_.size();
  --ready_;
  return stream;
}

// Requests take turns: one that has more to say than there is room for goes to the end of the list.
void CompletionQueue::next(uint32_t timeout_ms, size_t most, std::vector<Completion>* out) {
  out->reserve(out->size() + most);  // nothing that was taken from a request can be lost for want of memory
  {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return closed_ || ready_ != 0; };
    if (timeout_ms == Stream::kForever) {
      changed_.wait(lock, ready);
    } else if (timeout_ms != 0) {
      changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready);
    }
  }
  while (most != 0 && !closed_) {
    const std::shared_ptr<Stream> stream = pop();
    if (stream == nullptr) break;
    most -= stream->take(*this, most, out);
  }
  const std::lock_guard lock(mutex_);
  if (ready_ == 0) event_fd_.lower();
}

Result<int> CompletionQueue::fd() {
  const std::lock_guard lock(mutex_);
  if (closed_) return Status(Code::kNotFound, "the queue was destroyed");
  if (!event_fd_.is_open()) {
    MERRITT_TRY(event_fd_, os::EventFd::create());
    if (ready_ != 0) event_fd_.raise();
  }
  return event_fd_.fd();
}

// One at a time: what a callback destroys, or the end of the queue, is the end of what comes. What was taken from its
// request has to be told, so whoever closes the queue waits for it.
size_t CompletionQueue::deliver() {
  const std::lock_guard turn(callback_mutex_);
  size_t called = 0;
  delivering_ = std::this_thread::get_id();
  for (;; ++called) {
    delivered_.clear();
    next(0, 1, &delivered_);
    if (delivered_.empty()) break;
    callback_(delivered_.front());
  }
  delivering_ = std::thread::id();
  return called;
}

void CompletionQueue::deliver_until_closed() {
  while (!closed_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closed_ || ready_ != 0; });
    }
    deliver();
  }
}

// Streams find out that it is closed when somebody looks at them.
void CompletionQueue::close() {
  std::vector<std::shared_ptr<Stream>> left;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    left.swap(ring_);
    ready_ = 0;
  }
  changed_.notify_all();
  { const std::lock_guard turn(callback_mutex_); }  // without a thread of its own, somebody's poll may be calling back
  const std::lock_guard lock(delivery_mutex_);      // whoever comes second waits for the end as well
  if (delivery_.joinable()) delivery_.join();
}

}  // namespace merritt::engine
