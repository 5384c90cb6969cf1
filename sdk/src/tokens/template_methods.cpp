// SPDX-License-Identifier: Apache-2.0
// Methods of strings and dicts, and the functions, as Python and transformers define them.
#include <algorithm>

#include "tokens/template_routines.hpp"
#include "tokens/template_text.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

Result<std::string_view> self_text(const Call& call) {
  if (call.value.is(Kind::kString)) {
    // Methods of texts look at all of it and make at most as much.
    MERRITT_CHECK(call.meter.pay_bytes(2 * call.value.as_text().size()));
    return std::string_view(call.value.as_text());
  }
  return wrong_type("." + std::string(call.name) + "()", call.value);
}

Result<Value> method_strip(const Call& call) {
  MERRITT_TRY(const std::string_view text, self_text(call));
  const bool left = call.name != "rstrip", right = call.name != "lstrip";
  const Value* chars = call.argument(0);
  if (chars == nullptr || chars->is(Kind::kNone)) return Value::text(strip(text, nullptr, left, right));
  MERRITT_TRY(const std::string_view set, text_argument(call, 0));
  MERRITT_CHECK(call.meter.pay_bytes(2 * set.size()));
  return Value::text(strip(text, &set, left, right));
}

Result<Value> method_case(const Call& call) {
  MERRITT_TRY(const std::string_view text, self_text(call));
  if (call.name == "upper") return Value::text(to_upper(text));
  if (call.name == "lower") return Value::text(to_lower(text));
  return Value::text(call.name == "title" ? title(text) : capitalize(text));
}

Status push_part(std::string_view part, Meter& meter, ValueList& parts) {
  MERRITT_CHECK(meter.pay_bytes(64 + part.size()));
  parts.push_back(Value::text(part));
  return {};
}

Result<Value> split_at_blanks(std::string_view text, int64_t most, Meter& meter) {
  ValueList parts;
  for (text = strip(text, nullptr, true, false); !text.empty(); text = strip(text, nullptr, true, false)) {
    size_t end = 0;
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      end = text.size();  // all that is left, without the blanks at its start
    } else {
      while (end < text.size() && !is_space(first_char(text.substr(end)).code))
        end += first_char(text.substr(end)).bytes;
    }
    MERRITT_CHECK(push_part(text.substr(0, end), meter, parts));
    text.remove_prefix(end);
  }
  return Value::list(std::move(parts));
}

Result<Value> method_split(const Call& call) {
  MERRITT_TRY(const std::string_view text, self_text(call));
  MERRITT_TRY(const int64_t most, int_argument(call, 1, -1));
  if (call.argument(0) == nullptr || call.argument(0)->is(Kind::kNone)) return split_at_blanks(text, most, call.meter);
  MERRITT_TRY(const std::string_view separator, text_argument(call, 0));
  if (separator.empty()) return Status(Code::kInvalidArgument, ".split() needs a separator that is not empty");
  MERRITT_CHECK(call.meter.pay_bytes(separator.size()));
  ValueList parts;
  for (size_t at = 0;;) {
    const bool done = most >= 0 && static_cast<int64_t>(parts.size()) == most;
    const size_t next = done ? std::string_view::npos : find_text(text, separator, at);
    MERRITT_CHECK(push_part(text.substr(at, next == std::string_view::npos ? next : next - at), call.meter, parts));
    if (next == std::string_view::npos) return Value::list(std::move(parts));
    at = next + separator.size();
  }
}

// startswith and endswith take a text or a tuple of texts.
Result<Value> method_ends(const Call& call) {
  if (!call.value.is(Kind::kString)) return wrong_type("." + std::string(call.name) + "()", call.value);
  const std::string_view text = call.value.as_text();
  const Value& given = *call.argument(0);
  const ValueList one = {given};
  const ValueList& all = given.is(Kind::kTuple) ? given.items() : one;
  for (const Value& each : all) {
    if (!each.is(Kind::kString)) return wrong_type("." + std::string(call.name) + "()", each);
    MERRITT_CHECK(call.meter.pay_bytes(64 + each.as_text().size()));
    if (call.name == "startswith" ? text.starts_with(each.as_text()) : text.ends_with(each.as_text())) {
      return Value::boolean(true);
    }
  }
  return Value::boolean(false);
}

Result<Value> method_replace(const Call& call) {
  MERRITT_TRY(const std::string_view text, self_text(call));
  MERRITT_TRY(const std::string_view from, text_argument(call, 0));
  MERRITT_TRY(const std::string_view to, text_argument(call, 1));
  return replace_text(text, call, from, to);
}

Result<Value> method_find(const Call& call) {
  MERRITT_TRY(const std::string_view text, self_text(call));
  MERRITT_TRY(const std::string_view needle, text_argument(call, 0));
  MERRITT_CHECK(call.meter.pay_bytes(needle.size()));
  if (call.name == "count") {
    if (needle.empty()) return Value::integer(static_cast<int64_t>(count_chars(text)) + 1);
    int64_t n = 0;
    for (size_t at = find_text(text, needle); at != std::string_view::npos; ++n) {
      at = find_text(text, needle, at + needle.size());
    }
    return Value::integer(n);
  }
  const size_t at = find_text(text, needle);
  return Value::integer(at == std::string_view::npos ? -1 : static_cast<int64_t>(count_chars(text.substr(0, at))));
}

Status need_dict(const Call& call) {
  return call.value.is(Kind::kDict) ? Status() : wrong_type("." + std::string(call.name) + "()", call.value);
}

Result<Value> method_get(const Call& call) {
  MERRITT_CHECK(need_dict(call));
  if (call.argument(0)->is(Kind::kString)) {
    MERRITT_TRY(const Value* found, find_entry(call.value, call.argument(0)->as_text(), call.meter));
    if (found != nullptr) return *found;
  }
  return call.argument(1) != nullptr ? *call.argument(1) : Value::none();
}

Result<Value> method_view(const Call& call) {
  MERRITT_CHECK(need_dict(call));
  if (call.name == "items") return items_view(call.value, call.meter, Kind::kView);
  ValueList out;
  for (const auto& [key, entry] : call.value.entries()) {
    MERRITT_CHECK(call.meter.pay_bytes(64 + key.size()));
    out.push_back(call.name == "keys" ? Value::text(key) : entry);
  }
  return Value::list(std::move(out), Kind::kView);
}

Result<Value> call_raise(const Call& call) {
  MERRITT_TRY(const std::string text, to_text(*call.argument(0), call.meter));
  return Status(Code::kInvalidArgument, "the template says: " + text);
}

Result<Value> call_time(const Call& call) {
  MERRITT_TRY(const std::string_view format, text_argument(call, 0));
  MERRITT_CHECK(call.meter.pay_bytes(8 * format.size()));
  MERRITT_TRY(std::string text, format_time(format, call.unix_seconds));
  return Value::text(std::move(text));
}

Result<Value> call_range(const Call& call) {
  constexpr int64_t kMost = 100'000;  // as Jinja's sandbox
  MERRITT_TRY(int64_t first, int_argument(call, 0, 0));
  MERRITT_TRY(int64_t last, int_argument(call, 1, 0));
  MERRITT_TRY(const int64_t by, int_argument(call, 2, 1));
  if (call.argument(1) == nullptr) std::swap(first, last);
  if (by == 0) return Status(Code::kInvalidArgument, "range() with a step of 0");
  ValueList numbers;
  while (by > 0 ? first < last : first > last) {
    if (static_cast<int64_t>(numbers.size()) == kMost) {
      return Status(Code::kInvalidArgument, "range() makes more than " + std::to_string(kMost) + " numbers");
    }
    MERRITT_CHECK(call.meter.pay());
    numbers.push_back(Value::integer(first));
    if (__builtin_add_overflow(first, by, &first)) break;
  }
  return Value::list(std::move(numbers), Kind::kRange);
}

// The entries stand in the value: the renderer has gathered them, as only it knows their names.
Result<Value> call_entries(const Call& call) {
  return Value::dict(call.value.is(Kind::kDict) ? call.value.entries() : ValueDict(),
                     call.name == "dict" ? Kind::kDict : Kind::kNamespace);
}

constexpr Routine kMethods[] = {
    {"capitalize", {}, 0, method_case},
    {"count", {"/sub"}, 1, method_find},
    {"endswith", {"/suffix"}, 1, method_ends},
    {"find", {"/sub"}, 1, method_find},
    {"get", {"/key", "/default"}, 1, method_get},
    {"items", {}, 0, method_view},
    {"keys", {}, 0, method_view},
    {"lower", {}, 0, method_case},
    {"lstrip", {"/chars"}, 0, method_strip},
    {"replace", {"/old", "/new", "/count"}, 2, method_replace},
    {"rstrip", {"/chars"}, 0, method_strip},
    {"split", {"sep", "maxsplit"}, 0, method_split},
    {"startswith", {"/prefix"}, 1, method_ends},
    {"strip", {"/chars"}, 0, method_strip},
    {"title", {}, 0, method_case},
    {"upper", {}, 0, method_case},
    {"values", {}, 0, method_view},
};

constexpr Routine kFunctions[] = {
    {"dict", {}, 0, call_entries, /*takes_safe=*/true, /*any_names=*/true},
    {"namespace", {}, 0, call_entries, /*takes_safe=*/true, /*any_names=*/true},
    {"raise_exception", {"message"}, 1, call_raise},
    {"range", {"/start", "/stop", "/step"}, 1, call_range},
    {"strftime_now", {"format"}, 1, call_time},
};

template <size_t N>
const Routine* find_in(const Routine (&table)[N], std::string_view name) {
  const auto* found =
      std::find_if(std::begin(table), std::end(table), [&](const Routine& r) { return r.name == name; });
  return found == std::end(table) ? nullptr : found;
}

}  // namespace

const Routine* find_method(std::string_view name) { return find_in(kMethods, name); }
const Routine* find_function(std::string_view name) { return find_in(kFunctions, name); }

}  // namespace merritt::tokens
