// SPDX-License-Identifier: Apache-2.0
// Looks at a plugin's ELF file the way the dynamic linker would (program headers and dynamic table, never sections)
// before it is mapped: one exported symbol, known libraries only, nothing that asks for odd memory. Hostile input:
// every offset and count is checked, no recursion. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace merritt::backend {

struct ElfSegment {
  uint64_t address = 0, bytes = 0;  // relative to the load address
  bool executable = false;
};

struct ElfInfo {
  std::vector<ElfSegment> segments;  // as mapped
  std::vector<std::string> needed;
  std::vector<std::string> exports;
};

// What the file says. corrupt = not a well-formed shared object of this machine.
Result<ElfInfo> read_elf(std::span<const std::byte> file);
// And whether a plugin may look so: permission_denied with the reason.
Result<ElfInfo> check_plugin_elf(std::span<const std::byte> file);

}  // namespace merritt::backend
