// SPDX-License-Identifier: Apache-2.0
// How many query rows one worker keeps together: a sealed page is opened once for all of them.
#pragma once
#include <cstdint>

namespace merritt::plugin::reference {
inline constexpr uint32_t kQueryRows = 8;
}  // namespace merritt::plugin::reference
