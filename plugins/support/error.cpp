// SPDX-License-Identifier: Apache-2.0
#include "support/error.hpp"

#include <cstdio>
#include <cstring>
#include <new>

namespace merritt::plugin {
namespace {

int32_t fill(mrt_error* err, int32_t code, uint32_t blast, uint32_t index, const char* format, va_list args) noexcept {
  err->code = code;
  err->blast = blast;
  err->index = index;
  err->reserved = 0;
  err->native = 0;
  if (std::vsnprintf(err->message, sizeof err->message, format, args) < 0) err->message[0] = 0;
  return code;
}

}  // namespace

int32_t fail(mrt_error* err, int32_t code, uint32_t blast, uint32_t index, const char* format, ...) noexcept {
  va_list args;
  va_start(args, format);
  fill(err, code, blast, index, format, args);
  va_end(args);
  return code;
}

int32_t fail_call(mrt_error* err, int32_t code, const char* format, ...) noexcept {
  va_list args;
  va_start(args, format);
  fill(err, code, MRT_BLAST_CALL, kNoIndex, format, args);
  va_end(args);
  return code;
}

int32_t fail_sequence(mrt_error* err, int32_t code, uint32_t index, const char* format, ...) noexcept {
  va_list args;
  va_start(args, format);
  fill(err, code, MRT_BLAST_SEQUENCE, index, format, args);
  va_end(args);
  return code;
}

int32_t fail_memory(mrt_error* err, const char* what, uint64_t bytes) noexcept {
  return fail_call(err, MRT_OUT_OF_MEMORY, "the host's budget does not hold %llu bytes of %s",
                   static_cast<unsigned long long>(bytes), what);
}

int32_t fail_from_exception(mrt_error* err) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return fail_call(err, MRT_OUT_OF_MEMORY, "the plugin ran out of memory for its own bookkeeping");
  } catch (const std::exception& e) {
    return fail_call(err, MRT_INTERNAL, "the plugin threw: %s", e.what());
  } catch (...) {
    return fail_call(err, MRT_INTERNAL, "the plugin threw something that is not an exception");
  }
}

void copy_text(char* to, uint64_t to_bytes, const char* from) noexcept {
  if (to_bytes == 0) return;
  const uint64_t n = strnlen(from, to_bytes - 1);
  std::memcpy(to, from, n);
  to[n] = 0;
}

int32_t take_bytes(const void* in, uint32_t known, void* out, const char* name, mrt_error* err) noexcept {
  if (in == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "%s is null", name);
  uint32_t size = 0;
  std::memcpy(&size, in, sizeof size);
  if (size < sizeof size || size > 65536) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "%s: struct_size %u is not a size", name, size);
  }
  const auto* bytes = static_cast<const unsigned char*>(in);
  for (uint32_t i = known; i < size; ++i) {
    if (bytes[i] != 0) {
      return fail_call(err, MRT_UNSUPPORTED, "%s: byte %u is set and not known to this plugin (it knows %u)", name, i,
                       known);
    }
  }
  std::memset(out, 0, known);
  std::memcpy(out, in, size < known ? size : known);
  return MRT_OK;
}

int32_t give_bytes(const void* value, uint32_t known, void* out, const char* name, mrt_error* err) noexcept {
  if (out == nullptr) return fail_call(err, MRT_INVALID_ARGUMENT, "%s is null", name);
  uint32_t size = 0;
  std::memcpy(&size, out, sizeof size);
  if (size < sizeof size || size > 65536) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "%s: struct_size %u is not a size", name, size);
  }
  std::memcpy(out, value, size < known ? size : known);
  if (size > known) std::memset(static_cast<unsigned char*>(out) + known, 0, size - known);
  std::memcpy(out, &size, sizeof size);
  return MRT_OK;
}

}  // namespace merritt::plugin
