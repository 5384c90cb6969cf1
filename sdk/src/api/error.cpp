// SPDX-License-Identifier: Apache-2.0
// Errors, codes and the version.
#include "api/guard.hpp"

namespace merritt::api {

merritt_error* out_of_memory_error() noexcept {
  // Never freed: its address marks it for merritt_error_release. Constant-initialised storage, no destructor runs.
  alignas(merritt_error) static char storage[1];
  return reinterpret_cast<merritt_error*>(storage);
}

namespace {
bool is_out_of_memory(const merritt_error* error) { return error == out_of_memory_error(); }
}  // namespace

}  // namespace merritt::api

using merritt::api::is_out_of_memory;

extern "C" {

int32_t merritt_error_code(const merritt_error* error) {
  if (error == nullptr) return MERRITT_OK;
  return is_out_of_memory(error) ? MERRITT_OUT_OF_MEMORY : error->code;
}

const char* merritt_error_message(const merritt_error* error) {
  if (error == nullptr) return "";
  return is_out_of_memory(error) ? "out of memory" : error->message.c_str();
}

uint32_t merritt_error_retry_after_ms(const merritt_error* error) {
  return error == nullptr || is_out_of_memory(error) ? 0 : error->retry_after_ms;
}

uint32_t merritt_error_blast(const merritt_error* error) {
  return error == nullptr || is_out_of_memory(error) ? MERRITT_BLAST_REQUEST : error->blast;
}

void merritt_error_release(merritt_error* error) {
  if (error != nullptr && !is_out_of_memory(error)) delete error;
}

uint32_t merritt_version(void) {
  return (MERRITT_VERSION_MAJOR << 16) | (MERRITT_VERSION_MINOR << 8) | MERRITT_VERSION_PATCH;
}

const char* merritt_version_string(void) { return "0.1.0"; }

const char* merritt_code_name(int32_t code) {
  static constexpr const char* kNames[] = {"ok",
                                           "invalid_argument",
                                           "not_found",
                                           "permission_denied",
                                           "failed_precondition",
                                           "quota_exceeded",
                                           "overloaded",
                                           "deadline_exceeded",
                                           "cancelled",
                                           "unsupported",
                                           "corrupt",
                                           "backend",
                                           "out_of_memory",
                                           "internal"};
  return code >= 0 && code < static_cast<int32_t>(std::size(kNames)) ? kNames[code] : "unknown";
}

}  // extern "C"
