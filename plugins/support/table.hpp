// SPDX-License-Identifier: Apache-2.0
// From a struct of static functions to the one exported symbol. Every slot is fenced: what the function throws becomes
// a code and a text, never an unwinding across the boundary; a null first handle is refused before the function runs.
//
//   struct MyPlugin { static int32_t device_describe(uint32_t, mrt_device_desc *, mrt_error *); ... };
//   MERRITT_PLUGIN(MyPlugin)
//
// The functions carry the names of the slots. A required one that is missing does not compile; an optional one that is
// missing stays null and the host answers for it. Sizes and versions are stamped here, never by hand.
#pragma once
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "merritt/backend.h"
#include "support/error.hpp"

namespace merritt::plugin {

template <class First, class... Rest>
constexpr bool first_is_null(First first, Rest...) noexcept {
  if constexpr (std::is_pointer_v<First>) {
    return first == nullptr;
  } else {
    return false;
  }
}

template <auto Fn>
struct Fence;
template <class... A, int32_t (*Fn)(A...)>
struct Fence<Fn> {
  static int32_t call(A... args) noexcept {
    mrt_error* err = std::get<sizeof...(A) - 1>(std::tie(args...));
    try {
      if (first_is_null(args...)) return fail_call(err, MRT_INVALID_ARGUMENT, "the handle is null");
      return Fn(args...);
    } catch (...) {
      return fail_from_exception(err);
    }
  }
};
template <class... A, void (*Fn)(A...)>
struct Fence<Fn> {
  static void call(A... args) noexcept {
    try {
      if (!first_is_null(args...)) Fn(args...);
    } catch (...) {
      return;  // a destroy has nobody to tell; the object is gone either way
    }
  }
};
template <const void* (*Fn)(const char*, uint32_t)>
struct Fence<Fn> {
  static const void* call(const char* name, uint32_t len) noexcept {
    try {
      return name == nullptr ? nullptr : Fn(name, len);
    } catch (...) {
      return nullptr;
    }
  }
};

template <class P>
constexpr mrt_backend make_table() noexcept {
  mrt_backend t{};
#define MERRITT_REQUIRED(slot) (t.slot = &Fence<&P::slot>::call)
#define MERRITT_OPTIONAL(slot) \
  if constexpr (requires { &P::slot; }) t.slot = &Fence<&P::slot>::call
  MERRITT_REQUIRED(device_describe);
  MERRITT_REQUIRED(device_open);
  MERRITT_REQUIRED(device_status);
  MERRITT_REQUIRED(device_close);
  MERRITT_REQUIRED(model_compile);
  MERRITT_REQUIRED(model_destroy);
  MERRITT_OPTIONAL(adapter_load);
  MERRITT_OPTIONAL(adapter_destroy);
  MERRITT_REQUIRED(kv_spec);
  MERRITT_REQUIRED(pool_create);
  MERRITT_REQUIRED(pool_destroy);
  MERRITT_REQUIRED(kv_read);
  MERRITT_REQUIRED(kv_write);
  MERRITT_REQUIRED(kv_zero);
  MERRITT_REQUIRED(kv_copy);
  MERRITT_OPTIONAL(kv_map);
  MERRITT_OPTIONAL(kv_export);
  MERRITT_OPTIONAL(kv_import);
  MERRITT_REQUIRED(program_create);
  MERRITT_REQUIRED(program_destroy);
  MERRITT_REQUIRED(program_staging);
  MERRITT_REQUIRED(step_prepare);
  MERRITT_REQUIRED(step_run);
  MERRITT_REQUIRED(step_wait);
  MERRITT_REQUIRED(step_commit);
  MERRITT_REQUIRED(step_abort);
  MERRITT_OPTIONAL(extension);
#undef MERRITT_REQUIRED
#undef MERRITT_OPTIONAL
  return t;
}

/// The whole handshake: chooses the version, or refuses with a reason.
int32_t answer_hello(const mrt_hello_in* in, mrt_hello_out* out, const void* table, uint32_t table_bytes) noexcept;

}  // namespace merritt::plugin

#define MERRITT_PLUGIN(Type)                                                                           \
  extern "C" __attribute__((visibility("default"))) int32_t merritt_backend_v1(const mrt_hello_in* in, \
                                                                               mrt_hello_out* out) {   \
    static constexpr mrt_backend kTable = ::merritt::plugin::make_table<Type>();                       \
    return ::merritt::plugin::answer_hello(in, out, &kTable, sizeof kTable);                           \
  }
