// SPDX-License-Identifier: Apache-2.0
//
// merritt/error.hpp: the codes of the C ABI as a C++ type, and an owned error. Thread rule: an Error is a value; one
// thread at a time. Invariant: an Error never holds Code::kOk unless default-constructed or moved from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <merritt/base.h>

// The inline namespace names the version of these headers, so that objects built against two of them can be linked
// into one program.
namespace merritt {
inline namespace v0 {

enum class Code : int32_t {
  kOk = MERRITT_OK,
  kInvalidArgument = MERRITT_INVALID_ARGUMENT,
  kNotFound = MERRITT_NOT_FOUND,
  kPermissionDenied = MERRITT_PERMISSION_DENIED,
  kFailedPrecondition = MERRITT_FAILED_PRECONDITION,
  kQuotaExceeded = MERRITT_QUOTA_EXCEEDED,
  kOverloaded = MERRITT_OVERLOADED,
  kDeadlineExceeded = MERRITT_DEADLINE_EXCEEDED,
  kCancelled = MERRITT_CANCELLED,
  kUnsupported = MERRITT_UNSUPPORTED,
  kCorrupt = MERRITT_CORRUPT,
  kBackend = MERRITT_BACKEND,
  kOutOfMemory = MERRITT_OUT_OF_MEMORY,
  kInternal = MERRITT_INTERNAL,
};

enum class Blast : uint32_t {
  kRequest = MERRITT_BLAST_REQUEST,
  kSession = MERRITT_BLAST_SESSION,
  kTenant = MERRITT_BLAST_TENANT,
  kDevice = MERRITT_BLAST_DEVICE,
  kProcess = MERRITT_BLAST_PROCESS,
};

// "invalid_argument" and so on.
[[nodiscard]] inline const char* name(Code code) noexcept { return merritt_code_name(static_cast<int32_t>(code)); }

class [[nodiscard]] Error {
 public:
  Error() noexcept = default;
  // Takes ownership of `details`, which may be null.
  Error(int32_t code, merritt_error* details) noexcept : code_(code), details_(details) {}
  // An error made on this side of the ABI; `text` must be a literal or live as long as the error.
  Error(Code code, const char* text) noexcept : code_(static_cast<int32_t>(code)), text_(text) {}
  Error(Error&& other) noexcept
      : code_(std::exchange(other.code_, MERRITT_OK)),
        details_(std::exchange(other.details_, nullptr)),
        text_(std::exchange(other.text_, nullptr)) {}
  Error& operator=(Error&& other) noexcept {
    std::swap(code_, other.code_);
    std::swap(details_, other.details_);
    std::swap(text_, other.text_);
    return *this;
  }
  Error(const Error&) = delete;
  Error& operator=(const Error&) = delete;
  ~Error() { merritt_error_release(details_); }

  [[nodiscard]] Code code() const noexcept { return static_cast<Code>(code_); }
  // Terminated, lives as long as the error; the code's name when there is nothing more to say.
  [[nodiscard]] const char* message() const noexcept {
    if (text_ != nullptr) {
      return text_;
    }
    const char* text = merritt_error_message(details_);
    return text[0] != '\0' ? text : merritt_code_name(code_);
  }
  // Milliseconds after which a retry may succeed; 0 = no hint.
  [[nodiscard]] uint32_t retry_after_ms() const noexcept { return merritt_error_retry_after_ms(details_); }
  [[nodiscard]] Blast blast() const noexcept { return static_cast<Blast>(merritt_error_blast(details_)); }
  [[nodiscard]] const merritt_error* capi() const noexcept { return details_; }
  // "not_found: no such file ..." for logs.
  [[nodiscard]] std::string to_string() const { return std::string(name(code())) + ": " + message(); }

 private:
  int32_t code_ = MERRITT_OK;
  merritt_error* details_ = nullptr;
  const char* text_ = nullptr;
};

}  // namespace v0
}  // namespace merritt
