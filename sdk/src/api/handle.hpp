// SPDX-License-Identifier: Apache-2.0
// Handles: 64-bit values {kind, engine slot, object slot, serial} shaped like pointers and only ever looked up.
//
// A serial is drawn from one process-wide counter for every object, so a handle that is stale, doubly destroyed, of a
// destroyed engine or of another kind meets an entry with another serial and is answered not_found.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/status.hpp"

namespace merritt::api {

enum class Kind : uint8_t { kEngine = 1, kModel = 2, kTenant = 3, kSession = 4, kRequest = 5, kQueue = 6 };
std::string_view kind_name(Kind kind);

struct Handle {
  static constexpr uint32_t kEngineBits = 6, kSlotBits = 18, kSerialBits = 36;
  static constexpr uint64_t kSerialMask = (uint64_t{1} << kSerialBits) - 1;

  Kind kind{};
  uint32_t engine = 0;  // slot of the process-wide engine table
  uint32_t slot = 0;    // slot of that engine's object table
  uint64_t serial = 0;

  uint64_t bits() const {
    return uint64_t{static_cast<uint8_t>(kind)} << 60 | uint64_t{engine} << (kSlotBits + kSerialBits) |
           uint64_t{slot} << kSerialBits | (serial & kSerialMask);
  }
  static Handle from_bits(uint64_t bits) {
    return {static_cast<Kind>(bits >> 60), static_cast<uint32_t>(bits >> (kSlotBits + kSerialBits)) & 63u,
            static_cast<uint32_t>(bits >> kSerialBits) & ((1u << kSlotBits) - 1), bits & kSerialMask};
  }
  template <class Pointer>
  static Handle from_pointer(Pointer pointer) {
    static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "handles need 64-bit pointers");
    return from_bits(reinterpret_cast<uintptr_t>(pointer));
  }
  template <class Pointer>
  Pointer as() const {
    return reinterpret_cast<Pointer>(static_cast<uintptr_t>(bits()));
  }
};

class HandleTable;

// A slot taken before the work whose object it is for, so that work once done cannot fail to be handed out. Given back
// when nothing was put into it.
class HandlePlace {
 public:
  HandlePlace(HandlePlace&& other) noexcept;
  HandlePlace& operator=(HandlePlace&&) = delete;
  ~HandlePlace();
  Handle fill(std::shared_ptr<void> object) noexcept;

 private:
  friend class HandleTable;
  HandlePlace(HandleTable* table, Handle handle) : table_(table), handle_(handle) {}
  HandleTable* table_;
  Handle handle_;
};

// The objects of one engine. All functions lock; the lock is never held while an object is used or destroyed. What
// fails, also for want of memory, has changed nothing.
class HandleTable {
 public:
  Result<HandlePlace> reserve(Kind kind, uint32_t engine);
  // The object answers internal from now on and can only be taken.
  std::shared_ptr<void> poison(Handle handle) noexcept;

  // poisoned: also an object that can only be destroyed.
  template <class T>
  Result<std::shared_ptr<T>> find(Handle handle, Kind kind, bool poisoned = false) {
    return cast<T>(lookup(handle, kind, poisoned, false));
  }
  template <class T>
  Result<std::shared_ptr<T>> take(Handle handle, Kind kind) {
    return cast<T>(lookup(handle, kind, true, true));
  }
  // Every object of `kind` the predicate names.
  template <class T, class Predicate>
  std::vector<std::shared_ptr<T>> all_of(Kind kind, Predicate predicate) {
    std::vector<std::shared_ptr<T>> found;
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_) {
      if (is<T>(entry, kind, predicate)) found.push_back(std::static_pointer_cast<T>(entry.object));
    }
    return found;
  }
  // Removes them; they die outside the lock.
  template <class T, class Predicate>
  void remove_if(Kind kind, Predicate predicate) {
    std::vector<std::shared_ptr<void>> removed;
    const std::lock_guard lock(mutex_);
    size_t count = 0;
    for (const Entry& entry : entries_) count += is<T>(entry, kind, predicate) ? 1 : 0;
    removed.reserve(count);  // from here on nothing can fail
    for (uint32_t slot = 0; slot < entries_.size(); ++slot) {
      if (!is<T>(entries_[slot], kind, predicate)) continue;
      removed.push_back(std::move(entries_[slot].object));
      release_slot(slot);
    }
  }

 private:
  friend class HandlePlace;
  struct Entry {
    Kind kind{};
    bool poisoned = false;
    uint64_t serial = 0;
    std::shared_ptr<void> object;  // null = free, or reserved
  };

  template <class T, class Predicate>
  static bool is(const Entry& entry, Kind kind, Predicate& predicate) {
    return entry.object != nullptr && entry.kind == kind && predicate(*static_cast<T*>(entry.object.get()));
  }
  template <class T>
  Result<std::shared_ptr<T>> cast(Result<std::shared_ptr<void>> object) {
    if (!object.ok()) return std::move(object).status();
    return std::static_pointer_cast<T>(std::move(object).value());
  }
  Entry* entry_of(Handle handle, Kind kind);
  Result<std::shared_ptr<void>> lookup(Handle handle, Kind kind, bool poisoned, bool take);
  void release_slot(uint32_t slot) noexcept;

  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
};

// The next serial; never 0.
uint64_t next_serial();

}  // namespace merritt::api
