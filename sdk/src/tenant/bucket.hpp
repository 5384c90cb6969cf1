// SPDX-License-Identifier: Apache-2.0
// A token bucket in whole numbers: `amount` every `period`, up to `capacity` at once. What is taken may be held, and
// settled later for less.
//
// The bound, for every interval: what was taken in it, each counted with what it was settled for, is at most capacity +
// amount * interval / period. So a settlement may give back only what the bucket would still have, had no more been
// taken in the first place: a bucket that has been full since, or nearly, would have lost the rest. Each hold therefore
// knows the least room above the level since it was taken.
//
// Threads: one at a time. Times are passed in; one that is earlier than the last counts as the last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace merritt::tenant {

class Bucket {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;

  explicit Bucket(uint64_t period_ns) : period_ns_(period_ns) {}

  // amount 0 = no limit. A bucket that had no limit begins full; else it keeps what it has, as far as it goes in.
  void set(uint64_t amount, uint64_t capacity, uint64_t now_ns);
  bool limited() const { return amount_ != 0; }
  uint64_t capacity() const { return static_cast<uint64_t>(capacity_ / period_ns_); }

  // Whole tokens in it.
  uint64_t level(uint64_t now_ns);
  // The time until n can be taken, to the nanosecond; 0 = now; kNever = more than the bucket ever holds.
  uint64_t wait_ns(uint64_t n, uint64_t now_ns);
  // Takes n, which wait_ns has said is there; without a limit nothing.
  void take(uint64_t n, uint64_t now_ns);
  // The same, to be settled; 0 = nothing to settle.
  uint64_t hold(uint64_t n, uint64_t now_ns);
  // Ends a hold of which `used` was needed; more than was held counts as all of it. Unknown ones are ignored.
  void settle(uint64_t hold, uint64_t used, uint64_t now_ns);
  size_t n_holds() const { return holds_.size(); }

 private:
  __extension__ using Parts = unsigned __int128;  // of a token, which has period_ns_ of them

  struct Hold {
    uint64_t id, amount;
    Parts room;  // least of capacity - level since; no later hold has less
  };

  Parts parts_of(uint64_t tokens) const { return Parts{tokens} * period_ns_; }
  void refill(uint64_t now_ns);
  void note_level();

  const uint64_t period_ns_;
  uint64_t amount_ = 0;
  Parts capacity_ = 0, level_ = 0;
  uint64_t refilled_ns_ = 0;
  uint64_t next_hold_ = 1;
  std::vector<Hold> holds_;  // in the order they were taken
};

// Rounded up, at most what 32 bits hold.
uint32_t ms_of_ns(uint64_t ns);

}  // namespace merritt::tenant
