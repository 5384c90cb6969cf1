// SPDX-License-Identifier: Apache-2.0
// The host's callbacks behind functions of the engine's own. While one runs its thread is known to be inside the
// engine, so that a verb which would wait for the engine can be refused instead of waiting for itself.
//
// Threads: any. Invariant: after silence() nothing of the host's is called any more by what an engine left behind.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "backend/ledger.hpp"
#include "observe/log.hpp"

namespace merritt::engine {

class HostCallbacks {
 public:
  HostCallbacks(observe::LogCallback log, backend::LedgerCallback ledger) : log_(log), ledger_(ledger) {}
  HostCallbacks(const HostCallbacks&) = delete;
  HostCallbacks& operator=(const HostCallbacks&) = delete;

  // Empty where the host gave none. They borrow this object.
  observe::LogCallback log();
  backend::LedgerCallback ledger();
  std::function<bool(float)> progress(std::function<bool(float)> host);

  // True on a thread that runs one of these callbacks now.
  bool inside() const;
  void silence() { silent_.store(true, std::memory_order_release); }

 private:
  class Scope;
  static void on_log(void* self, uint32_t level, const char* text, size_t length);
  static int32_t on_ledger(void* self, int64_t bytes);

  const observe::LogCallback log_;
  const backend::LedgerCallback ledger_;
  std::atomic<bool> silent_{false};
};

}  // namespace merritt::engine
