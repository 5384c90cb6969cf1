// SPDX-License-Identifier: Apache-2.0
// The machine's memory, for device_describe. OS calls of plugins live in this folder only.
#pragma once
#include <cstdint>

namespace merritt::plugin::os {

/// Bytes of physical memory and of what is free now; zeros where the system does not tell.
void machine_memory(uint64_t* total, uint64_t* free) noexcept;

}  // namespace merritt::plugin::os
