// SPDX-License-Identifier: Apache-2.0
// The bucket that a limit promises: one from which every request took, when it was admitted, what it turned out to use.
// Worked out from the list of what happened, without any of the arithmetic under test.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace merritt::tenant::test {

class IdealBucket {
 public:
  __extension__ using Wide = __int128;

  explicit IdealBucket(uint64_t period) : period_(period) {}

  void set(uint64_t amount, uint64_t capacity, uint64_t now) {
    fold();
    events_.push_back({.time = now, .sets = true, .amount = amount, .capacity = capacity, .open = false});
  }
  // The number of the take, for settle().
  size_t take(uint64_t n, uint64_t now) {
    fold();
    events_.push_back({.time = now, .sets = false, .amount = n, .capacity = 0, .open = true});
    return folded_ + events_.size() - 1;
  }
  void settle(size_t take, uint64_t used) {
    Event& event = events_[take - folded_];
    event.amount = std::min(event.amount, used);
    event.open = false;
  }
  // Parts of a token (of which `period` make one) at `now`; lowest() is the least it ever was.
  Wide level(uint64_t now) {
    State state = base_;
    for (const Event& event : events_) apply(event, state);
    advance(now, state);
    return state.level;
  }
  Wide lowest() const { return lowest_; }
  bool limited() {
    State state = base_;
    for (const Event& event : events_) apply(event, state);
    return state.amount != 0;
  }

 private:
  struct Event {
    uint64_t time;
    bool sets;
    uint64_t amount, capacity;
    bool open;
  };
  struct State {
    uint64_t time = 0, amount = 0, capacity = 0;
    Wide level = 0;
  };

  void advance(uint64_t now, State& s) const {
    if (now > s.time) s.level += Wide{now - s.time} * s.amount;
    s.level = std::min(s.level, Wide{s.capacity} * period_);
    s.time = std::max(s.time, now);
  }
  void apply(const Event& event, State& s) {
    advance(event.time, s);
    if (!event.sets) {
      if (s.amount == 0) return;
      s.level -= Wide{event.amount} * period_;
      if (!event.open) lowest_ = std::min(lowest_, s.level);
      return;
    }
    const bool was_limited = s.amount != 0;
    s.amount = event.amount;
    s.capacity = event.capacity;
    if (!was_limited || s.level > Wide{s.capacity} * period_) s.level = Wide{s.capacity} * period_;
  }
  // What is settled and has nothing open before it happens the same way for ever.
  void fold() {
    size_t n = 0;
    while (n < events_.size() && !events_[n].open) apply(events_[n++], base_);
    events_.erase(events_.begin(), events_.begin() + static_cast<ptrdiff_t>(n));
    folded_ += n;
  }

  const uint64_t period_;
  State base_;
  Wide lowest_ = 0;
  size_t folded_ = 0;
  std::vector<Event> events_;
};

}  // namespace merritt::tenant::test
