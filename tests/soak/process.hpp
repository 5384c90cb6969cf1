// SPDX-License-Identifier: Apache-2.0
// What this process holds: threads, descriptors and memory.
#pragma once

#include <malloc.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

namespace merritt::soak {

inline uint64_t entries_of(const char* folder) {
  const std::filesystem::directory_iterator first(folder);
  return static_cast<uint64_t>(std::distance(first, std::filesystem::directory_iterator()));
}
inline uint64_t threads_now() { return entries_of("/proc/self/task"); }
inline uint64_t descriptors_now() { return entries_of("/proc/self/fd"); }  // with the one that looks

inline uint64_t resident_bytes() {
  uint64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// What malloc has given out; 0 where a sanitizer has another malloc.
inline uint64_t heap_bytes() {
#ifdef MERRITT_SANITIZED
  return 0;
#else
  const struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
#endif
}

}  // namespace merritt::soak
