// SPDX-License-Identifier: Apache-2.0
// The edge of the C ABI: every entry point is one guard() around a function that returns Status. The guard turns the
// Status into a code and an owned merritt_error, and catches everything, so that nothing but codes leaves the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/status.hpp"
#include "merritt/merritt.h"

struct merritt_error {
  int32_t code = MERRITT_OK;
  uint32_t blast = MERRITT_BLAST_REQUEST;
  uint32_t retry_after_ms = 0;
  std::string message;
};

namespace merritt::api {

// A preallocated error for when there is no memory for another; released by doing nothing.
merritt_error* out_of_memory_error() noexcept;

inline int32_t report(const Status& status, merritt_error** error) noexcept {
  if (error == nullptr) return static_cast<int32_t>(status.code());
  *error = nullptr;
  if (status.ok()) return MERRITT_OK;
  try {
    auto owned = std::make_unique<merritt_error>();
    owned->code = static_cast<int32_t>(status.code());
    owned->blast = static_cast<uint32_t>(status.blast());
    owned->retry_after_ms = status.retry_after_ms();
    owned->message = status.message();
    *error = owned.release();
  } catch (...) {
    *error = out_of_memory_error();
  }
  return static_cast<int32_t>(status.code());
}

template <class Body>
int32_t guard(merritt_error** error, Body&& body) noexcept {
  try {
    return report(body(), error);
  } catch (const std::bad_alloc&) {
    if (error != nullptr) *error = out_of_memory_error();
    return MERRITT_OUT_OF_MEMORY;
  } catch (...) {
    if (error != nullptr) *error = nullptr;
    return MERRITT_INTERNAL;
  }
}

inline Status invalid(std::string message) { return Status(Code::kInvalidArgument, std::move(message)); }

// Reads an option struct of a caller built against an older or newer header into this library's own. Absent = defaults.
// A size that cannot be one (below 4, or above any struct this ABI will have) is refused before anything is read.
template <class Options>
Status read_options(const Options* in, const char* name, Options& out) {
  static_assert(std::is_trivially_copyable_v<Options>);
  constexpr uint32_t kStructBytesMax = 4096;
  std::memset(&out, 0, sizeof(out));
  out.struct_size = sizeof(out);
  if (in == nullptr) return {};
  uint32_t size = 0;
  std::memcpy(&size, in, sizeof(size));
  if (size < sizeof(uint32_t) || size > kStructBytesMax) {
    return invalid(std::string(name) + ".struct_size is " + std::to_string(size) + "; set it to sizeof(" + name + ")");
  }
  std::memcpy(&out, in, size < sizeof(out) ? size : sizeof(out));
  out.struct_size = sizeof(out);
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  for (uint32_t i = sizeof(out); i < size; ++i) {
    if (bytes[i] != 0) {
      return Status(Code::kUnsupported, std::string(name) + " has a field at byte " + std::to_string(i) +
                                            " that this library (" + merritt_version_string() + ") does not know");
    }
  }
  return {};
}

// Writes a result struct up to the size the caller has; the caller's struct_size stays.
template <class Info>
Status write_info(const Info& info, const char* name, Info* out) {
  if (out == nullptr) return invalid(std::string(name) + " out is NULL");
  uint32_t size = 0;
  std::memcpy(&size, out, sizeof(size));
  if (size < sizeof(uint32_t) || size > 4096) {
    return invalid(std::string(name) + ".struct_size is " + std::to_string(size) + "; set it to sizeof(" + name + ")");
  }
  const size_t bytes = size < sizeof(Info) ? size : sizeof(Info);
  if (bytes > sizeof(uint32_t)) {
    std::memcpy(reinterpret_cast<char*>(out) + sizeof(uint32_t),
                reinterpret_cast<const char*>(&info) + sizeof(uint32_t), bytes - sizeof(uint32_t));
  }
  return {};
}

// A caller's string; NULL with a length is refused.
inline Status read_string(const char* data, size_t length, size_t max, const char* name, std::string_view& out) {
  if (data == nullptr && length != 0)
    return invalid(std::string(name) + " is NULL with length " + std::to_string(length));
  if (length > max) {
    return invalid(std::string(name) + " has " + std::to_string(length) + " bytes; the limit is " +
                   std::to_string(max));
  }
  out = data == nullptr ? std::string_view() : std::string_view(data, length);
  return {};
}

// The size-then-fill protocol of base.h for strings and token arrays.
template <class T>
Status write_buffer(const T* source, size_t count, T* out, size_t capacity, size_t* length, const char* name) {
  if (length == nullptr) return invalid(std::string(name) + ": the length pointer is NULL");
  *length = count;
  if (capacity == 0) return {};
  if (out == nullptr) return invalid(std::string(name) + " is NULL with capacity " + std::to_string(capacity));
  if (capacity < count) {
    return Status(Code::kFailedPrecondition, std::string(name) + " has room for " + std::to_string(capacity) +
                                                 ", needed are " + std::to_string(count));
  }
  if (count != 0) std::memcpy(out, source, count * sizeof(T));
  return {};
}

template <size_t N>
void copy_text(char (&out)[N], std::string_view text) {
  const size_t n = text.size() < N - 1 ? text.size() : N - 1;
  std::memcpy(out, text.data(), n);
  out[n] = '\0';
}

}  // namespace merritt::api
