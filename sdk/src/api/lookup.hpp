// SPDX-License-Identifier: Apache-2.0
// From a public handle to the object it names, with the engine pinned while the call lasts.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "api/engine_table.hpp"
#include "api/guard.hpp"

namespace merritt::api {

// What a request handle names: the request, and the text of the event that was read last (owned by the one reader).
struct RequestObject {
  std::shared_ptr<engine::Request> request;
  std::atomic<bool> reading{false};
  std::string text;
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

template <class T>
struct Found {
  EnginePin pin;
  std::shared_ptr<T> object;
  T& operator*() const { return *object; }
  T* operator->() const { return object.get(); }
  engine::Engine& engine() const { return pin.engine(); }
};

template <class Public>
Result<Found<typename ObjectOf<Public>::Type>> find(Public handle, bool take = false) {
  using Object = ObjectOf<Public>;
  const Handle value = Handle::from_pointer(handle);
  if (value.kind != Object::kKind) {
    const std::string name(kind_name(Object::kKind));
    if (handle == nullptr) return invalid("the " + name + " handle is NULL");
    return Status(Code::kNotFound, "the handle is not a " + name);
  }
  MERRITT_TRY(EnginePin pin, pin_engine(value));
  auto object = take ? pin.handles().template take<typename Object::Type>(value, Object::kKind)
                     : pin.handles().template find<typename Object::Type>(value, Object::kKind);
  if (!object.ok()) return std::move(object).status();
  return Found<typename Object::Type>{std::move(pin), std::move(object).value()};
}

inline Result<EnginePin> find_engine(merritt_engine handle) {
  const Handle value = Handle::from_pointer(handle);
  if (handle == nullptr) return invalid("the engine handle is NULL");
  if (value.kind != Kind::kEngine) return Status(Code::kNotFound, "the handle is not an engine");
  return pin_engine(value);
}

// The shared part of every destroy function: in a child of fork() there is nothing to end.
template <class Public, class End>
Status destroy(Public handle, End&& end) {
  {
    // Asked before the handle is taken: a destroy that is refused has changed nothing. Requests wait for nobody.
    const auto there = find(handle);
    if (there.ok() && ObjectOf<Public>::kKind != Kind::kRequest) MERRITT_CHECK(there->engine().check_may_wait());
  }
  auto found = find(handle, /*take=*/true);
  if (!found.ok()) {
    return found.status().code() == Code::kFailedPrecondition ? Status() : std::move(found).status();
  }
  return end(found.value());
}

// Puts an object into its engine's table and hands out the public handle.
template <class Public>
Status publish(const EnginePin& pin, std::shared_ptr<typename ObjectOf<Public>::Type> object, Public* out) {
  MERRITT_TRY(const Handle handle, pin.handles().insert(ObjectOf<Public>::kKind, pin.index(), std::move(object)));
  *out = handle.as<Public>();
  return {};
}

}  // namespace merritt::api
