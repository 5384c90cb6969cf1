// SPDX-License-Identifier: Apache-2.0
// From a public handle to the object it names, with the engine pinned while the call lasts.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "api/engine_table.hpp"
#include "api/guard.hpp"

namespace merritt::api {

// What a request handle names: the request, and the text of the event that was read last (owned by the one reader).
struct RequestObject {
  std::shared_ptr<engine::Request> request;
  std::atomic<bool> reading{false};
  std::string text;
};

// What a queue handle names: the queue, and the completions that were read last with what they point at (owned by the
// one reader).
struct QueueObject {
  std::shared_ptr<engine::CompletionQueue> queue;
  std::atomic<bool> reading{false};
  std::vector<engine::Completion> completions;
  std::vector<merritt_error> errors;
};

// At the end of a scope the next reader may come.
struct ReadingEnds {
  std::atomic<bool>& reading;
  ~ReadingEnds() { reading.store(false); }
};

template <class Public>
struct ObjectOf;
template <>
struct ObjectOf<merritt_model> {
  using Type = engine::Model;
  static constexpr Kind kKind = Kind::kModel;
};
template <>
struct ObjectOf<merritt_tenant> {
  using Type = tenant::Tenant;
  static constexpr Kind kKind = Kind::kTenant;
};
template <>
struct ObjectOf<merritt_session> {
  using Type = engine::Session;
  static constexpr Kind kKind = Kind::kSession;
};
template <>
struct ObjectOf<merritt_request> {
  using Type = RequestObject;
  static constexpr Kind kKind = Kind::kRequest;
};

template <>
struct ObjectOf<merritt_queue> {
  using Type = QueueObject;
  static constexpr Kind kKind = Kind::kQueue;
};

template <class T>
struct Found {
  EnginePin pin;
  std::shared_ptr<T> object;
  T& operator*() const { return *object; }
  T* operator->() const { return object.get(); }
  engine::Engine& engine() const { return pin.engine(); }
};

// poisoned: also an object that can only be destroyed.
template <class Public>
Result<Found<typename ObjectOf<Public>::Type>> find(Public handle, bool poisoned = false) {
  using Object = ObjectOf<Public>;
  const Handle value = Handle::from_pointer(handle);
  if (value.kind != Object::kKind) {
    const std::string name(kind_name(Object::kKind));
    if (handle == nullptr) return invalid("the " + name + " handle is NULL");
    return Status(Code::kNotFound, "the handle is not a " + name);
  }
  MERRITT_TRY(EnginePin pin, pin_engine(value));
  auto object = pin.handles().template find<typename Object::Type>(value, Object::kKind, poisoned);
  if (!object.ok()) return std::move(object).status();
  return Found<typename Object::Type>{std::move(pin), std::move(object).value()};
}

inline Result<EnginePin> find_engine(merritt_engine handle) {
  const Handle value = Handle::from_pointer(handle);
  if (handle == nullptr) return invalid("the engine handle is NULL");
  if (value.kind != Kind::kEngine) return Status(Code::kNotFound, "the handle is not an engine");
  return pin_engine(value);
}

// The shared part of every destroy function: in a child of fork() there is nothing to end. `end` may run twice, when
// two threads destroy at once or when the first try ran out of memory; the handle goes last, to exactly one of them.
template <class Public, class End>
Status destroy(Public handle, End&& end) {
  using Object = ObjectOf<Public>;
  auto found = find(handle, /*poisoned=*/true);
  if (!found.ok()) {
    return found.status().code() == Code::kFailedPrecondition ? Status() : std::move(found).status();
  }
  // Refused before anything is changed. Requests wait for nobody, and queues for no step.
  if (Object::kKind != Kind::kRequest && Object::kKind != Kind::kQueue) MERRITT_CHECK(found->engine().check_may_wait());
  MERRITT_CHECK(end(found.value()));
  auto taken = found->pin.handles().template take<typename Object::Type>(Handle::from_pointer(handle), Object::kKind);
  return taken.ok() ? Status() : std::move(taken).status();
}

// A place in an engine's table, taken before the work, and then the public handle.
template <class Public>
class Place {
 public:
  using Object = typename ObjectOf<Public>::Type;

  static Result<Place> reserve(const EnginePin& pin) {
    MERRITT_TRY(HandlePlace place, pin.handles().reserve(ObjectOf<Public>::kKind, pin.index()));
    return Place(pin.handles(), std::move(place));
  }
  Public publish(std::shared_ptr<Object> object) noexcept {
    handle_ = place_.fill(std::move(object));
    return handle_.template as<Public>();
  }
  // Takes the handle back, unless a parent's destroy was faster: whoever gets true has to end the object.
  bool take_back() { return table_->template take<Object>(handle_, ObjectOf<Public>::kKind).ok(); }

 private:
  Place(HandleTable& table, HandlePlace place) : table_(&table), place_(std::move(place)) {}
  HandleTable* table_;
  HandlePlace place_;
  Handle handle_;
};

}  // namespace merritt::api
