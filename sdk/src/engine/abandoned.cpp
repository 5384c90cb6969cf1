// SPDX-License-Identifier: Apache-2.0
#include "engine/abandoned.hpp"

#include <atomic>
#include <new>
#include <utility>

namespace merritt::engine {
namespace {

struct Kept {
  std::shared_ptr<void> object;
  Kept* next = nullptr;
};

// Process-wide because it outlives every engine; without a destructor because a device may outlive main().
constinit std::atomic<Kept*> g_kept{nullptr};

}  // namespace

void keep_for_ever(std::shared_ptr<void> object) noexcept {
  if (object == nullptr) return;
  Kept* kept = new (std::nothrow) Kept;
  if (kept == nullptr) {
    alignas(std::shared_ptr<void>) unsigned char place[sizeof(object)];
    new (place) std::shared_ptr<void>(std::move(object));  // its count is never given back
    return;
  }
  kept->object = std::move(object);
  kept->next = g_kept.load(std::memory_order_relaxed);
  while (!g_kept.compare_exchange_weak(kept->next, kept, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace merritt::engine
