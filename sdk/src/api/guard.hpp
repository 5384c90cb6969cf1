// SPDX-License-Identifier: Apache-2.0
// The edge of the C ABI: every entry point is one guard() around a function that returns Status. The guard turns the
// Status into a code and an owned merritt_error, and catches everything, so that nothing but codes leaves the library.
#pragma once

#include <algorithm>
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

// Errors that are there before anything fails, for when there is no memory for another or nothing can be trusted any
// more; released by doing nothing.
merritt_error* out_of_memory_error() noexcept;
merritt_error* internal_error(Blast blast) noexcept;

// Fails closed: the handle answers internal from here on and can only be destroyed, and a tenant admits nothing more.
// Answers who is affected. An engine is not poisoned: what was being made for it has been thrown away, and one
// caller's bad file must not end everybody's work. (api/engine_table.cpp)
Blast poison(uint64_t handle_bits) noexcept;

inline int32_t report_fixed(merritt_error* fixed, merritt_error** error) noexcept {
  if (error != nullptr) *error = fixed;
  return merritt_error_code(fixed);
}

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
    return report_fixed(out_of_memory_error(), error);
  }
  return static_cast<int32_t>(status.code());
}

// `handle` is the object that pays when an invariant breaks. Want of memory breaks none: whatever the body had begun is
// undone by its destructors.
template <class Public, class Body>
int32_t guard(Public handle, merritt_error** error, Body&& body) noexcept {
  try {
    return report(body(), error);
  } catch (const std::bad_alloc&) {
    return report_fixed(out_of_memory_error(), error);
  } catch (...) {
    return report_fixed(internal_error(poison(reinterpret_cast<uintptr_t>(handle))), error);
  }
}

inline Status invalid(std::string message) { return Status(Code::kInvalidArgument, std::move(message)); }

inline constexpr uint32_t kStructBytesMax = 4096;  // above any struct this ABI will have

// A size that cannot be one is refused before anything is read or written. That of every version is a multiple of the
// alignment, so what passes here never ends in the middle of a pointer.
template <class Struct>
Status check_struct_size(uint32_t size, const char* name) {
  if (size >= sizeof(uint32_t) && size <= kStructBytesMax && size % alignof(Struct) == 0) return {};
  return invalid(std::string(name) + ".struct_size is " + std::to_string(size) + "; set it to sizeof(" + name + ")");
}

// A field that this library does not know may not be asked for.
inline Status check_tail(const void* in, size_t known, size_t size, const char* name) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  for (size_t i = known; i < size; ++i) {
    if (bytes[i] != 0) {
      return Status(Code::kUnsupported, std::string(name) + " has a field at byte " + std::to_string(i) +
                                            " that this library (" + merritt_version_string() + ") does not know");
    }
  }
  return {};
}

// Reads an option struct of a caller built against an older or newer header into this library's own. Absent = defaults.
template <class Options>
Status read_options(const Options* in, const char* name, Options& out) {
  static_assert(std::is_trivially_copyable_v<Options>);
  std::memset(&out, 0, sizeof(out));
  out.struct_size = sizeof(out);
  if (in == nullptr) return {};
  uint32_t size = 0;
  std::memcpy(&size, in, sizeof(size));
  MERRITT_CHECK(check_struct_size<Options>(size, name));
  std::memcpy(&out, in, size < sizeof(out) ? size : sizeof(out));
  out.struct_size = sizeof(out);
  return check_tail(in, sizeof(out), size, name);
}

// An array whose caller says how far apart its entries are; they may be of an older or a newer header, as options may.
// kFirstBytes is sizeof(Entry) in 0.1, which is what a stride of 0 means.
template <class Entry, uint32_t kFirstBytes>
class EntryReader {
 public:
  static_assert(std::is_trivially_copyable_v<Entry> && kFirstBytes <= sizeof(Entry));

  static Result<EntryReader> open(const Entry* entries, size_t count, uint32_t stride, const char* name) {
    if (entries == nullptr && count != 0)
      return invalid(std::string(name) + " is NULL with " + std::to_string(count) + " entries");
    if (stride != 0 && (stride < kFirstBytes || stride > kStructBytesMax || stride % alignof(Entry) != 0)) {
      return invalid("the stride of " + std::string(name) + " is " + std::to_string(stride) +
                     "; set it to the sizeof of one entry");
    }
    return EntryReader(entries, stride == 0 ? kFirstBytes : stride, name);
  }
  Status read(size_t index, Entry& out) const {
    const char* at = reinterpret_cast<const char*>(entries_) + index * stride_;
    std::memset(&out, 0, sizeof(out));
    std::memcpy(&out, at, stride_ < sizeof(out) ? stride_ : sizeof(out));
    return check_tail(at, sizeof(out), stride_, name_);
  }

 private:
  EntryReader(const Entry* entries, size_t stride, const char* name)
      : entries_(entries), stride_(stride), name_(name) {}
  const Entry* entries_;
  size_t stride_;
  const char* name_;
};

// Writes a result struct up to the size the caller has, and zero beyond what this library knows; the caller's
// struct_size stays.
template <class Info>
Status write_info(const Info& info, const char* name, Info* out) {
  if (out == nullptr) return invalid(std::string(name) + " out is NULL");
  uint32_t size = 0;
  std::memcpy(&size, out, sizeof(size));
  MERRITT_CHECK(check_struct_size<Info>(size, name));
  const size_t bytes = size < sizeof(Info) ? size : sizeof(Info);
  if (bytes > sizeof(uint32_t)) {
    std::memcpy(reinterpret_cast<char*>(out) + sizeof(uint32_t),
                reinterpret_cast<const char*>(&info) + sizeof(uint32_t), bytes - sizeof(uint32_t));
  }
  std::memset(reinterpret_cast<char*>(out) + bytes, 0, size - bytes);
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
  std::copy_n(source, count, out);
  return {};
}

template <size_t N>
void copy_text(char (&out)[N], std::string_view text) {
  const size_t n = text.size() < N - 1 ? text.size() : N - 1;
  std::memcpy(out, text.data(), n);
  out[n] = '\0';
}

}  // namespace merritt::api
