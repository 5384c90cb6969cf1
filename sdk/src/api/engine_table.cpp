// SPDX-License-Identifier: Apache-2.0
#include "api/engine_table.hpp"

#include <atomic>
#include <string>

#include "api/guard.hpp"

namespace merritt::api {
namespace {

constexpr uint32_t kEngines = 1u << Handle::kEngineBits;
// state: serial (36 bits) | live (1) | pins (27). A slot is free when the state is 0.
constexpr uint64_t kPinMask = (uint64_t{1} << 27) - 1;
constexpr uint64_t kLive = uint64_t{1} << 27;
constexpr uint32_t kSerialShift = 28;

struct Slot {
  std::atomic<uint64_t> state;
  std::atomic<EngineEntry*> entry;
};

struct Table {
  std::atomic<uint64_t> serial;
  Slot slots[kEngines];
};
constinit Table g_table{};

Status no_such_engine() {
  return Status(Code::kNotFound, "no such engine: the handle is null, stale or not one of these");
}

// Every bit of an engine's handle counts: it has no object slot.
bool names_engine(Handle handle, uint64_t state) { return handle.slot == 0 && state >> kSerialShift == handle.serial; }

}  // namespace

uint64_t next_serial() {
  for (;;) {
    const uint64_t serial = (g_table.serial.fetch_add(1, std::memory_order_relaxed) + 1) & Handle::kSerialMask;
    if (serial != 0) return serial;
  }
}

EnginePin::~EnginePin() {
  if (entry_ == nullptr) return;
  Slot& slot = g_table.slots[index_];
  const uint64_t before = slot.state.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & kLive) == 0 && (before & kPinMask) == 1) slot.state.notify_all();
}

Result<Handle> register_engine(std::unique_ptr<EngineEntry> entry) {
  const uint64_t serial = next_serial();
  for (uint32_t i = 0; i < kEngines; ++i) {
    Slot& slot = g_table.slots[i];
    uint64_t free = 0;
    // Claimed with live clear and one pin, so that nobody enters before the entry is in place.
    if (!slot.state.compare_exchange_strong(free, serial << kSerialShift | 1, std::memory_order_acq_rel)) continue;
    slot.entry.store(entry.release(), std::memory_order_release);
    slot.state.store(serial << kSerialShift | kLive, std::memory_order_release);
    return Handle{Kind::kEngine, i, 0, serial};
  }
  return Status(Code::kOverloaded, "this process holds " + std::to_string(kEngines) + " engines already",
                Blast::kProcess);
}

Result<EnginePin> pin_engine(Handle handle) {
  Slot& slot = g_table.slots[handle.engine];
  uint64_t state = slot.state.load(std::memory_order_acquire);
  do {
    if ((state & kLive) == 0) return no_such_engine();
    if (handle.kind == Kind::kEngine && !names_engine(handle, state)) return no_such_engine();
    if ((state & kPinMask) == kPinMask) return Status(Code::kOverloaded, "too many calls at once on this engine");
  } while (!slot.state.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel));
  EnginePin pin(handle.engine, slot.entry.load(std::memory_order_acquire));
  if (pin.engine().in_forked_child()) {
    return Status(Code::kFailedPrecondition,
                  "this engine was created before fork(); in the child it can only be destroyed: create another one",
                  Blast::kProcess);
  }
  return pin;
}

bool is_forked(Handle handle) {
  const Result<EnginePin> pin = pin_engine(handle);
  return !pin.ok() && pin.status().code() == Code::kFailedPrecondition;
}

Blast poison(uint64_t handle_bits) noexcept {
  const Handle handle = Handle::from_bits(handle_bits);
  if (handle_bits == 0 || handle.kind == Kind::kEngine) return Blast::kRequest;
  try {
    const Result<EnginePin> pin = pin_engine(handle);
    if (!pin.ok()) return Blast::kRequest;
    const std::shared_ptr<void> object = pin->handles().poison(handle);
    if (object == nullptr) return Blast::kRequest;
    if (handle.kind == Kind::kTenant) static_cast<tenant::Tenant*>(object.get())->close();
  } catch (...) {
    // Only for want of memory for the refusal of a pin: then there is no object to poison.
    return Blast::kRequest;
  }
  switch (handle.kind) {
    case Kind::kSession: return Blast::kSession;
    case Kind::kTenant: return Blast::kTenant;
    case Kind::kModel: return Blast::kDevice;
    default: return Blast::kRequest;
  }
}

Status destroy_engine(Handle handle) {
  if (handle.kind != Kind::kEngine) return no_such_engine();
  {
    // From one of the engine's own callbacks it would wait for itself. In a child of fork() there is no pin to be had.
    const Result<EnginePin> pin = pin_engine(handle);
    if (pin.ok()) MERRITT_CHECK(pin->engine().check_may_end());
  }
  Slot& slot = g_table.slots[handle.engine];
  uint64_t state = slot.state.load(std::memory_order_acquire);
  do {
    if ((state & kLive) == 0 || !names_engine(handle, state)) return no_such_engine();
  } while (!slot.state.compare_exchange_weak(state, state & ~kLive, std::memory_order_acq_rel));

  EngineEntry* entry = slot.entry.load(std::memory_order_acquire);
  if (entry->engine->in_forked_child()) {
    // The parent's threads are not here and its locks may be held for ever: nothing can be joined or freed. KV pages
    // were wiped by the kernel at fork. The slot stays claimed, so that no handle of it can come alive again.
    return {};
  }
  MERRITT_CHECK(entry->engine->shutdown());  // wakes every waiting call
  for (state = slot.state.load(std::memory_order_acquire); (state & kPinMask) != 0;
       state = slot.state.load(std::memory_order_acquire)) {
    slot.state.wait(state, std::memory_order_acquire);
  }
  delete entry;
  slot.entry.store(nullptr, std::memory_order_release);
  slot.state.store(0, std::memory_order_release);
  return {};
}

}  // namespace merritt::api
