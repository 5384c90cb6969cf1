// SPDX-License-Identifier: Apache-2.0
#include "api/handle.hpp"

#include <string>

namespace merritt::api {

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kEngine: return "engine";
    case Kind::kModel: return "model";
    case Kind::kTenant: return "tenant";
    case Kind::kSession: return "session";
    case Kind::kRequest: return "request";
  }
  return "unknown";
}

namespace {
Status no_such(Kind kind) {
  return Status(Code::kNotFound,
                "no such " + std::string(kind_name(kind)) + ": the handle is stale or not one of these");
}
}  // namespace

Result<Handle> HandleTable::insert(Kind kind, uint32_t engine, std::shared_ptr<void> object) {
  constexpr uint32_t kSlotsMax = 1u << Handle::kSlotBits;
  const std::lock_guard lock(mutex_);
  uint32_t slot = 0;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (entries_.size() < kSlotsMax) {
    slot = static_cast<uint32_t>(entries_.size());
    entries_.emplace_back();
    free_.reserve(entries_.capacity());  // so that release_slot never allocates
  } else {
    return Status(Code::kOverloaded,
                  "this engine holds " + std::to_string(kSlotsMax) +
                      " objects already; destroy sessions and requests that have ended",
                  Blast::kRequest, 1000);
  }
  Entry& entry = entries_[slot];
  entry.kind = kind;
  entry.serial = next_serial();
  entry.object = std::move(object);
  return Handle{kind, engine, slot, entry.serial};
}

Result<std::shared_ptr<void>> HandleTable::lookup(Handle handle, Kind kind, bool take) {
  if (handle.kind != kind) return no_such(kind);
  const std::lock_guard lock(mutex_);
  if (handle.slot >= entries_.size()) return no_such(kind);
  Entry& entry = entries_[handle.slot];
  if (entry.object == nullptr || entry.kind != kind || entry.serial != handle.serial) return no_such(kind);
  if (!take) return entry.object;
  std::shared_ptr<void> object = std::move(entry.object);
  release_slot(handle.slot);
  return object;
}

void HandleTable::release_slot(uint32_t slot) {
  entries_[slot].object = nullptr;
  entries_[slot].serial = 0;
  free_.push_back(slot);
}

}  // namespace merritt::api
