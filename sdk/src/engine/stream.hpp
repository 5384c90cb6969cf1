// SPDX-License-Identifier: Apache-2.0
// The events of one request, from the step thread to whoever reads them.
//
// Threads: push and end by the step thread; next by one reader at a time. A reader that is slow or absent never holds
// up the step thread, and never costs more than limits::kEventQueueMax events: then push refuses, and the request
// fails.
#pragma once

#include <condition_variable>
#include <cstdint>
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

class Stream {
 public:
  // False when the queue is full: the event was not taken. Choice ends always are: there is one for each sample.
  bool push(Event event);
  // Ends the stream: the reader gets `failure` once (when it is not ok), then the end event for ever.
  void end(FinishReason reason, Status failure, uint64_t step);
  // Waits up to timeout_ms (kForever = without end) for the next event. kNone = the time passed.
  Result<Event> next(uint32_t timeout_ms);
  bool ended() const;

  static constexpr uint32_t kForever = 0xFFFFFFFFu;

 private:
  void grow();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Event> ring_;  // its size is a power of two; it grows with the most that ever waited, and stays
  size_t first_ = 0, waiting_ = 0;
  Status failure_;
  Event end_event_;
  bool ended_ = false;
};

}  // namespace merritt::engine
