// SPDX-License-Identifier: Apache-2.0
// The table of the "trace/1" extension around one function of the plugin, fenced.
#pragma once
#include <cstring>

#include "merritt/backend.h"
#include "support/error.hpp"
#include "support/table.hpp"

namespace merritt::plugin {

/// True when name (not terminated) is `expected` (a literal with its terminator).
inline bool is_extension(const char* name, uint32_t len, const char* expected) noexcept {
  return std::strlen(expected) == len && std::memcmp(name, expected, len) == 0;
}

template <auto KernelName>
inline constexpr mrt_ext_trace kTraceTable{sizeof(mrt_ext_trace), 0, &Fence<KernelName>::call};

/// Writes a kernel's name; refuses a field too small for it.
int32_t give_kernel_name(char* name, uint32_t name_bytes, const char* text, mrt_error* err) noexcept;

}  // namespace merritt::plugin
