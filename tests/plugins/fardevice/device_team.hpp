// SPDX-License-Identifier: Apache-2.0
// The far device's processors: the thread that runs a step and, when the host asked for two workers or more, one
// helper. Behind a host table of their own, because the host's executor must not be called from the device's thread.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "merritt/backend.h"

namespace merritt::plugin::far {

class DeviceTeam {
 public:
  using Body = void (*)(void* arg, uint32_t i, uint32_t worker);

  explicit DeviceTeam(uint32_t wanted) {
    if (wanted > 1) helper_ = std::thread([this] { help(); });
  }
  ~DeviceTeam() {
    if (!helper_.joinable()) return;
    state_.store(kStop, std::memory_order_release);
    state_.notify_all();
    helper_.join();
  }
  DeviceTeam(const DeviceTeam&) = delete;
  DeviceTeam& operator=(const DeviceTeam&) = delete;
  uint32_t workers() const noexcept { return helper_.joinable() ? 2 : 1; }

  void parallel(uint32_t n, Body body, void* arg) noexcept {
    // One step at a time has the helper; others compute alone, as worker 0 of their own program.
    const std::unique_lock turn(mutex_, std::try_to_lock);
    if (n < 2 || workers() == 1 || !turn.owns_lock()) {
      for (uint32_t i = 0; i < n; ++i) body(arg, i, 0);
      return;
    }
    body_ = body;
    arg_ = arg;
    n_ = n;
    next_.store(0, std::memory_order_relaxed);
    state_.store(kOffered, std::memory_order_release);
    state_.notify_one();
    work(0);
    uint32_t now = kOffered;
    if (state_.compare_exchange_strong(now, kIdle, std::memory_order_acq_rel)) return;  // it came too late
    while ((now = state_.load(std::memory_order_acquire)) != kIdle) state_.wait(now, std::memory_order_acquire);
  }

  /// A host for the mathematics on the device: it computes; memory is to be had from FarMemory only.
  mrt_host host(uint32_t isa_max) noexcept {
    mrt_host h{};
    h.struct_size = sizeof h;
    h.n_workers = workers();
    h.isa_max = isa_max;
    h.ctx = this;
    h.mem_alloc = [](void*, uint32_t, uint64_t, uint64_t) -> void* { return nullptr; };
    h.mem_free = [](void*, uint32_t, void*, uint64_t) {};
    h.charge = [](void*, uint32_t, int64_t) -> int32_t { return MRT_UNSUPPORTED; };
    h.parallel = [](void* ctx, uint32_t n, Body body, void* arg) {
      static_cast<DeviceTeam*>(ctx)->parallel(n, body, arg);
    };
    return h;
  }

 private:
  enum State : uint32_t { kIdle, kOffered, kTaken, kStop };

  void work(uint32_t worker) noexcept {
    for (uint32_t i = next_.fetch_add(1); i < n_; i = next_.fetch_add(1)) body_(arg_, i, worker);
  }
  void help() noexcept {
    for (;;) {
      uint32_t now = state_.load(std::memory_order_acquire);
      if (now == kStop) return;
      if (now != kOffered) {
        state_.wait(now, std::memory_order_acquire);
        continue;
      }
      if (!state_.compare_exchange_strong(now, kTaken, std::memory_order_acq_rel)) continue;
      work(1);
      state_.store(kIdle, std::memory_order_release);
      state_.notify_all();
    }
  }

  std::mutex mutex_;
  std::atomic<uint32_t> state_{kIdle}, next_{0};
  Body body_ = nullptr;
  void* arg_ = nullptr;
  uint32_t n_ = 0;
  std::thread helper_;  // last: it uses all above
};

}  // namespace merritt::plugin::far
