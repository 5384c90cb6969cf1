// SPDX-License-Identifier: Apache-2.0
#include "engine/watchdog.hpp"

#include <chrono>
#include <utility>

#include "base/os/clock.hpp"
#include "base/os/thread.hpp"

namespace merritt::engine {

Status Watchdog::start() {
  if (thread_.joinable()) return {};
  MERRITT_TRY(thread_, os::start_thread("merritt-watch", [this] { watch(); }));
  return {};
}

void Watchdog::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::arm(uint64_t limit_ns) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    deadline_ns_ = os::monotonic_ns() + limit_ns;
    fired_ = false;
    wake = std::exchange(sleeping_, false);
  }
  if (wake) wake_.notify_one();
}

bool Watchdog::disarm() {
  const std::lock_guard lock(mutex_);
  deadline_ns_ = 0;
  return std::exchange(fired_, false);
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (deadline_ns_ == 0) {
      sleeping_ = true;
      wake_.wait(lock, [this] { return stop_ || deadline_ns_ != 0; });
      sleeping_ = false;
      continue;
    }
    const uint64_t now = os::monotonic_ns();
    if (now < deadline_ns_) {
      wake_.wait_for(lock, std::chrono::nanoseconds(deadline_ns_ - now), [this] { return stop_; });
      continue;
    }
    deadline_ns_ = 0;
    fired_ = true;
    flag_.set();
  }
}

}  // namespace merritt::engine
