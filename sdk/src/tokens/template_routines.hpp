// SPDX-License-Identifier: Apache-2.0
// The filters, tests, methods and functions that templates may call. The parser looks them up and sorts the arguments
// into the order of the parameters, so that an unknown name, a surplus argument and an unknown keyword are refused at
// compile.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.hpp"
#include "tokens/template_meter.hpp"
#include "tokens/template_value.hpp"

namespace merritt::tokens {

struct Call {
  std::string_view name;
  const Value& value;                       // what the filter, test or method is applied to; undefined for a function
  std::span<const Value* const> arguments;  // one for each parameter; null = not given
  Meter& meter;
  int64_t unix_seconds;

  const Value* argument(size_t i) const { return i < arguments.size() ? arguments[i] : nullptr; }
};

struct Routine {
  static constexpr size_t kParametersMax = 4;

  std::string_view name;
  // Python's names, in order: with a leading '/' by position only, with '=' by name only; the unused ones are empty.
  std::string_view parameters[kParametersMax];
  uint8_t required;  // how many of them must be given
  Result<Value> (*run)(const Call&);
  bool takes_safe = false;  // means the same for what the filter 'safe' made
  bool any_names = false;   // takes keywords of any name and nothing by position: namespace(), dict()

  size_t parameter_count() const {
    size_t n = 0;
    while (n < kParametersMax && !parameters[n].empty()) ++n;
    return n;
  }
};

// Null = there is none.
const Routine* find_filter(std::string_view name);
const Routine* find_test(std::string_view name);
const Routine* find_method(std::string_view name);
const Routine* find_function(std::string_view name);

// object.key (dotted) or object[key], as Jinja's sandbox looks them up; undefined if there is no such thing.
Result<Value> member(const Value& object, const Value& key, bool dotted, Meter& meter);
// `left` op `right` for the operators of arithmetic, comparison and containment.
Result<Value> arithmetic(std::string_view op, Value left, const Value& right, Meter& meter);
Result<bool> compare(std::string_view op, const Value& left, const Value& right, Meter& meter);

// Jinja escapes what meets a safe text; nothing here does, so such a meeting is refused.
Status check_not_safe(std::string_view what, const Value& value);
Status wrong_type(std::string_view what, const Value& value);
// The argument as a text, a whole number or a truth value; refused when it is something else.
Result<std::string_view> text_argument(const Call& call, size_t i);
Result<int64_t> int_argument(const Call& call, size_t i, int64_t otherwise);

// Shared by filters and methods.
Result<Value> replace_text(std::string_view text, const Call& call, std::string_view from, std::string_view to);
Result<Value> items_view(const Value& value, Meter& meter, Value::Kind kind);
// strftime in UTC for the letters Y y m d H M S B b A a and %%; others are refused.
Result<std::string> format_time(std::string_view format, int64_t unix_seconds);

}  // namespace merritt::tokens
