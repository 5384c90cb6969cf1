// SPDX-License-Identifier: Apache-2.0
#include "support/os/cpu_memory.hpp"

#include <unistd.h>

namespace merritt::plugin::os {

void machine_memory(uint64_t* total, uint64_t* free) noexcept {
  const long page = sysconf(_SC_PAGESIZE);
  const long all = sysconf(_SC_PHYS_PAGES);
  const long now = sysconf(_SC_AVPHYS_PAGES);
  *total = page > 0 && all > 0 ? static_cast<uint64_t>(page) * static_cast<uint64_t>(all) : 0;
  *free = page > 0 && now > 0 ? static_cast<uint64_t>(page) * static_cast<uint64_t>(now) : 0;
}

}  // namespace merritt::plugin::os
