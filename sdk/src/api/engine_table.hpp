// SPDX-License-Identifier: Apache-2.0
// The process-wide engine table: 64 constant-initialised slots without destructors, the one global of the library
// besides the plugin registry it stands beside. Lock-free, so that it is safe in a child of fork().
#pragma once

#include <cstdint>

#include "api/handle.hpp"
#include "engine/engine.hpp"

namespace merritt::api {

struct EngineEntry {
  std::unique_ptr<engine::Engine> engine;
  HandleTable handles;
};

// A pinned engine: while it lives, the engine is not deleted.
class EnginePin {
 public:
  EnginePin() = default;
  EnginePin(EnginePin&& other) noexcept : index_(other.index_), entry_(other.entry_) { other.entry_ = nullptr; }
  EnginePin& operator=(EnginePin&&) = delete;
  ~EnginePin();
  engine::Engine& engine() const { return *entry_->engine; }
  HandleTable& handles() const { return entry_->handles; }
  uint32_t index() const { return index_; }

 private:
  friend Result<EnginePin> pin_engine(Handle handle);
  EnginePin(uint32_t index, EngineEntry* entry) : index_(index), entry_(entry) {}
  uint32_t index_ = 0;
  EngineEntry* entry_ = nullptr;
};

// Puts an engine into a free slot.
Result<Handle> register_engine(std::unique_ptr<EngineEntry> entry);
// Pins the engine a handle of any kind belongs to. failed_precondition in a child of fork().
Result<EnginePin> pin_engine(Handle handle);
// Ends an engine: no new pin is given, calls in progress are woken and waited for, then it is deleted. In a child of
// fork() the slot is only marked free of this engine: its threads and locks belong to the parent.
Status destroy_engine(Handle handle);
// True when the handle's engine was created before a fork() this process is the child of.
bool is_forked(Handle handle);

}  // namespace merritt::api
