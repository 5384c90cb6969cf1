// SPDX-License-Identifier: Apache-2.0
#include "tenant/bucket.hpp"

#include <algorithm>

namespace merritt::tenant {
namespace {

__extension__ using Wide = unsigned __int128;  // of a time and an amount

}  // namespace

void Bucket::set(uint64_t amount, uint64_t capacity, uint64_t now_ns) {
  const bool was_limited = limited();
  refill(now_ns);
  if (was_limited) note_level();  // under the old capacity
  refilled_ns_ = std::max(refilled_ns_, now_ns);
  amount_ = amount;
  capacity_ = capacity;
  if (amount == 0) holds_.clear();
  if (!was_limited || tokens_ >= capacity) {
    tokens_ = capacity;
    part_ = 0;
  }
  note_level();
}

void Bucket::refill(uint64_t now_ns) {
  if (now_ns <= refilled_ns_ || amount_ == 0) return;
  const Wide parts = Wide{now_ns - refilled_ns_} * amount_ + part_;
  refilled_ns_ = now_ns;
  const Wide whole = parts / period_ns_ + tokens_;
  if (whole >= capacity_) {
    tokens_ = capacity_;
    part_ = 0;
  } else {
    tokens_ = static_cast<uint64_t>(whole);
    part_ = static_cast<uint64_t>(parts % period_ns_);
  }
}

// The level only rises between two calls of this, so that none of its heights is missed.
void Bucket::note_level() {
  const uint64_t now = room();
  for (auto hold = holds_.rbegin(); hold != holds_.rend() && hold->room > now; ++hold) hold->room = now;
}

uint64_t Bucket::level(uint64_t now_ns) {
  refill(now_ns);
  return tokens_;
}

uint64_t Bucket::wait_ns(uint64_t n, uint64_t now_ns) {
  if (!limited()) return 0;
  if (n > capacity_) return kNever;
  refill(now_ns);
  if (n <= tokens_) return 0;
  const Wide parts = Wide{n - tokens_} * period_ns_ - part_;
  const Wide ns = (parts + amount_ - 1) / amount_ + (refilled_ns_ > now_ns ? refilled_ns_ - now_ns : 0);
  return ns < kNever ? static_cast<uint64_t>(ns) : kNever - 1;
}

void Bucket::take(uint64_t n, uint64_t now_ns) {
  if (!limited()) return;
  refill(now_ns);
  note_level();
  tokens_ -= std::min(n, tokens_);
}

uint64_t Bucket::hold(uint64_t n, uint64_t now_ns) {
  if (!limited()) return 0;
  holds_.reserve(holds_.size() + 1);  // before anything changes
  take(n, now_ns);
  holds_.push_back({next_hold_, n, room()});
  return next_hold_++;
}

uint64_t Bucket::settle(uint64_t hold, uint64_t used, uint64_t now_ns) {
  const auto at =
      std::lower_bound(holds_.begin(), holds_.end(), hold, [](const Hold& one, uint64_t id) { return one.id < id; });
  if (at == holds_.end() || at->id != hold) return 0;
  refill(now_ns);
  note_level();
  const uint64_t unused = at->amount - std::min(used, at->amount);
  const uint64_t back = std::min(unused, at->room);
  // The level was higher by `back` ever since, and by up to `unused` before the bucket would have been full.
  const uint64_t room_left = at->room - back;
  for (auto later = at + 1; later != holds_.end(); ++later) later->room -= std::min(unused, later->room);
  for (auto earlier = std::make_reverse_iterator(at); earlier != holds_.rend(); ++earlier) {
    if (earlier->room <= room_left) break;
    earlier->room = room_left;
  }
  holds_.erase(at);
  tokens_ += back;
  return back;
}

uint32_t ms_of_ns(uint64_t ns) {
  constexpr uint64_t kNsPerMs = 1'000'000;
  return static_cast<uint32_t>(std::min<uint64_t>(ns / kNsPerMs + (ns % kNsPerMs != 0 ? 1 : 0), UINT32_MAX));
}

}  // namespace merritt::tenant
