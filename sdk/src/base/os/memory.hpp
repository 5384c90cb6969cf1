// SPDX-License-Identifier: Apache-2.0
// Anonymous memory straight from the kernel, and how much of it there is. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

namespace merritt::os {

enum PageFlags : uint32_t {
  kPagesHuge = 1,        // advised as huge pages when the block is large
  kPagesNoDump = 2,      // left out of core dumps
  kPagesWipeOnFork = 4,  // read as zeros in a child of fork()
  kPagesLock = 8,        // locked, each page when it is first touched, when the limit allows; see locked in Pages
};

struct Pages {
  void* data = nullptr;  // zeroed; null = the kernel has none
  size_t bytes = 0;      // as mapped, a multiple of the page size
  bool locked = false;
};

// At least `bytes`, aligned to `align` (a power of two; at least a page).
Pages map_pages(size_t bytes, size_t align, uint32_t flags);
void unmap_pages(void* data, size_t bytes);
size_t page_size();

// Overwrites memory in a way the compiler keeps.
void wipe(void* data, size_t bytes);

// The same for pages of map_pages(), leaving alone those that were never touched: they are zeros that nobody has, and
// writing zeros would take them from the system. What the system moved to swap is not resident and is left to
// unmapping.
void wipe_pages(void* data, size_t bytes);

struct MemoryState {
  uint64_t rss_bytes = 0;       // resident now
  uint64_t rss_peak_bytes = 0;  // and at most since the process began
  uint64_t memlock_bytes = 0;   // RLIMIT_MEMLOCK, UINT64_MAX = no limit
};
MemoryState memory_state();

}  // namespace merritt::os
