// SPDX-License-Identifier: Apache-2.0
// Callers one at a time, in the order they came. Threads: any.
#pragma once

#include <atomic>
#include <cstdint>

namespace merritt::backend {

class Turns {
 public:
  void take() noexcept {
    const uint32_t ticket = next_.fetch_add(1, std::memory_order_relaxed);
    for (uint32_t now = serving_.load(std::memory_order_acquire); now != ticket;
         now = serving_.load(std::memory_order_acquire)) {
      serving_.wait(now, std::memory_order_acquire);
    }
  }
  void end() noexcept {
    serving_.fetch_add(1, std::memory_order_release);
    serving_.notify_all();
  }

 private:
  std::atomic<uint32_t> next_{0}, serving_{0};
};

}  // namespace merritt::backend
