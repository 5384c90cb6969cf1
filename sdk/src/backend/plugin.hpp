// SPDX-License-Identifier: Apache-2.0
// A loaded plugin: its function table, complete and checked, and who it is. Plugins are never unloaded: a Plugin lives
// in the process table for ever and is shared by all engines.
//
// Threads: any; immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "backend/elf_check.hpp"
#include "base/status.hpp"
#include "merritt/backend.h"

namespace merritt::backend {

class Plugin {
 public:
  // Every slot may be called: optional ones that the plugin lacks answer MRT_UNSUPPORTED, and what a plugin throws
  // comes out as MRT_BACKEND.
  const mrt_backend& table() const { return table_; }
  const std::string& id() const { return id_; }
  const std::string& version() const { return version_; }
  const std::string& digest_hex() const { return digest_hex_; }
  const std::string& path() const { return path_; }  // it was first loaded from
  const std::string& publisher() const { return publisher_; }
  const std::vector<std::string>& capabilities() const { return capabilities_; }
  uint32_t abi() const { return abi_; }
  // Whether the slot, counted in pointers from the start of the table, is the plugin's own.
  bool has_slot(uint32_t slot) const { return (slots_ >> slot & 1) != 0; }
  bool can_map() const { return has_slot(offsetof(mrt_backend, kv_map) / sizeof(void*)); }
  bool has_adapters() const { return has_slot(offsetof(mrt_backend, adapter_load) / sizeof(void*)); }

  // A named extension table {struct_size, reserved, function pointers} of at least `bytes` by its own struct_size; null
  // = not offered, or not in the plugin's own memory, or with functions that are not its code. The functions are the
  // plugin's, not fenced as the slots of table() are: call them through fenced().
  const void* extension(std::string_view name, uint32_t bytes) const;

 private:
  friend struct PluginMaker;
  Plugin() = default;

  mrt_backend table_{};
  uint64_t slots_ = 0;  // bit = slot number, set when the plugin has it
  uint32_t abi_ = 0;
  std::string id_, version_, digest_hex_, path_, publisher_;
  std::vector<std::string> capabilities_;
  PluginMemory memory_;
};

// A plugin's answer as a Status: ok, or its code, text and blast. Codes a plugin may not return become kBackend; a text
// without terminator, with control characters or bytes that are not UTF-8 is cut or cleaned. `plugin` names it in the
// text.
Status from_mrt_error(int32_t code, const mrt_error& error, std::string_view plugin = {});

int32_t report_throw(mrt_error* error) noexcept;

// Calls a slot of a table. What a faulty plugin throws becomes MRT_BACKEND with blast PROGRAM and a text in the last
// argument, or nothing for slots that answer nothing.
template <class Answer, class... Parameters, class... Arguments>
Answer fenced(Answer (*slot)(Parameters...), Arguments... arguments) noexcept {
  try {
    return slot(arguments...);
  } catch (...) {
    if constexpr (std::is_same_v<Answer, int32_t>) {
      return report_throw(std::get<sizeof...(Arguments) - 1>(std::tie(arguments...)));
    } else if constexpr (!std::is_void_v<Answer>) {
      return Answer{};
    }
  }
}

// The bytes of a char array up to its terminator or its end, cleaned.
std::string clamp_text(const char* text, size_t capacity);

}  // namespace merritt::backend
