// SPDX-License-Identifier: Apache-2.0
// The first call into a plugin: versions, and its table copied into a complete one of ours. Nothing the plugin says is
// followed before it was checked: the table must lie in its own memory, the slots in its own code. Threads: any.
#pragma once

#include <cstdint>

#include "backend/elf_check.hpp"
#include "base/status.hpp"
#include "merritt/backend.h"

namespace merritt::backend {

struct Handshake {
  mrt_backend table{};  // optional slots that are missing answer MRT_UNSUPPORTED
  uint64_t slots = 0;   // bit = slot number, set when the plugin has it
  uint32_t abi = 0;
};

Result<Handshake> shake_hands(mrt_hello_fn hello, const PluginMemory& memory);

}  // namespace merritt::backend
