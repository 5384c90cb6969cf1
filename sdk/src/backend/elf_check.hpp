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
  uint64_t entry = 0;              // where the last export is, relative as the segments are
  bool entry_is_function = false;  // neither data nor a resolver's answer nor an absolute address
};

// A mapped object's memory, to prove that what it points at is its own.
struct PluginMemory {
  uintptr_t base = 0;                // what the segments' addresses are relative to
  std::vector<ElfSegment> segments;  // none = nothing is checked (tests)
  bool has(uintptr_t address, uint64_t bytes) const { return lies_in(address, bytes, false); }
  bool has_code(uintptr_t address) const { return lies_in(address, 1, true); }

 private:
  bool lies_in(uintptr_t address, uint64_t bytes, bool code) const;
};

// What the file says. corrupt = not a well-formed shared object of this machine.
Result<ElfInfo> read_elf(std::span<const std::byte> file);
// And whether a plugin may look so: permission_denied with the reason.
Result<ElfInfo> check_plugin_elf(std::span<const std::byte> file);

}  // namespace merritt::backend
