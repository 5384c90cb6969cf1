// SPDX-License-Identifier: Apache-2.0
#include "support/os/amx.hpp"

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace merritt::plugin::os {

bool request_amx() noexcept {
#if defined(__x86_64__)
  // Tile data is saved only for a process that asked for it (Linux 5.16 and later).
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace merritt::plugin::os
