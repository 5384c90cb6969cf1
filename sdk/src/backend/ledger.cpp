// SPDX-License-Identifier: Apache-2.0
#include "backend/ledger.hpp"

#include <algorithm>
#include <limits>

namespace merritt::backend {

bool Ledger::charge(MemoryKind kind, uint64_t bytes) noexcept {
  if (bytes == 0) return true;
  if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
  uint64_t before = held_.load(std::memory_order_relaxed);
  uint64_t after = 0;
  do {
    if (__builtin_add_overflow(before, bytes, &after)) return false;
    if (budget_ != 0 && after > budget_) return false;
  } while (!held_.compare_exchange_weak(before, after, std::memory_order_relaxed));
  if (callback_.fn != nullptr && callback_.fn(callback_.user, static_cast<int64_t>(bytes)) != 0) {
    held_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }
  kinds_[static_cast<uint32_t>(kind)].fetch_add(bytes, std::memory_order_relaxed);
  uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (after > peak && !peak_.compare_exchange_weak(peak, after, std::memory_order_relaxed)) {
  }
  return true;
}

void Ledger::release(MemoryKind kind, uint64_t bytes) noexcept {
  std::atomic<uint64_t>& of_kind = kinds_[static_cast<uint32_t>(kind)];
  uint64_t before = of_kind.load(std::memory_order_relaxed);
  uint64_t released = 0;
  do {
    released = std::min(before, bytes);
  } while (!of_kind.compare_exchange_weak(before, before - released, std::memory_order_relaxed));
  if (released != bytes) errors_.fetch_add(1, std::memory_order_relaxed);
  if (released == 0) return;
  held_.fetch_sub(released, std::memory_order_relaxed);
  if (callback_.fn != nullptr) callback_.fn(callback_.user, -static_cast<int64_t>(released));
}

uint64_t Ledger::available() const {
  if (budget_ == 0) return std::numeric_limits<uint64_t>::max();
  return budget_ - std::min(budget_, held());
}

}  // namespace merritt::backend
