// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_functions.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "tokens/template_syntax.hpp"

namespace merritt::tokens {
namespace {

constexpr std::string_view kFilters[] = {"trim",  "length",  "count",   "upper",      "lower",   "tojson", "join",
                                         "first", "last",    "default", "d",          "string",  "int",    "list",
                                         "items", "replace", "safe",    "capitalize", "reverse", "unique"};
constexpr std::string_view kTests[] = {"defined", "undefined", "none",    "string", "mapping", "iterable", "sequence",
                                       "number",  "integer",   "boolean", "true",   "false",   "odd",      "even"};
constexpr std::string_view kMethods[] = {"strip", "lstrip", "rstrip",  "split", "startswith", "endswith",
                                         "upper", "lower",  "replace", "title", "capitalize", "items",
                                         "get",   "keys",   "values",  "find"};
constexpr std::string_view kFunctions[] = {"raise_exception", "namespace", "strftime_now", "range", "dict"};

template <size_t N>
bool contains(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

using Kind = Value::Kind;

Status wrong(std::string_view what, const Value& value) {
  return Status(Code::kInvalidArgument,
                std::string(what) + " cannot take a value of type " + std::string(value.kind_name()));
}

// ASCII letters only: what chat templates change the case of are role names.
std::string change_case(std::string text, bool upper) {
  for (char& c : text) {
    if (upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (!upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

std::string capitalize(const std::string& text) {
  std::string out = change_case(text, false);
  if (!out.empty()) out.replace(0, 1, change_case(out.substr(0, 1), true));
  return out;
}

std::string title(const std::string& text) {
  std::string out = change_case(text, false);
  bool start = true;
  for (char& c : out) {
    const bool letter = (c >= 'a' && c <= 'z');
    if (letter && start) c = static_cast<char>(c - 32);
    start = !letter;
  }
  return out;
}

std::string strip(std::string_view text, std::string_view characters, bool left, bool right) {
  const size_t first = left ? text.find_first_not_of(characters) : 0;
  if (first == std::string_view::npos) return {};
  const size_t last = right ? text.find_last_not_of(characters) : text.size() - 1;
  if (text.empty() || last == std::string_view::npos) return {};
  return std::string(text.substr(first, last - first + 1));
}
constexpr std::string_view kBlanks = " \t\n\r\v\f";

Result<std::string> replace(const std::string& text, std::span<const Argument> arguments) {
  const Value *from = argument(arguments, 0, "old"), *to = argument(arguments, 1, "new");
  if (from == nullptr || to == nullptr || from->kind != Kind::kString || to->kind != Kind::kString) {
    return Status(Code::kInvalidArgument, "replace needs two strings");
  }
  if (from->text.empty()) return Status(Code::kInvalidArgument, "replace cannot replace the empty string");
  std::string out;
  for (size_t at = 0;;) {
    const size_t next = text.find(from->text, at);
    out.append(text, at, next == std::string::npos ? std::string::npos : next - at);
    if (next == std::string::npos) return out;
    out += to->text;
    at = next + from->text.size();
    if (out.size() > (size_t{64} << 20)) return Status(Code::kInvalidArgument, "replace makes a string of over 64 MiB");
  }
}

Result<Value> split(const std::string& text, std::span<const Argument> arguments) {
  const Value* separator = argument(arguments, 0, "sep");
  ValueList parts;
  if (separator == nullptr || separator->kind == Kind::kNone) {
    for (size_t at = text.find_first_not_of(kBlanks); at != std::string::npos;) {
      const size_t end = text.find_first_of(kBlanks, at);
      parts.push_back(Value::from(text.substr(at, end - at)));
      at = end == std::string::npos ? end : text.find_first_not_of(kBlanks, end);
    }
    return Value::from(std::move(parts));
  }
  if (separator->kind != Kind::kString || separator->text.empty()) {
    return Status(Code::kInvalidArgument, "split needs a separator that is not empty");
  }
  for (size_t at = 0;;) {
    const size_t next = text.find(separator->text, at);
    parts.push_back(Value::from(text.substr(at, next == std::string::npos ? next : next - at)));
    if (next == std::string::npos) return Value::from(std::move(parts));
    at = next + separator->text.size();
  }
}

ValueList dict_items(const Value& value) {
  ValueList items;
  for (const auto& [key, item] : *value.dict) items.push_back(Value::from(ValueList{Value::from(key), item}));
  return items;
}

// Characters of UTF-8, as Python counts them.
int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

Result<Value> length(const Value& value) {
  switch (value.kind) {
    case Kind::kString: return Value::from(characters(value.text));
    case Kind::kList: return Value::from(static_cast<int64_t>(value.list->size()));
    case Kind::kDict: return Value::from(static_cast<int64_t>(value.dict->size()));
    case Kind::kUndefined: return Value::from(int64_t{0});
    default: return wrong("length", value);
  }
}

Result<Value> join(const Value& value, std::span<const Argument> arguments) {
  if (value.kind != Kind::kList) return wrong("join", value);
  const Value* separator = argument(arguments, 0, "d");
  std::string out;
  for (size_t i = 0; i < value.list->size(); ++i) {
    if (i != 0 && separator != nullptr) out += separator->text;
    append_text((*value.list)[i], false, out);
  }
  return Value::from(std::move(out));
}

Result<Value> end_of(const Value& value, bool first) {
  if (value.kind != Kind::kList) return wrong(first ? "first" : "last", value);
  if (value.list->empty()) return Value();
  return first ? value.list->front() : value.list->back();
}

Result<Value> to_list(const Value& value) {
  if (value.kind == Kind::kList) return value;
  if (value.kind != Kind::kDict) return wrong("list", value);
  ValueList keys;
  for (const auto& entry : *value.dict) keys.push_back(Value::from(entry.first));
  return Value::from(std::move(keys));
}

}  // namespace

bool is_known_filter(std::string_view name) { return contains(kFilters, name); }
bool is_known_test(std::string_view name) { return contains(kTests, name); }
bool is_known_method(std::string_view name) { return contains(kMethods, name); }
bool is_known_function(std::string_view name) { return contains(kFunctions, name); }

const Value* argument(std::span<const Argument> arguments, size_t n, std::string_view name) {
  size_t position = 0;
  for (const Argument& each : arguments) {
    if (each.name.empty() ? position++ == n : each.name == name) return &each.value;
  }
  return nullptr;
}

Result<Value> apply_filter(std::string_view name, const Value& value, std::span<const Argument> arguments) {
  if (name == "default" || name == "d") {
    const Value *other = argument(arguments, 0, "default_value"), *boolean = argument(arguments, 1, "boolean");
    const bool take = value.kind == Kind::kUndefined || (boolean != nullptr && boolean->truthy() && !value.truthy());
    if (!take) return value;
    return other == nullptr ? Value::from(std::string()) : *other;
  }
  if (name == "tojson") {
    const Value* indent = argument(arguments, 0, "indent");
    const bool pretty = indent != nullptr && indent->kind == Kind::kInt;
    if (pretty && (indent->integer < 0 || indent->integer > 16)) {
      return Status(Code::kInvalidArgument, "tojson indents by 0 to 16");
    }
    if (value.kind == Kind::kUndefined) return wrong("tojson", value);
    std::string out;
    append_json(value, pretty ? static_cast<int>(indent->integer) : -1, 0, out);
    return Value::from(std::move(out));
  }
  if (name == "length" || name == "count") return length(value);
  if (name == "join") return join(value, arguments);
  if (name == "first" || name == "last") return end_of(value, name == "first");
  if (name == "list") return to_list(value);
  if (name == "safe") return value;
  if (name == "items")
    return value.dict != nullptr ? Value::from(dict_items(value)) : Result<Value>(wrong("items", value));
  if (name == "int") {
    if (value.is_number()) return Value::from(static_cast<int64_t>(value.number()));
    int64_t number = 0;
    std::from_chars(value.text.data(), value.text.data() + value.text.size(), number);
    return Value::from(number);
  }
  if (name == "reverse" || name == "unique") {
    if (value.kind != Kind::kList) return wrong(name, value);
    ValueList out;
    for (const Value& item : *value.list) {
      const auto same = [&](const Value& other) { return other.equals(item); };
      if (name == "reverse" || std::none_of(out.begin(), out.end(), same)) out.push_back(item);
    }
    if (name == "reverse") std::reverse(out.begin(), out.end());
    return Value::from(std::move(out));
  }
  // The rest works on the text of any value, as Python's str() does.
  std::string text;
  append_text(value, false, text);
  if (name == "string") return Value::from(std::move(text));
  if (name == "upper" || name == "lower") return Value::from(change_case(std::move(text), name == "upper"));
  if (name == "capitalize") return Value::from(capitalize(text));
  if (name == "trim") {
    const Value* chars = argument(arguments, 0, "chars");
    return Value::from(strip(text, chars == nullptr ? kBlanks : std::string_view(chars->text), true, true));
  }
  MERRITT_TRY(std::string replaced, replace(text, arguments));
  return Value::from(std::move(replaced));
}

Result<bool> apply_test(std::string_view name, const Value& value) {
  if (name == "defined") return value.kind != Kind::kUndefined;
  if (name == "undefined") return value.kind == Kind::kUndefined;
  if (name == "none") return value.kind == Kind::kNone;
  if (name == "string") return value.kind == Kind::kString;
  if (name == "mapping") return value.kind == Kind::kDict;
  if (name == "iterable" || name == "sequence") {
    return value.kind == Kind::kString || value.kind == Kind::kList || value.kind == Kind::kDict ||
           (name == "iterable" && value.kind == Kind::kUndefined);
  }
  if (name == "number") return value.is_number();
  if (name == "integer") return value.kind == Kind::kInt;
  if (name == "boolean") return value.kind == Kind::kBool;
  if (name == "true" || name == "false") return value.kind == Kind::kBool && value.boolean == (name == "true");
  if (value.kind != Kind::kInt) return wrong(name, value);
  return (value.integer % 2 != 0) == (name == "odd");
}

Result<Value> apply_method(std::string_view name, const Value& value, std::span<const Argument> arguments) {
  if (value.dict != nullptr) {
    if (name == "items") return Value::from(dict_items(value));
    if (name == "get") {
      const Value *key = argument(arguments, 0, "key"), *otherwise = argument(arguments, 1, "default");
      if (key == nullptr || key->kind != Kind::kString) return Status(Code::kInvalidArgument, ".get() needs a string");
      const Value* found = value.find(key->text);
      return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value::none();
    }
    if (name == "keys" || name == "values") {
      ValueList out;
      for (const auto& [key, item] : *value.dict) out.push_back(name == "keys" ? Value::from(key) : item);
      return Value::from(std::move(out));
    }
  }
  if (value.kind != Kind::kString) return wrong("." + std::string(name) + "()", value);
  const std::string& text = value.text;
  const Value* first = argument(arguments, 0, "chars");
  const bool has_text = first != nullptr && first->kind == Kind::kString;
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return Value::from(
        strip(text, has_text ? std::string_view(first->text) : kBlanks, name != "rstrip", name != "lstrip"));
  }
  if (name == "split") return split(text, arguments);
  if (name == "upper" || name == "lower") return Value::from(change_case(text, name == "upper"));
  if (name == "title") return Value::from(title(text));
  if (name == "capitalize") return Value::from(capitalize(text));
  if (name == "replace") {
    MERRITT_TRY(std::string replaced, replace(text, arguments));
    return Value::from(std::move(replaced));
  }
  if (!has_text) return Status(Code::kInvalidArgument, "." + std::string(name) + "() needs a string");
  if (name == "startswith") return Value::from(text.starts_with(first->text));
  if (name == "endswith") return Value::from(text.ends_with(first->text));
  if (name == "find") {
    const size_t at = text.find(first->text);
    return Value::from(at == std::string::npos ? int64_t{-1} : characters(std::string_view(text).substr(0, at)));
  }
  return wrong("." + std::string(name) + "()", value);
}

Result<std::string> format_time(std::string_view format, int64_t unix_seconds) {
  namespace chrono = std::chrono;
  static constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                            "July",    "August",   "September", "October", "November", "December"};
  static constexpr const char* kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  const chrono::sys_seconds time{chrono::seconds(unix_seconds)};
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date(day);
  const auto seconds = static_cast<int>((time - day).count());
  const auto two = [](int n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  const auto month = static_cast<int>(static_cast<unsigned>(date.month()));
  const std::string month_name = kMonths[month - 1], day_name = kDays[chrono::weekday(day).c_encoding()];
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    switch (format[++i]) {
      case 'Y': out += std::to_string(static_cast<int>(date.year())); break;
      case 'y': out += two(static_cast<int>(date.year()) % 100); break;
      case 'm': out += two(month); break;
      case 'd': out += two(static_cast<int>(static_cast<unsigned>(date.day()))); break;
      case 'H': out += two(seconds / 3600); break;
      case 'M': out += two(seconds / 60 % 60); break;
      case 'S': out += two(seconds % 60); break;
      case 'B': out += month_name; break;
      case 'b': out += month_name.substr(0, 3); break;
      case 'A': out += day_name; break;
      case 'a': out += day_name.substr(0, 3); break;
      case '%': out += '%'; break;
      default: return Status(Code::kUnsupported, std::string("strftime_now: %") + format[i] + " is not supported");
    }
  }
  return out;
}

}  // namespace merritt::tokens
