// SPDX-License-Identifier: Apache-2.0
// The account of one memory domain (host memory, or one device's): every byte is charged before it is taken and
// released after it was given back. Unloading a model brings the ledger back to where it was.
//
// Threads: any; lock-free. Invariants: held() is the sum of the kinds; held() never passes the budget.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "merritt/backend.h"

namespace merritt::backend {

// The host's say, as in merritt/engine.h: asked before memory is taken (> 0), told after it went back (< 0).
struct LedgerCallback {
  int32_t (*fn)(void* user, int64_t bytes) = nullptr;
  void* user = nullptr;
};

enum class MemoryKind : uint32_t {
  kOther = 0,  // the core's own
  kWeights = MRT_MEM_WEIGHTS,
  kScratch = MRT_MEM_SCRATCH,
  kStaging = MRT_MEM_STAGING,
  kKv = MRT_MEM_KV,
  kKvHot = MRT_MEM_KV_HOT,
};
inline constexpr uint32_t kMemoryKinds = 6;

class Ledger {
 public:
  // budget 0 = no limit.
  explicit Ledger(uint64_t budget = 0, LedgerCallback callback = {}) : budget_(budget), callback_(callback) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // False = over budget, or the host refused: nothing was charged.
  [[nodiscard]] bool charge(MemoryKind kind, uint64_t bytes) noexcept;
  // Releasing more than is held of the kind (a plugin's mistake) releases what is held and is counted in errors().
  void release(MemoryKind kind, uint64_t bytes) noexcept;

  uint64_t budget() const { return budget_; }
  uint64_t held() const { return held_.load(std::memory_order_relaxed); }
  uint64_t held(MemoryKind kind) const { return kinds_[static_cast<uint32_t>(kind)].load(std::memory_order_relaxed); }
  uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  uint64_t errors() const { return errors_.load(std::memory_order_relaxed); }
  // Free under the budget; UINT64_MAX without one.
  uint64_t available() const;

 private:
  const uint64_t budget_;
  const LedgerCallback callback_;
  std::atomic<uint64_t> held_{0}, peak_{0}, errors_{0};
  std::array<std::atomic<uint64_t>, kMemoryKinds> kinds_{};
};

}  // namespace merritt::backend
