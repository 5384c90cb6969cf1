// SPDX-License-Identifier: Apache-2.0
// The events of one request, from the step thread to whoever reads them.
//
// Threads: push and end by the step thread; next, or its queue's take, by one reader at a time. A reader that is slow
// or absent never holds up the step thread, and never costs more than limits::kEventQueueMax events: then push refuses,
// and the request fails.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace merritt::engine {

enum class EventKind : uint32_t { kNone = 0, kText = 1, kChoiceEnd = 2, kEnd = 3 };
enum class FinishReason : uint32_t {
  kNone = 0,
  kEos = 1,
  kStop = 2,
  kLength = 3,
  kCancelled = 4,
  kDeadline = 5,
  kError = 6,
};

struct Event {
  EventKind kind = EventKind::kNone;
  uint32_t choice = 0;
  FinishReason finish_reason = FinishReason::kNone;
  int32_t token = -1;
  float logprob = 0;
  std::string text;
  uint64_t step = 0;
};

class CompletionQueue;
struct Completion;

// Held by its request and, while something is unread, by its queue: what was said outlives the session and the model.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  // False when the queue is full: the event was not taken. Choice ends always are: there is one for each sample.
  bool push(Event event);
  // Ends the stream: the reader gets `failure` once (when it is not ok), then the end event for ever.
  void end(FinishReason reason, Status failure, uint64_t step);
  // Waits up to timeout_ms (kForever = without end) for the next event. kNone = the time passed. kFailedPrecondition:
  // it is read through a queue.
  Result<Event> next(uint32_t timeout_ms);
  bool ended() const;

  // Whoever reads `queue` reads this from now on.
  Status attach(std::shared_ptr<CompletionQueue> queue, uint64_t user);
  // next() reads again. kNotFound: it is not in this queue (null = whichever it is in).
  Status detach(const CompletionQueue* queue);
  // Moves up to `most` events to *out, which has the capacity; for `queue`, in whose list it was.
  size_t take(const CompletionQueue& queue, size_t most, std::vector<Completion>* out);

  static constexpr uint32_t kForever = 0xFFFFFFFFu;

 private:
  void grow();
  Event pop();
  void note_unread();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Event> ring_;  // its size is a power of two; it grows with the most that ever waited, and stays
  size_t first_ = 0, waiting_ = 0;
  Status failure_;
  Event end_event_;
  bool ended_ = false;
  bool said_end_ = false;

  std::shared_ptr<CompletionQueue> queue_;  // null = next() reads
  uint64_t user_ = 0;
  bool listed_ = false;  // stands in the queue's list, or is being taken from
};

}  // namespace merritt::engine
