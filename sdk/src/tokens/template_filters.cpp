// SPDX-License-Identifier: Apache-2.0
// Filters, with the parameters and the meaning that Jinja and transformers give them.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokens/template_routines.hpp"
#include "tokens/template_text.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

Result<Value> filter_trim(const Call& call) {
  MERRITT_TRY(const std::string text, to_text(call.value, call.meter));
  const Value* chars = call.argument(0);
  if (chars == nullptr || chars->is(Kind::kNone)) return Value::text(strip(text, nullptr, true, true));
  MERRITT_TRY(const std::string_view set, text_argument(call, 0));
  MERRITT_CHECK(call.meter.pay_bytes(set.size()));
  return Value::text(strip(text, &set, true, true));
}

Result<Value> filter_case(const Call& call) {
  MERRITT_TRY(const std::string text, to_text(call.value, call.meter));
  MERRITT_CHECK(call.meter.pay_bytes(2 * text.size()));
  if (call.name == "upper") return Value::text(to_upper(text));
  return Value::text(call.name == "lower" ? to_lower(text) : capitalize(text));
}

Result<Value> filter_string(const Call& call) {
  if (call.value.is(Kind::kString)) return call.value;
  MERRITT_TRY(std::string text, to_text(call.value, call.meter));
  return Value::text(std::move(text));
}

Result<Value> filter_safe(const Call& call) {
  MERRITT_TRY(std::string text, to_text(call.value, call.meter));
  return Value::safe_text(std::move(text));
}

Result<Value> filter_length(const Call& call) {
  const Value& value = call.value;
  if (value.is(Kind::kUndefined)) return Value::integer(0);
  if (value.is(Kind::kString)) {
    MERRITT_CHECK(call.meter.pay_bytes(value.as_text().size()));
    return Value::integer(static_cast<int64_t>(count_chars(value.as_text())));
  }
  if (value.is(Kind::kDict)) return Value::integer(static_cast<int64_t>(value.entries().size()));
  if (!value.has_items() || value.is(Kind::kGenerator)) return wrong_type("the filter 'length'", value);
  return Value::integer(static_cast<int64_t>(value.items().size()));
}

Result<Value> filter_default(const Call& call) {
  const Value *other = call.argument(0), *boolean = call.argument(1);
  const bool take =
      call.value.is(Kind::kUndefined) || (boolean != nullptr && boolean->truthy() && !call.value.truthy());
  if (!take) return call.value;
  return other == nullptr ? Value::text(std::string()) : *other;
}

// transformers' own tojson: (value, ensure_ascii, indent, separators, sort_keys), and no escapes for HTML.
Result<Value> filter_tojson(const Call& call) {
  JsonStyle style;
  style.ascii = call.argument(0) != nullptr && call.argument(0)->truthy();
  style.sort_keys = call.argument(3) != nullptr && call.argument(3)->truthy();
  if (const Value* indent = call.argument(1); indent != nullptr && !indent->is(Kind::kNone)) {
    if (!indent->is(Kind::kInt) || indent->as_int() < 0 || indent->as_int() > 16) {
      return Status(Code::kUnsupported, "tojson with an indent that is not 0 to 16 is not supported");
    }
    style.indent = static_cast<int>(indent->as_int());
    style.item_separator = ",";
  }
  if (const Value* both = call.argument(2); both != nullptr && !both->is(Kind::kNone)) {
    if (!both->has_items() || both->items().size() != 2 || !both->items()[0].is(Kind::kString) ||
        !both->items()[1].is(Kind::kString)) {
      return Status(Code::kInvalidArgument, "tojson's separators are two strings");
    }
    style.item_separator = both->items()[0].as_text();
    style.key_separator = both->items()[1].as_text();
  }
  std::string out;
  MERRITT_CHECK(append_json(call.value, style, 0, call.meter, out));
  return Value::text(std::move(out));
}

// Where 'attribute' leads, with dots between its parts.
Result<Value> attribute_of(Value item, std::string_view path, Meter& meter) {
  for (;;) {
    const size_t dot = path.find('.');
    const std::string_view part = path.substr(0, dot);
    const bool number = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    int64_t index = 0;
    if (number) std::from_chars(part.data(), part.data() + part.size(), index);
    MERRITT_TRY(item, member(item, number ? Value::integer(index) : Value::text(part), false, meter));
    if (dot == std::string_view::npos) return item;
    path.remove_prefix(dot + 1);
  }
}

Result<Value> filter_join(const Call& call) {
  MERRITT_TRY(const ValueList items, take_items(call.value, call.meter));
  std::string separator, out;
  if (call.argument(0) != nullptr) {
    MERRITT_TRY(separator, to_text(*call.argument(0), call.meter));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) {
      MERRITT_CHECK(call.meter.pay_text(separator.size(), out.size()));
      out += separator;
    }
    if (call.argument(1) == nullptr) {
      MERRITT_CHECK(append_text(items[i], false, call.meter, out));
      continue;
    }
    MERRITT_TRY(const std::string_view path, text_argument(call, 1));
    MERRITT_TRY(const Value part, attribute_of(items[i], path, call.meter));
    MERRITT_CHECK(append_text(part, false, call.meter, out));
  }
  return Value::text(std::move(out));
}

Result<Value> filter_end(const Call& call) {
  const bool first = call.name == "first";
  if (call.value.is(Kind::kGenerator)) {
    if (!first) return wrong_type("the filter 'last'", call.value);
    ValueList& items = call.value.generator();
    if (items.empty()) return Value();
    MERRITT_CHECK(call.meter.pay(items.size()));
    Value item = items.front();
    items.erase(items.begin());
    return item;
  }
  MERRITT_TRY(const ValueList items, take_items(call.value, call.meter));
  if (items.empty()) return Value();
  return first ? items.front() : items.back();
}

Result<Value> filter_list(const Call& call) {
  MERRITT_TRY(ValueList items, take_items(call.value, call.meter));
  return Value::list(std::move(items));
}

Result<Value> filter_reverse(const Call& call) {
  MERRITT_TRY(ValueList items, take_items(call.value, call.meter));
  std::reverse(items.begin(), items.end());
  if (!call.value.is(Kind::kString)) return Value::list(std::move(items), Kind::kGenerator);
  std::string out;
  for (const Value& item : items) out += item.as_text();
  return Value::text(std::move(out));
}

Result<Value> filter_items(const Call& call) {
  if (call.value.is(Kind::kUndefined)) return Value::list({}, Kind::kGenerator);
  return items_view(call.value, call.meter, Kind::kGenerator);
}

Result<Value> filter_unique(const Call& call) {
  const bool exact = call.argument(0) != nullptr && call.argument(0)->truthy();
  MERRITT_TRY(const ValueList items, take_items(call.value, call.meter));
  ValueList out, keys;
  for (const Value& item : items) {
    Value key = item;
    if (!exact && item.is(Kind::kString)) {
      MERRITT_CHECK(call.meter.pay_bytes(2 * item.as_text().size()));
      key = Value::text(to_lower(item.as_text()));
    }
    bool seen = false;
    for (size_t i = 0; i < keys.size() && !seen; ++i) {
      MERRITT_TRY(seen, equal(keys[i], key, call.meter));
    }
    if (seen) continue;
    out.push_back(item);
    keys.push_back(std::move(key));
  }
  return Value::list(std::move(out), Kind::kGenerator);
}

// int(): of a text the number it spells, or its whole part, or the default.
Result<Value> filter_int(const Call& call) {
  const Value& value = call.value;
  double number = 0;
  if (value.is(Kind::kInt) || value.is(Kind::kBool)) return Value::integer(value.as_int());
  if (value.is(Kind::kUndefined)) return wrong_type("the filter 'int'", value);
  const Value otherwise = call.argument(0) == nullptr ? Value::integer(0) : *call.argument(0);
  if (value.is(Kind::kFloat)) {
    number = value.as_double();
  } else if (value.is(Kind::kString)) {
    MERRITT_CHECK(call.meter.pay_bytes(value.as_text().size()));
    std::string_view text = strip(value.as_text(), nullptr, true, true);
    if (text.find('_') != std::string_view::npos) {
      return Status(Code::kUnsupported, "a number with '_' for the filter 'int' is not supported");
    }
    if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
    int64_t whole = 0;
    const char* end = text.data() + text.size();
    auto read = std::from_chars(text.data(), end, whole);
    if (!text.empty() && read.ptr == end && read.ec == std::errc()) return Value::integer(whole);
    const auto real = std::from_chars(text.data(), end, number);
    if (text.empty() || real.ptr != end || real.ec == std::errc::invalid_argument) return otherwise;
    if (real.ec != std::errc() || std::isnan(number) || std::isinf(number)) return otherwise;
  } else {
    return otherwise;
  }
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (!(number > -kLimit && number < kLimit)) {
    return Status(Code::kInvalidArgument, "a number is too large for the filter 'int'");
  }
  return Value::integer(static_cast<int64_t>(number));
}

Result<Value> filter_replace(const Call& call) {
  MERRITT_TRY(const std::string text, to_text(call.value, call.meter));
  MERRITT_TRY(const std::string from, to_text(*call.argument(0), call.meter));
  MERRITT_TRY(const std::string to, to_text(*call.argument(1), call.meter));
  return replace_text(text, call, from, to);
}

// Every line but the first and the empty ones moves to the right.
Result<Value> filter_indent(const Call& call) {
  if (!call.value.is(Kind::kString)) return wrong_type("the filter 'indent'", call.value);
  std::string by(4, ' ');
  if (const Value* width = call.argument(0); width != nullptr && width->is(Kind::kString)) {
    by = width->as_text();
  } else {
    MERRITT_TRY(const int64_t n, int_argument(call, 0, 4));
    if (n > 1024) return Status(Code::kInvalidArgument, "the filter 'indent' moves by no more than 1024");
    by = std::string(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
  }
  const bool first = call.argument(1) != nullptr && call.argument(1)->truthy();
  const bool blank = call.argument(2) != nullptr && call.argument(2)->truthy();
  const std::string& text = call.value.as_text();
  MERRITT_CHECK(call.meter.pay_text(text.size()));
  std::string out;
  bool at_first = true;
  for (size_t at = 0; at <= text.size(); at_first = false) {
    const TextLine line = line_at(text, at);
    if (!at_first) out += '\n';
    if (at_first ? first : (blank || line.end != at)) {
      MERRITT_CHECK(call.meter.pay_text(by.size(), out.size()));
      out += by;
    }
    out.append(text, at, line.end - at);
    if (line.end == text.size()) break;
    at = line.next;
  }
  return Value::text(std::move(out));
}

// select, reject, selectattr and rejectattr: (attribute,) test, the test's argument.
Result<Value> filter_select(const Call& call) {
  const bool by_attribute = call.name.ends_with("attr"), keep = call.name.starts_with("select");
  const size_t at = by_attribute ? 1 : 0;
  const Routine* test = nullptr;
  if (call.argument(at) != nullptr) {
    MERRITT_TRY(const std::string_view name, text_argument(call, at));
    test = find_test(name);
    if (test == nullptr) {
      return Status(Code::kUnsupported, "the test '" + std::string(name) + "' is not supported");
    }
    const size_t given = call.argument(at + 1) == nullptr ? 0 : 1;
    if (given < test->required || given > test->parameter_count()) {
      return Status(Code::kInvalidArgument, "the test '" + std::string(name) +
                                                "' takes another number of arguments than " + std::to_string(given));
    }
  }
  if (!call.value.truthy()) return Value::list({}, Kind::kGenerator);
  MERRITT_TRY(const ValueList items, take_items(call.value, call.meter));
  ValueList out;
  for (const Value& item : items) {
    MERRITT_CHECK(call.meter.pay());
    Value subject = item;
    if (by_attribute) {
      MERRITT_TRY(const std::string_view path, text_argument(call, 0));
      MERRITT_TRY(subject, attribute_of(item, path, call.meter));
    }
    bool passes = subject.truthy();
    if (test != nullptr) {
      const Value* other = call.argument(at + 1);
      MERRITT_TRY(const Value answer, test->run({test->name, subject, {&other, 1}, call.meter, call.unix_seconds}));
      passes = answer.truthy();
    }
    if (passes == keep) out.push_back(item);
  }
  return Value::list(std::move(out), Kind::kGenerator);
}

// map('filter') or map(attribute='a.b', default=x).
Result<Value> filter_map(const Call& call) {
  const Value *name = call.argument(0), *attribute = call.argument(1), *otherwise = call.argument(2);
  if ((name == nullptr) == (attribute == nullptr) || (name != nullptr && otherwise != nullptr)) {
    return Status(Code::kInvalidArgument, "map takes the name of a filter, or attribute=");
  }
  const Routine* filter = nullptr;
  MERRITT_TRY(const std::string_view text, text_argument(call, name != nullptr ? 0 : 1));
  if (name != nullptr) {
    filter = find_filter(text);
    if (filter == nullptr || filter->required != 0 || filter->run == filter_map) {
      return Status(Code::kUnsupported, "map with the filter '" + std::string(text) + "' is not supported");
    }
  }
  if (!call.value.truthy()) return Value::list({}, Kind::kGenerator);
  MERRITT_TRY(const ValueList items, take_items(call.value, call.meter));
  ValueList out;
  for (const Value& item : items) {
    MERRITT_CHECK(call.meter.pay());
    Value mapped;
    if (filter != nullptr) {
      if (!filter->takes_safe) MERRITT_CHECK(check_not_safe("the filter '" + std::string(filter->name) + "'", item));
      MERRITT_TRY(mapped, filter->run({filter->name, item, {}, call.meter, call.unix_seconds}));
    } else {
      MERRITT_TRY(mapped, attribute_of(item, text, call.meter));
      if (otherwise != nullptr && mapped.is(Kind::kUndefined)) mapped = *otherwise;
    }
    out.push_back(std::move(mapped));
  }
  return Value::list(std::move(out), Kind::kGenerator);
}

constexpr Routine kFilters[] = {
    {"capitalize", {}, 0, filter_case},
    {"count", {}, 0, filter_length, /*takes_safe=*/true},
    {"d", {"default_value", "boolean"}, 0, filter_default, /*takes_safe=*/true},
    {"default", {"default_value", "boolean"}, 0, filter_default, /*takes_safe=*/true},
    {"first", {}, 0, filter_end, /*takes_safe=*/true},
    {"indent", {"width", "first", "blank"}, 0, filter_indent},
    {"int", {"default"}, 0, filter_int},
    {"items", {}, 0, filter_items},
    {"join", {"d", "attribute"}, 0, filter_join, /*takes_safe=*/true},
    {"last", {}, 0, filter_end, /*takes_safe=*/true},
    {"length", {}, 0, filter_length, /*takes_safe=*/true},
    {"list", {}, 0, filter_list, /*takes_safe=*/true},
    {"lower", {}, 0, filter_case},
    {"map", {"/filter", "=attribute", "=default"}, 0, filter_map},
    {"reject", {"/test", "/argument"}, 0, filter_select},
    {"rejectattr", {"/attribute", "/test", "/argument"}, 1, filter_select},
    {"replace", {"old", "new", "count"}, 2, filter_replace},
    {"reverse", {}, 0, filter_reverse},
    {"safe", {}, 0, filter_safe, /*takes_safe=*/true},
    {"select", {"/test", "/argument"}, 0, filter_select},
    {"selectattr", {"/attribute", "/test", "/argument"}, 1, filter_select},
    {"string", {}, 0, filter_string},
    {"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, filter_tojson, /*takes_safe=*/true},
    {"trim", {"chars"}, 0, filter_trim},
    {"unique", {"case_sensitive"}, 0, filter_unique},
    {"upper", {}, 0, filter_case},
};

}  // namespace

const Routine* find_filter(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFilters), std::end(kFilters), [&](const Routine& r) { return r.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace merritt::tokens
