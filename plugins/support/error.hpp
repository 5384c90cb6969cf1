// SPDX-License-Identifier: Apache-2.0
// Failure reports of a plugin: fills the caller's mrt_error and returns its code, so that a slot can end with
// `return fail(...)`. Nothing here allocates. Never put prompt text, token ids or keys into a message.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <exception>
#include <type_traits>

#include "merritt/backend.h"

namespace merritt::plugin {

inline constexpr uint32_t kNoIndex = UINT32_MAX;

/// Fills *err (message cut to fit, always terminated) and returns code.
[[gnu::format(printf, 5, 6)]] int32_t fail(mrt_error* err, int32_t code, uint32_t blast, uint32_t index,
                                           const char* format, ...) noexcept;
/// The same, with blast CALL and no index.
[[gnu::format(printf, 3, 4)]] int32_t fail_call(mrt_error* err, int32_t code, const char* format, ...) noexcept;
/// The same, with blast SEQUENCE: sequence `index` of the step is to blame.
[[gnu::format(printf, 4, 5)]] int32_t fail_sequence(mrt_error* err, int32_t code, uint32_t index, const char* format,
                                                    ...) noexcept;
/// "slot: out of host memory (N bytes of <what>)".
int32_t fail_memory(mrt_error* err, const char* what, uint64_t bytes) noexcept;
/// To be called inside a catch block: bad_alloc becomes OUT_OF_MEMORY, everything else INTERNAL.
int32_t fail_from_exception(mrt_error* err) noexcept;

/// Bounded copy of a text into a fixed, terminated field.
void copy_text(char* to, uint64_t to_bytes, const char* from) noexcept;

/// Copies a versioned struct of the caller: up to min(caller, callee) bytes, the rest zero. A non-zero tail that this
/// build does not know is refused, so that a newer core never gets its wish silently dropped.
int32_t take_bytes(const void* in, uint32_t known, void* out, const char* name, mrt_error* err) noexcept;
/// Fills a versioned struct of the caller: the caller's struct_size decides how much; a longer tail is zeroed.
int32_t give_bytes(const void* value, uint32_t known, void* out, const char* name, mrt_error* err) noexcept;

template <class T>
int32_t take_struct(const T* in, T* out, const char* name, mrt_error* err) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(in->struct_size) == 4);
  return take_bytes(in, sizeof(T), out, name, err);
}
template <class T>
int32_t give_struct(const T& value, T* out, const char* name, mrt_error* err) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(out->struct_size) == 4);
  return give_bytes(&value, sizeof(T), out, name, err);
}

}  // namespace merritt::plugin

/// Returns from the function when EXPR is not MRT_OK.
#define MERRITT_PLUGIN_TRY(expr)                       \
  do {                                                 \
    const int32_t merritt_code_ = (expr);              \
    if (merritt_code_ != MRT_OK) return merritt_code_; \
  } while (0)
