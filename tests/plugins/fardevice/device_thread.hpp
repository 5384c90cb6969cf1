// SPDX-License-Identifier: Apache-2.0
// The far device's queue: one thread a program that runs one step at a time. A test fixture may own a thread; a plugin
// may not.
#pragma once
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace merritt::plugin::far {

class DeviceThread {
 public:
  explicit DeviceThread(std::function<void()> work) : work_(std::move(work)), thread_([this] { loop(); }) {}
  ~DeviceThread() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  void start() {
    {
      const std::lock_guard lock(mutex_);
      busy_ = true;
    }
    wake_.notify_all();
  }
  /// True when idle within the time.
  bool wait(uint64_t timeout_ns) {
    std::unique_lock lock(mutex_);
    const auto idle = [this] { return !busy_; };
    if (timeout_ns > 3'600'000'000'000u) {
      done_.wait(lock, idle);
      return true;
    }
    return done_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), idle);
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return busy_ || stop_; });
      if (!busy_) return;  // a started step is finished before the thread ends
      lock.unlock();
      work_();
      lock.lock();
      busy_ = false;
      done_.notify_all();
    }
  }
  std::function<void()> work_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace merritt::plugin::far
