// SPDX-License-Identifier: Apache-2.0
// Filters, tests and string methods of chat templates, as functions on values.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.hpp"
#include "tokens/template_value.hpp"

namespace merritt::tokens {

struct Argument {
  std::string_view name;  // empty = by position
  Value value;
};
// The n-th positional argument or the one called `name`; null = not given.
const Value* argument(std::span<const Argument> arguments, size_t n, std::string_view name);

Result<Value> apply_filter(std::string_view name, const Value& value, std::span<const Argument> arguments);
Result<bool> apply_test(std::string_view name, const Value& value);
Result<Value> apply_method(std::string_view name, const Value& value, std::span<const Argument> arguments);
// strftime in UTC for the letters Y m d H M S b B a A j y e p I; others are refused.
Result<std::string> format_time(std::string_view format, int64_t unix_seconds);

}  // namespace merritt::tokens
