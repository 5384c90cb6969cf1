// SPDX-License-Identifier: Apache-2.0
// Sets the cancel flag of a step that runs too long. A backend may compute inside step_run, where the step thread
// cannot look at a clock, so this one has a thread of its own; it sleeps while steps keep their time.
//
// Threads: arm and disarm by the step thread; start and stop by whoever starts and joins that.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "base/status.hpp"
#include "engine/cancel_flag.hpp"

namespace merritt::engine {

class Watchdog {
 public:
  explicit Watchdog(CancelFlag& flag) : flag_(flag) {}
  ~Watchdog() { stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  Status start();
  void stop();

  void arm(uint64_t limit_ns);
  // True when the time was over and the flag was set.
  bool disarm();

 private:
  void watch();

  CancelFlag& flag_;
  std::thread thread_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  uint64_t deadline_ns_ = 0;  // 0 = no step runs
  bool sleeping_ = false;     // until a step is armed; else until an earlier step's deadline
  bool fired_ = false;
  bool stop_ = false;
};

}  // namespace merritt::engine
