// SPDX-License-Identifier: Apache-2.0
#include "tenant/bucket.hpp"

#include <algorithm>

namespace merritt::tenant {
void Bucket::set(uint64_t amount, uint64_t capacity, uint64_t now_ns) {
  const bool was_limited = limited();
  refill(now_ns);
  if (was_limited) note_level();  // under the old capacity
  refilled_ns_ = std::max(refilled_ns_, now_ns);
  amount_ = amount;
  capacity_ = parts_of(capacity);
  if (amount == 0) holds_.clear();
  level_ = was_limited ? std::min(level_, capacity_) : capacity_;
  note_level();
}

void Bucket::refill(uint64_t now_ns) {
  if (now_ns <= refilled_ns_ || amount_ == 0) return;
  level_ = std::min(level_ + Parts{now_ns - refilled_ns_} * amount_, capacity_);
  refilled_ns_ = now_ns;
}

// The level only rises between two calls of this, so that none of its heights is missed.
void Bucket::note_level() {
  const Parts room = capacity_ - level_;
  for (auto hold = holds_.rbegin(); hold != holds_.rend() && hold->room > room; ++hold) hold->room = room;
}

uint64_t Bucket::level(uint64_t now_ns) {
  refill(now_ns);
  return static_cast<uint64_t>(level_ / period_ns_);
}

uint64_t Bucket::wait_ns(uint64_t n, uint64_t now_ns) {
  if (!limited()) return 0;
  if (parts_of(n) > capacity_) return kNever;
  refill(now_ns);
  if (parts_of(n) <= level_) return 0;
  const Parts missing = parts_of(n) - level_;
  const Parts ns = (missing + amount_ - 1) / amount_ + (refilled_ns_ > now_ns ? refilled_ns_ - now_ns : 0);
  return ns < kNever ? static_cast<uint64_t>(ns) : kNever - 1;
}

void Bucket::take(uint64_t n, uint64_t now_ns) {
  if (!limited()) return;
  refill(now_ns);
  note_level();
  level_ -= std::min(parts_of(n), level_);
}

uint64_t Bucket::hold(uint64_t n, uint64_t now_ns) {
  if (!limited()) return 0;
  holds_.reserve(holds_.size() + 1);  // before anything changes
  take(n, now_ns);
  holds_.push_back({next_hold_, n, capacity_ - level_});
  return next_hold_++;
}

void Bucket::settle(uint64_t hold, uint64_t used, uint64_t now_ns) {
  const auto at =
      std::lower_bound(holds_.begin(), holds_.end(), hold, [](const Hold& one, uint64_t id) { return one.id < id; });
  if (at == holds_.end() || at->id != hold) return;
  refill(now_ns);
  note_level();
  const Parts unused = parts_of(at->amount - std::min(used, at->amount));
  const Parts back = std::min(unused, at->room);
  // The level was higher by `back` ever since, and by up to `unused` before the bucket would have been full.
  const Parts room_left = at->room - back;
  for (auto later = at + 1; later != holds_.end(); ++later) later->room -= std::min(unused, later->room);
  for (auto earlier = std::make_reverse_iterator(at); earlier != holds_.rend(); ++earlier) {
    if (earlier->room <= room_left) break;
    earlier->room = room_left;
  }
  holds_.erase(at);
  level_ += back;
}

uint32_t ms_of_ns(uint64_t ns) {
  constexpr uint64_t kNsPerMs = 1'000'000;
  return static_cast<uint32_t>(std::min<uint64_t>(ns / kNsPerMs + (ns % kNsPerMs != 0 ? 1 : 0), UINT32_MAX));
}

}  // namespace merritt::tenant
