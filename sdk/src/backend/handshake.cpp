// SPDX-License-Identifier: Apache-2.0
#include "backend/handshake.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "backend/plugin.hpp"
#include "backend/slots.hpp"

namespace merritt::backend {
namespace {

struct Slot {
  const char* name;
  size_t offset;
  bool required;
};
#define MERRITT_REQUIRED(slot) {#slot, offsetof(mrt_backend, slot), true},
#define MERRITT_OPTIONAL(slot) {#slot, offsetof(mrt_backend, slot), false},
constexpr Slot kSlots[] = {MERRITT_SLOTS(MERRITT_REQUIRED, MERRITT_OPTIONAL)};
#undef MERRITT_REQUIRED
#undef MERRITT_OPTIONAL
static_assert(std::size(kSlots) * sizeof(void*) == sizeof(mrt_backend), "a slot of the table is not on the list");
static_assert(std::size(kSlots) <= 64);
// No table of any ABI 1 plugin will have more slots than this.
constexpr uint32_t kTableBytesMax = 256 * sizeof(void*);

template <class Function>
struct Stub;
template <class... A>
struct Stub<int32_t (*)(A...)> {
  static int32_t call(A... args) {
    static constexpr char kText[] = "the plugin does not offer this";
    mrt_error* const error = std::get<sizeof...(A) - 1>(std::tie(args...));
    *error = {};
    error->code = MRT_UNSUPPORTED;
    error->index = UINT32_MAX;
    std::memcpy(error->message, kText, sizeof(kText));
    return MRT_UNSUPPORTED;
  }
};
template <class... A>
struct Stub<void (*)(A...)> {
  static void call(A...) {}
};
template <>
struct Stub<const void* (*)(const char*, uint32_t)> {
  static const void* call(const char*, uint32_t) { return nullptr; }
};

Status bad_handshake(const std::string& what) { return Status(Code::kBackend, "the plugin's handshake " + what); }

Result<mrt_hello_out> say_hello(mrt_hello_fn hello) {
  mrt_hello_in in{};
  in.abi_min = MRT_BACKEND_ABI;
  in.abi_max = MRT_BACKEND_ABI;
  mrt_hello_out out{};
  int32_t code = MRT_INTERNAL;
  try {
    code = hello(&in, &out);
  } catch (...) {
    return bad_handshake("threw an exception");
  }
  if (code != MRT_OK || out.abi == 0) {
    const std::string reason = clamp_text(out.reason, sizeof(out.reason));
    return Status(Code::kUnsupported, "the plugin refuses this library (plugin ABI " + std::to_string(MRT_BACKEND_ABI) +
                                          "): " + (reason.empty() ? "it gives no reason" : reason));
  }
  if (out.abi != MRT_BACKEND_ABI) {
    return bad_handshake("chose plugin ABI " + std::to_string(out.abi) + ", which was not offered");
  }
  return out;
}

}  // namespace

Result<Handshake> shake_hands(mrt_hello_fn hello, const PluginMemory& memory) {
  MERRITT_TRY(const mrt_hello_out out, say_hello(hello));
  if (out.table == nullptr) return bad_handshake("gives no table");
  if (out.table_bytes == 0 || out.table_bytes % sizeof(void*) != 0 || out.table_bytes > kTableBytesMax) {
    return bad_handshake("gives a table of " + std::to_string(out.table_bytes) + " bytes, which is no table size");
  }
  const auto address = reinterpret_cast<uintptr_t>(out.table);
  if (address % alignof(void*) != 0 || !memory.has(address, out.table_bytes)) {
    return bad_handshake("gives a table of " + std::to_string(out.table_bytes) +
                         " bytes that is not in its own memory");
  }
  Handshake result;
  result.abi = out.abi;
  std::memcpy(&result.table, out.table, std::min<size_t>(out.table_bytes, sizeof(result.table)));
  std::string missing;
  for (const Slot& slot : kSlots) {
    uintptr_t function = 0;
    std::memcpy(&function, reinterpret_cast<const char*>(&result.table) + slot.offset, sizeof(function));
    if (function == 0) {
      if (slot.required) missing += (missing.empty() ? "" : ", ") + std::string(slot.name);
      continue;
    }
    if (!memory.has_code(function)) {
      return bad_handshake("gives a slot " + std::string(slot.name) + " that is not in the plugin's code");
    }
    result.slots |= uint64_t{1} << (slot.offset / sizeof(void*));
  }
  if (!missing.empty()) return bad_handshake("lacks required slots: " + missing);
  mrt_backend& t = result.table;
#define MERRITT_REQUIRED(slot)
#define MERRITT_OPTIONAL(slot) \
  if (t.slot == nullptr) t.slot = &Stub<decltype(t.slot)>::call;
  MERRITT_SLOTS(MERRITT_REQUIRED, MERRITT_OPTIONAL)
#undef MERRITT_REQUIRED
#undef MERRITT_OPTIONAL
  return result;
}

}  // namespace merritt::backend
