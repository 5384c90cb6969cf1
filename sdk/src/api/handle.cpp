// SPDX-License-Identifier: Apache-2.0
#include "api/handle.hpp"

#include <algorithm>
#include <string>

namespace merritt::api {

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kEngine: return "engine";
    case Kind::kModel: return "model";
    case Kind::kTenant: return "tenant";
    case Kind::kSession: return "session";
    case Kind::kRequest: return "request";
    case Kind::kQueue: return "queue";
  }
  return "unknown";
}

namespace {
Status no_such(Kind kind) {
  return Status(Code::kNotFound,
                "no such " + std::string(kind_name(kind)) + ": the handle is stale or not one of these");
}
}  // namespace

HandlePlace::HandlePlace(HandlePlace&& other) noexcept : table_(other.table_), handle_(other.handle_) {
  other.table_ = nullptr;
}

HandlePlace::~HandlePlace() {
  if (table_ == nullptr) return;
  const std::lock_guard lock(table_->mutex_);
  table_->release_slot(handle_.slot);
}

Handle HandlePlace::fill(std::shared_ptr<void> object) noexcept {
  const std::lock_guard lock(table_->mutex_);
  HandleTable::Entry& entry = table_->entries_[handle_.slot];
  entry.kind = handle_.kind;
  entry.serial = handle_.serial;
  entry.poisoned = false;
  entry.object = std::move(object);
  table_ = nullptr;
  return handle_;
}

Result<HandlePlace> HandleTable::reserve(Kind kind, uint32_t engine) {
  constexpr uint32_t kSlotsMax = 1u << Handle::kSlotBits;
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    if (entries_.size() >= kSlotsMax) {
      return Status(Code::kOverloaded,
                    "this engine holds " + std::to_string(kSlotsMax) +
                        " objects already; destroy sessions and requests that have ended",
                    Blast::kRequest, 1000);
    }
    // Room for every slot, so that release_slot never allocates.
    if (free_.capacity() <= entries_.size()) free_.reserve(std::max<size_t>(16, 2 * free_.capacity()));
    entries_.emplace_back();
    free_.push_back(static_cast<uint32_t>(entries_.size() - 1));
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  return HandlePlace(this, Handle{kind, engine, slot, next_serial()});
}

HandleTable::Entry* HandleTable::entry_of(Handle handle, Kind kind) {
  if (handle.kind != kind || handle.slot >= entries_.size()) return nullptr;
  Entry& entry = entries_[handle.slot];
  return entry.object != nullptr && entry.kind == kind && entry.serial == handle.serial ? &entry : nullptr;
}

Result<std::shared_ptr<void>> HandleTable::lookup(Handle handle, Kind kind, bool poisoned, bool take) {
  const std::lock_guard lock(mutex_);
  Entry* entry = entry_of(handle, kind);
  if (entry == nullptr) return no_such(kind);
  if (entry->poisoned && !poisoned) {
    return Status(Code::kInternal,
                  "this " + std::string(kind_name(kind)) + " met an internal error earlier; it can only be destroyed");
  }
  if (!take) return entry->object;
  std::shared_ptr<void> object = std::move(entry->object);
  release_slot(handle.slot);
  return object;
}

std::shared_ptr<void> HandleTable::poison(Handle handle) noexcept {
  const std::lock_guard lock(mutex_);
  Entry* entry = entry_of(handle, handle.kind);
  if (entry == nullptr) return nullptr;
  entry->poisoned = true;
  return entry->object;
}

void HandleTable::release_slot(uint32_t slot) noexcept {
  entries_[slot].object = nullptr;
  entries_[slot].serial = 0;
  free_.push_back(slot);
}

}  // namespace merritt::api
