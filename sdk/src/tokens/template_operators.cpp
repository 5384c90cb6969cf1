// SPDX-License-Identifier: Apache-2.0
// Operators and members, with Python's rules for what goes with what.
#include <algorithm>
#include <cmath>

#include "tokens/template_routines.hpp"
#include "tokens/template_text.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

Status cannot(std::string_view op, const Value& left, const Value& right) {
  return Status(Code::kInvalidArgument, "'" + std::string(op) + "' cannot take values of types " +
                                            std::string(left.kind_name()) + " and " + std::string(right.kind_name()));
}

Result<Value> reals(std::string_view op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (b == 0) return Status(Code::kInvalidArgument, "division by zero");
  if (op == "/") return Value::real(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;  // the sign of the divisor, as in Python
  if (rest == 0) rest = std::copysign(0.0, b);
  return Value::real(op == "%" ? rest : std::round((a - rest) / b));
}

Result<Value> wholes(std::string_view op, int64_t x, int64_t y) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(x, y, &out);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(x, y, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(x, y, &out);
  } else if (y == 0) {
    return Status(Code::kInvalidArgument, "division by zero");
  } else if (y == -1) {
    overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, x, &out);
  } else {
    const int64_t rest = x % y;
    const bool adjust = rest != 0 && (rest < 0) != (y < 0);  // Python rounds down
    out = op == "//" ? x / y - (adjust ? 1 : 0) : rest + (adjust ? y : 0);
  }
  if (overflow) return Status(Code::kUnsupported, "whole numbers beyond 64 bits are not supported");
  return Value::integer(out);
}

Result<Value> repeat(const std::string& text, int64_t times, Meter& meter) {
  std::string out;
  if (text.empty()) return Value::text(std::move(out));
  for (; times > 0; --times) {
    MERRITT_CHECK(meter.pay_text(text.size(), out.size()));
    out += text;
  }
  return Value::text(std::move(out));
}

Result<Value> add_lists(const Value& left, const Value& right, Meter& meter) {
  MERRITT_CHECK(meter.pay(left.items().size() + right.items().size()));
  ValueList items = left.items();
  items.insert(items.end(), right.items().begin(), right.items().end());
  return Value::list(std::move(items), left.kind());
}

// What Python would answer with a bound method; nothing here can hold one.
bool is_python_method(const Value& object, std::string_view name) {
  static constexpr std::string_view kDict[] = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                               "pop",   "popitem", "setdefault", "update", "values"};
  static constexpr std::string_view kList[] = {"append", "clear", "copy",   "count",   "extend", "index",
                                               "insert", "pop",   "remove", "reverse", "sort"};
  static constexpr std::string_view kText[] = {
      "casefold",   "center",      "encode",       "expandtabs",   "format",    "format_map",   "index",
      "isalnum",    "isalpha",     "isascii",      "isdecimal",    "isdigit",   "isidentifier", "islower",
      "isnumeric",  "isprintable", "isspace",      "istitle",      "isupper",   "join",         "ljust",
      "maketrans",  "partition",   "removeprefix", "removesuffix", "rfind",     "rindex",       "rjust",
      "rpartition", "rsplit",      "splitlines",   "swapcase",     "translate", "zfill"};
  const auto among = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  switch (object.kind()) {
    case Kind::kDict: return among(kDict);
    case Kind::kList: return among(kList);
    case Kind::kTuple:
    case Kind::kRange: return name == "count" || name == "index";
    case Kind::kString: {
      const bool of_dict = name == "get" || name == "items" || name == "keys" || name == "values";
      return (find_method(name) != nullptr && !of_dict) || among(kText);
    }
    case Kind::kLoop: return name == "cycle" || name == "changed";
    default: return false;
  }
}

Value loop_member(const Value::Loop& loop, std::string_view name) {
  const auto n = static_cast<int64_t>(loop.items.size()), at = static_cast<int64_t>(loop.at);
  if (name == "index") return Value::integer(at + 1);
  if (name == "index0") return Value::integer(at);
  if (name == "revindex") return Value::integer(n - at);
  if (name == "revindex0") return Value::integer(n - at - 1);
  if (name == "first") return Value::boolean(at == 0);
  if (name == "last") return Value::boolean(at + 1 == n);
  if (name == "length") return Value::integer(n);
  if (name == "depth") return Value::integer(1);  // loops are not recursive
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem" && at != 0) return loop.items[loop.at - 1];
  if (name == "nextitem" && at + 1 != n) return loop.items[loop.at + 1];
  return {};
}

Result<Value> element(const Value& object, int64_t at, Meter& meter) {
  if (object.is(Kind::kString)) {
    MERRITT_CHECK(check_not_safe("an index", object));
    const std::string_view text = object.as_text();
    MERRITT_CHECK(meter.pay_bytes(2 * text.size()));
    if (at < 0) at += static_cast<int64_t>(count_chars(text));
    if (at < 0) return Value();
    const size_t begin = char_offset(text, static_cast<size_t>(at));
    if (begin == text.size()) return Value();
    return Value::text(text.substr(begin, first_char(text.substr(begin)).bytes));
  }
  if (!object.is(Kind::kList) && !object.is(Kind::kTuple) && !object.is(Kind::kRange)) return Value();
  const auto size = static_cast<int64_t>(object.items().size());
  if (at < 0) at += size;
  return at < 0 || at >= size ? Value() : object.items()[static_cast<size_t>(at)];
}

Result<bool> contains(const Value& left, const Value& right, Meter& meter) {
  if (right.is(Kind::kString)) {
    if (!left.is(Kind::kString)) return cannot("in", left, right);
    MERRITT_CHECK(meter.pay_bytes(right.as_text().size() + left.as_text().size()));
    return find_text(right.as_text(), left.as_text()) != std::string_view::npos;
  }
  if (right.is(Kind::kDict)) {
    if (!left.is(Kind::kString)) return false;
    MERRITT_TRY(const Value* found, find_entry(right, left.as_text(), meter));
    return found != nullptr;
  }
  if (!right.has_items() && !right.is(Kind::kUndefined)) return cannot("in", left, right);
  MERRITT_TRY(ValueList items, take_items(right, meter));
  for (size_t i = 0; i < items.size(); ++i) {
    MERRITT_TRY(const bool same, equal(items[i], left, meter));
    if (!same) continue;
    if (right.is(Kind::kGenerator))
      right.generator().assign(items.begin() + static_cast<ptrdiff_t>(i) + 1, items.end());
    return true;
  }
  return false;
}

}  // namespace

Status check_not_safe(std::string_view what, const Value& value) {
  if (!value.is_safe()) return {};
  return Status(Code::kUnsupported, std::string(what) + " on a text marked with the filter 'safe' is not supported");
}

Status wrong_type(std::string_view what, const Value& value) {
  return Status(Code::kInvalidArgument,
                std::string(what) + " cannot take a value of type " + std::string(value.kind_name()));
}

Result<std::string_view> text_argument(const Call& call, size_t i) {
  const Value* given = call.argument(i);
  if (given != nullptr && given->is(Kind::kString)) return std::string_view(given->as_text());
  return wrong_type("an argument of '" + std::string(call.name) + "' that is a text",
                    given == nullptr ? Value() : *given);
}

Result<int64_t> int_argument(const Call& call, size_t i, int64_t otherwise) {
  const Value* given = call.argument(i);
  if (given == nullptr) return otherwise;
  if (given->is(Kind::kInt) || given->is(Kind::kBool)) return given->as_int();
  return wrong_type("an argument of '" + std::string(call.name) + "' that is a whole number", *given);
}

Result<Value> replace_text(std::string_view text, const Call& call, std::string_view from, std::string_view to) {
  int64_t most = -1;
  if (call.argument(2) != nullptr && !call.argument(2)->is(Kind::kNone)) {
    MERRITT_TRY(most, int_argument(call, 2, -1));
  }
  if (from.empty()) return Status(Code::kUnsupported, "replacing the empty text is not supported");
  MERRITT_CHECK(call.meter.pay_bytes(from.size()));
  std::string out;
  for (size_t at = 0;; --most) {
    const size_t next = most == 0 ? std::string_view::npos : find_text(text, from, at);
    const std::string_view kept = text.substr(at, next == std::string_view::npos ? next : next - at);
    MERRITT_CHECK(call.meter.pay_text(kept.size() + to.size(), out.size()));
    out += kept;
    if (next == std::string_view::npos) return Value::text(std::move(out));
    out += to;
    at = next + from.size();
  }
}

Result<Value> items_view(const Value& value, Meter& meter, Kind kind) {
  if (!value.is(Kind::kDict)) return wrong_type("'items'", value);
  ValueList items;
  for (const auto& [key, entry] : value.entries()) {
    MERRITT_CHECK(meter.pay_bytes(128 + key.size()));
    MERRITT_TRY(Value pair, Value::list({Value::text(key), entry}, Kind::kTuple));
    items.push_back(std::move(pair));
  }
  return Value::list(std::move(items), kind);
}

Result<Value> member(const Value& object, const Value& key, bool dotted, Meter& meter) {
  if (object.is(Kind::kUndefined)) {
    return Status(Code::kInvalidArgument, "something undefined is asked for a member");
  }
  if (key.is(Kind::kInt) || key.is(Kind::kBool)) return element(object, key.as_int(), meter);
  if (!key.is(Kind::kString)) return Value();
  const std::string& name = key.as_text();
  const bool method = is_python_method(object, name);
  if (object.has_entries() && !(dotted && method)) {
    MERRITT_TRY(const Value* found, find_entry(object, name, meter));
    if (found != nullptr) return *found;
  }
  if (method) return Status(Code::kUnsupported, "the method ." + name + " without a call is not supported");
  return object.is(Kind::kLoop) ? loop_member(object.loop(), name) : Value();
}

Result<Value> arithmetic(std::string_view op, Value left, const Value& right, Meter& meter) {
  if (left.is_number() && right.is_number()) {
    if (op == "/" || left.is(Kind::kFloat) || right.is(Kind::kFloat)) {
      return reals(op, left.as_double(), right.as_double());
    }
    return wholes(op, left.as_int(), right.as_int());
  }
  MERRITT_CHECK(check_not_safe("'" + std::string(op) + "'", left));
  MERRITT_CHECK(check_not_safe("'" + std::string(op) + "'", right));
  if (op == "+" && left.is(Kind::kString) && right.is(Kind::kString)) {
    if (std::string* text = left.own_text(); text != nullptr) {
      MERRITT_CHECK(meter.pay_text(right.as_text().size(), text->size()));
      *text += right.as_text();
      return left;
    }
    MERRITT_CHECK(meter.pay_text(left.as_text().size()));
    MERRITT_CHECK(meter.pay_text(right.as_text().size(), left.as_text().size()));
    return Value::text(left.as_text() + right.as_text());
  }
  if (op == "+" && left.kind() == right.kind() && (left.is(Kind::kList) || left.is(Kind::kTuple))) {
    return add_lists(left, right, meter);
  }
  const auto counts = [](const Value& v) { return v.is(Kind::kInt) || v.is(Kind::kBool); };
  if (op == "*" && left.is(Kind::kString) && counts(right)) return repeat(left.as_text(), right.as_int(), meter);
  if (op == "*" && counts(left) && right.is(Kind::kString)) return repeat(right.as_text(), left.as_int(), meter);
  if (op == "%" && left.is(Kind::kString)) {
    return Status(Code::kUnsupported, "the formatting of a text with '%' is not supported");
  }
  return cannot(op, left, right);
}

Result<bool> compare(std::string_view op, const Value& left, const Value& right, Meter& meter) {
  if (op == "in" || op == "not in") {
    MERRITT_TRY(const bool found, contains(left, right, meter));
    return found == (op == "in");
  }
  if (op == "==" || op == "!=") {
    MERRITT_TRY(const bool same, equal(left, right, meter));
    return same == (op == "==");
  }
  int order = 0;
  if (left.is(Kind::kString) && right.is(Kind::kString)) {
    MERRITT_CHECK(meter.pay_bytes(std::min(left.as_text().size(), right.as_text().size())));
    order = left.as_text().compare(right.as_text());  // UTF-8 sorts as its characters do
  } else if (!left.is_number() || !right.is_number()) {
    return cannot(op, left, right);
  } else if (left.is(Kind::kFloat) || right.is(Kind::kFloat)) {
    const double a = left.as_double(), b = right.as_double();
    if (std::isnan(a) || std::isnan(b)) return false;
    order = a < b ? -1 : a > b ? 1 : 0;
  } else {
    order = left.as_int() < right.as_int() ? -1 : left.as_int() > right.as_int() ? 1 : 0;
  }
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

}  // namespace merritt::tokens
