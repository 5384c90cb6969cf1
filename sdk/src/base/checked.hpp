// SPDX-License-Identifier: Apache-2.0
// Checked integer arithmetic for numbers that come from a file, a caller or a plugin.
#pragma once
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

namespace merritt {

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T out{};
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) {
  T out{};
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// The next multiple of `to` (a power of two), or nothing when that does not fit.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_align(T value, T to) {
  const auto sum = checked_add<T>(value, static_cast<T>(to - 1));
  if (!sum) return std::nullopt;
  return static_cast<T>(*sum & ~static_cast<T>(to - 1));
}

template <std::integral To, std::integral From>
[[nodiscard]] constexpr std::optional<To> checked_cast(From value) {
  if (!std::in_range<To>(value)) return std::nullopt;
  return static_cast<To>(value);
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr T divide_up(T a, T b) {
  return static_cast<T>(a / b + (a % b != 0));
}

}  // namespace merritt
