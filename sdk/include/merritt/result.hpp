// SPDX-License-Identifier: Apache-2.0
//
// merritt/result.hpp: a value or an Error. Nothing here throws, except value_or_throw() where exceptions are enabled.
// Invariant: exactly one of value and error is there; reading the wrong one is the caller's bug.
#pragma once

#include <optional>
#include <utility>
#include <variant>
#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

#include <merritt/error.hpp>

namespace merritt {
inline namespace v0 {

#if defined(__cpp_exceptions)
// What value_or_throw() throws.
class Exception : public std::runtime_error {
 public:
  explicit Exception(const Error& error)
      : std::runtime_error(error.to_string()), code_(error.code()), retry_after_ms_(error.retry_after_ms()) {}
  [[nodiscard]] Code code() const noexcept { return code_; }
  [[nodiscard]] uint32_t retry_after_ms() const noexcept { return retry_after_ms_; }

 private:
  Code code_;
  uint32_t retry_after_ms_;
};
#endif

template <typename T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): returning a T or an Error is the point.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] T& value() & noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] const T& value() const& noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] T&& value() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  [[nodiscard]] T* operator->() noexcept { return std::get_if<0>(&state_); }
  [[nodiscard]] const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  [[nodiscard]] T& operator*() & noexcept { return value(); }
  [[nodiscard]] const T& operator*() const& noexcept { return value(); }
  [[nodiscard]] T&& operator*() && noexcept { return std::move(*this).value(); }
  [[nodiscard]] const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  [[nodiscard]] Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }
#if defined(__cpp_exceptions)
  T value_or_throw() && {
    if (!ok()) {
      throw Exception(error());
    }
    return std::move(*this).value();
  }
#endif

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() noexcept = default;
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Error error) noexcept : error_(std::move(error)) {}

  [[nodiscard]] bool ok() const noexcept { return error_.code() == Code::kOk; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const Error& error() const& noexcept { return error_; }
  [[nodiscard]] Error&& error() && noexcept { return std::move(error_); }
#if defined(__cpp_exceptions)
  void value_or_throw() && {
    if (!ok()) {
      throw Exception(error_);
    }
  }
#endif

 private:
  Error error_;
};

namespace detail {

// Calls fn(&error) and turns its code into a Result<void>.
template <typename Fn>
[[nodiscard]] Result<void> call(Fn&& fn) {
  merritt_error* error = nullptr;
  const int32_t code = fn(&error);
  if (code != MERRITT_OK) {
    return Error(code, error);
  }
  return {};
}

// Reads a string or array of unknown size: read(data, capacity, &length, &error). The size is asked for first; when it
// has grown by the second call, once more.
template <typename Buffer, typename Fn>
[[nodiscard]] Result<Buffer> read_buffer(Fn&& read) {
  Buffer buffer;
  for (int attempt = 0; attempt < 4; ++attempt) {
    size_t length = 0;
    merritt_error* error = nullptr;
    const int32_t code = read(buffer.data(), buffer.size(), &length, &error);
    if (code == MERRITT_OK && length <= buffer.size()) {
      buffer.resize(length);
      return buffer;
    }
    const bool too_small = length > buffer.size() && (code == MERRITT_OK || code == MERRITT_FAILED_PRECONDITION);
    if (!too_small) {
      return Error(code, error);
    }
    merritt_error_release(error);
    buffer.resize(length);
  }
  return Error(Code::kInternal, "the size of the answer kept changing");
}

// Owns one handle of the C ABI. Destroying a handle whose parent is gone is harmless, so the order does not matter.
template <typename Raw, int32_t (*kDestroy)(Raw, merritt_error**)>
class Handle {
 public:
  Handle() noexcept = default;
  explicit Handle(Raw raw) noexcept : raw_(raw) {}
  Handle(Handle&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { close(); }

  // The handle for calls of the C ABI; still owned here.
  [[nodiscard]] Raw capi() const noexcept { return raw_; }
  explicit operator bool() const noexcept { return raw_ != nullptr; }
  // Destroys now instead of at the end of the scope.
  void close() noexcept {
    if (raw_ != nullptr) {
      static_cast<void>(kDestroy(std::exchange(raw_, nullptr), nullptr));
    }
  }
  // Gives the handle up; the caller destroys it.
  [[nodiscard]] Raw release() noexcept { return std::exchange(raw_, nullptr); }

 protected:
  Raw raw_ = nullptr;
};

}  // namespace detail
}  // namespace v0
}  // namespace merritt
