// SPDX-License-Identifier: Apache-2.0
// Errors, codes and the version.
#include <array>

#include "api/guard.hpp"

namespace merritt::api {
namespace {

struct FixedError {
  int32_t code;
  uint32_t blast;
  const char* message;
};
// Constant, never freed: their addresses mark them for the getters and for merritt_error_release. The first is for want
// of memory, the others are in the order of MERRITT_BLAST_*.
constinit const std::array<FixedError, 6> kFixed = {{
    {MERRITT_OUT_OF_MEMORY, MERRITT_BLAST_REQUEST, "out of memory"},
    {MERRITT_INTERNAL, MERRITT_BLAST_REQUEST,
     "internal error: this call could not be completed, nothing was kept of it"},
    {MERRITT_INTERNAL, MERRITT_BLAST_SESSION, "internal error: the session can only be destroyed from now on"},
    {MERRITT_INTERNAL, MERRITT_BLAST_TENANT, "internal error: the tenant can only be destroyed from now on"},
    {MERRITT_INTERNAL, MERRITT_BLAST_DEVICE, "internal error: the model can only be destroyed from now on"},
    {MERRITT_INTERNAL, MERRITT_BLAST_PROCESS, "internal error"},
}};

merritt_error* as_error(const FixedError& fixed) {
  return const_cast<merritt_error*>(reinterpret_cast<const merritt_error*>(&fixed));
}

const FixedError* fixed_of(const merritt_error* error) {
  for (const FixedError& fixed : kFixed) {
    if (error == as_error(fixed)) return &fixed;
  }
  return nullptr;
}

}  // namespace

merritt_error* out_of_memory_error() noexcept { return as_error(kFixed[0]); }
merritt_error* internal_error(Blast blast) noexcept { return as_error(kFixed[1 + static_cast<uint32_t>(blast)]); }

}  // namespace merritt::api

using merritt::api::fixed_of;

extern "C" {

int32_t merritt_error_code(const merritt_error* error) {
  if (error == nullptr) return MERRITT_OK;
  const auto* fixed = fixed_of(error);
  return fixed != nullptr ? fixed->code : error->code;
}

const char* merritt_error_message(const merritt_error* error) {
  if (error == nullptr) return "";
  const auto* fixed = fixed_of(error);
  return fixed != nullptr ? fixed->message : error->message.c_str();
}

uint32_t merritt_error_retry_after_ms(const merritt_error* error) {
  return error == nullptr || fixed_of(error) != nullptr ? 0 : error->retry_after_ms;
}

uint32_t merritt_error_blast(const merritt_error* error) {
  if (error == nullptr) return MERRITT_BLAST_REQUEST;
  const auto* fixed = fixed_of(error);
  return fixed != nullptr ? fixed->blast : error->blast;
}

void merritt_error_release(merritt_error* error) {
  if (error != nullptr && fixed_of(error) == nullptr) delete error;
}

uint32_t merritt_version(void) {
  return (MERRITT_VERSION_MAJOR << 16) | (MERRITT_VERSION_MINOR << 8) | MERRITT_VERSION_PATCH;
}

#define MERRITT_TEXT_OF(x) #x
#define MERRITT_VERSION_TEXT(major, minor, patch) \
  MERRITT_TEXT_OF(major) "." MERRITT_TEXT_OF(minor) "." MERRITT_TEXT_OF(patch)

const char* merritt_version_string(void) {
  return MERRITT_VERSION_TEXT(MERRITT_VERSION_MAJOR, MERRITT_VERSION_MINOR, MERRITT_VERSION_PATCH);
}

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
