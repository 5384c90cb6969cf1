// SPDX-License-Identifier: Apache-2.0
// The two clocks of the core. Threads: any.
#pragma once

#include <cstdint>

namespace merritt::os {

// Nanoseconds of a clock that never goes back; its zero means nothing.
uint64_t monotonic_ns();
// Seconds since 1970 (UTC).
int64_t unix_seconds();

}  // namespace merritt::os
