// SPDX-License-Identifier: Apache-2.0
// The requests of one reader that have something unread, and a descriptor to wait on for them.
//
// A request's stream stands in the ready list at most once, so room for it is taken when it is added and the step
// thread never allocates here, never waits for a reader, and wakes one once a step however many requests have spoken.
//
// Threads: add, next, fd and close by any thread, next by one at a time; note and wake by whoever runs the steps.
// Locks: a stream's, then the queue's; never the other way round.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/os/event_fd.hpp"
#include "base/status.hpp"
#include "engine/stream.hpp"

namespace merritt::engine {

struct Completion {
  Event event;
  Status failure;  // of an end with FinishReason::kError
  uint64_t user = 0;
};

class CompletionQueue : public std::enable_shared_from_this<CompletionQueue> {
 public:
  // Called for each completion by deliver(); may be empty.
  using Callback = std::function<void(const Completion&)>;

  explicit CompletionQueue(Callback callback = {});
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;
  // A stream may be its last holder, and lets go of it under its own lock: then it has been closed.
  ~CompletionQueue() {
    if (!closed_) close();
  }

  // A thread that delivers until close(). For queues with a callback, on engines with threads.
  Status start_delivery();
  bool has_callback() const { return callback_ != nullptr; }
  // True on the thread that runs this queue's callback now.
  bool delivering_here() const { return delivering_.load() == std::this_thread::get_id(); }

  // Everything unread of the request, now and later, comes through this queue.
  Status add(Stream& stream, uint64_t user);
  // Appends up to `most` completions to *out. None: the time passed, or closed().
  void next(uint32_t timeout_ms, size_t most, std::vector<Completion>* out);
  // Calls back for everything there is; returns how many times it did. Not from inside a callback.
  size_t deliver();
  Result<int> fd();

  // The stream, of this queue, has something unread and is not in the list. Called under its lock.
  void note(std::shared_ptr<Stream> stream);
  // The request has said all.
  void forget();
  // The stream is read elsewhere from now on. Called under its lock.
  void remove(const Stream* stream);
  // Wakes the reader when there is news since the last time.
  void wake();

  // Wakes readers for good and ends the delivery, waiting for a running callback. Twice is once.
  void close();
  bool closed() const { return closed_.load(); }

 private:
  std::shared_ptr<Stream> pop();
  void deliver_until_closed();

  const Callback callback_;
  std::mutex mutex_;  // guards all down to the blank line
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Stream>> ring_;  // one place at least for each request that was added
  size_t first_ = 0, ready_ = 0;
  size_t added_ = 0;  // requests that have not said their end here
  os::EventFd event_fd_;

  std::atomic<bool> news_{false}, closed_{false};
  std::atomic<std::thread::id> delivering_{};
  std::mutex callback_mutex_;          // held while the callback is called; guards delivered_
  std::vector<Completion> delivered_;  // the one that it is called with
  std::mutex delivery_mutex_;          // guards delivery_
  std::thread delivery_;
};

}  // namespace merritt::engine
