// SPDX-License-Identifier: Apache-2.0
// A loaded plugin: its function table, complete and checked, and who it is. Plugins are never unloaded: a Plugin lives
// in the process table for ever and is shared by all engines.
//
// Threads: any; immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "merritt/backend.h"

namespace merritt::backend {

class Plugin {
 public:
  // Every slot may be called: optional ones that the plugin lacks answer MRT_UNSUPPORTED.
  const mrt_backend& table() const { return table_; }
  const std::string& id() const { return id_; }
  const std::string& version() const { return version_; }
  const std::string& digest_hex() const { return digest_hex_; }
  const std::string& path() const { return path_; }  // it was first loaded from
  const std::string& publisher() const { return publisher_; }
  const std::vector<std::string>& capabilities() const { return capabilities_; }
  uint32_t abi() const { return abi_; }
  bool has_optional(uint32_t slot) const { return (optional_slots_ >> slot & 1) != 0; }
  bool can_map() const;  // kv_map is the plugin's own
  bool has_adapters() const;

  // A named extension table of at least `bytes` by its own struct_size; null = not offered.
  const void* extension(std::string_view name, uint32_t bytes) const;

 private:
  friend class Loader;
  friend struct PluginAccess;
  Plugin() = default;

  mrt_backend table_{};
  uint64_t optional_slots_ = 0;  // bit = slot number, set when the plugin has it
  uint32_t abi_ = 0;
  std::string id_, version_, digest_hex_, path_, publisher_;
  std::vector<std::string> capabilities_;
};

// A plugin's answer as a Status: ok, or its code, text and blast. Codes a plugin may not return become kBackend; a text
// without terminator, with control characters or bytes that are not UTF-8 is cut or cleaned. `plugin` names it in the
// text.
Status from_mrt_error(int32_t code, const mrt_error& error, std::string_view plugin = {});

// The bytes of a char array up to its terminator or its end, cleaned.
std::string clamp_text(const char* text, size_t capacity);

}  // namespace merritt::backend
