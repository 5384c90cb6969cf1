// SPDX-License-Identifier: Apache-2.0
// Status and Result: how every fallible function inside Merritt answers.
// A Status is one pointer: null means ok, so success costs nothing. A failure carries a code (the numbers of
// merritt/base.h), a message that names what was wrong and how to mend it, an optional retry hint, and the blast
// radius: who else is affected. Nothing in here throws except for want of memory.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace merritt {

enum class Code : int32_t {
  kOk = 0,
  kInvalidArgument = 1,
  kNotFound = 2,
  kPermissionDenied = 3,
  kFailedPrecondition = 4,
  kQuotaExceeded = 5,
  kOverloaded = 6,
  kDeadlineExceeded = 7,
  kCancelled = 8,
  kUnsupported = 9,
  kCorrupt = 10,
  kBackend = 11,
  kOutOfMemory = 12,
  kInternal = 13,
};

enum class Blast : uint32_t { kRequest = 0, kSession = 1, kTenant = 2, kDevice = 3, kProcess = 4 };

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(Code code, std::string message, Blast blast = Blast::kRequest, uint32_t retry_after_ms = 0)
      : detail_(std::make_unique<Detail>(Detail{code, blast, retry_after_ms, std::move(message)})) {
    assert(code != Code::kOk);
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;
  Status(const Status& other) : detail_(other.detail_ ? std::make_unique<Detail>(*other.detail_) : nullptr) {}
  Status& operator=(const Status& other) {
    if (this != &other) detail_ = other.detail_ ? std::make_unique<Detail>(*other.detail_) : nullptr;
    return *this;
  }

  bool ok() const { return detail_ == nullptr; }
  explicit operator bool() const = delete;  // write .ok(): `if (status)` reads both ways
  Code code() const { return detail_ ? detail_->code : Code::kOk; }
  Blast blast() const { return detail_ ? detail_->blast : Blast::kRequest; }
  uint32_t retry_after_ms() const { return detail_ ? detail_->retry_after_ms : 0; }
  std::string_view message() const { return detail_ ? std::string_view(detail_->message) : std::string_view(); }
  // The same failure with `context: ` before its message.
  Status with_context(std::string_view context) && {
    if (detail_) detail_->message.insert(0, std::string(context) + ": ");
    return std::move(*this);
  }

 private:
  struct Detail {
    Code code;
    Blast blast;
    uint32_t retry_after_ms;
    std::string message;
  };
  std::unique_ptr<Detail> detail_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                                  // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT: implicit by design

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace merritt

#define MERRITT_CONCAT_(a, b) a##b
#define MERRITT_CONCAT(a, b) MERRITT_CONCAT_(a, b)
// MERRITT_CHECK(expr): returns the failure of a Status expression from this function.
#define MERRITT_CHECK(expr)                                                                        \
  do {                                                                                             \
    if (::merritt::Status merritt_status_ = (expr); !merritt_status_.ok()) return merritt_status_; \
  } while (0)
// MERRITT_TRY(auto x, expr): x becomes the value of a Result expression, or its failure is returned.
#define MERRITT_TRY_(tmp, decl, ...)             \
  auto tmp = (__VA_ARGS__);                      \
  if (!tmp.ok()) return std::move(tmp).status(); \
  decl = std::move(tmp).value()
#define MERRITT_TRY(decl, ...) MERRITT_TRY_(MERRITT_CONCAT(merritt_result_, __LINE__), decl, __VA_ARGS__)
