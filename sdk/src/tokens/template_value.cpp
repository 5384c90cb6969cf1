// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_value.hpp"

#include <algorithm>

#include "tokens/template_text.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

}  // namespace

Value Value::boolean(bool b) {
  Value v(Kind::kBool);
  v.integer_ = b ? 1 : 0;
  return v;
}

Value Value::integer(int64_t i) {
  Value v(Kind::kInt);
  v.integer_ = i;
  return v;
}

Value Value::real(double x) {
  Value v(Kind::kFloat);
  v.real_ = x;
  return v;
}

Value Value::text(std::string s) {
  Value v(Kind::kString);
  v.object_ = std::make_shared<std::string>(std::move(s));
  return v;
}

Value Value::safe_text(std::string s) {
  Value v = text(std::move(s));
  v.safe_ = true;
  return v;
}

Status Value::check_inner(const Value& inner) {
  if (inner.is_handle()) {
    return Status(Code::kUnsupported,
                  "a " + std::string(inner.kind_name()) + " inside a list, a dict or a namespace is not supported");
  }
  if (inner.depth() < kDepthMax) return {};
  return Status(Code::kInvalidArgument, "values are nested deeper than " + std::to_string(kDepthMax));
}

Result<Value> Value::list(ValueList items, Kind kind) {
  Value v(kind);
  v.depth_ = 1;
  for (const Value& item : items) {
    MERRITT_CHECK(check_inner(item));
    v.depth_ = std::max<uint8_t>(v.depth_, item.depth() + 1);
  }
  v.object_ = std::make_shared<ValueList>(std::move(items));
  return v;
}

Result<Value> Value::dict(ValueDict entries, Kind kind) {
  Value v(kind);
  v.depth_ = 1;
  for (const auto& entry : entries) {
    MERRITT_CHECK(check_inner(entry.second));
    v.depth_ = std::max<uint8_t>(v.depth_, entry.second.depth() + 1);
  }
  v.object_ = std::make_shared<ValueDict>(std::move(entries));
  return v;
}

Value Value::loop(std::shared_ptr<Loop> loop) {
  Value v(Kind::kLoop);
  v.object_ = std::move(loop);
  return v;
}

Value Value::callable(uint32_t macro) {
  Value v(Kind::kCallable);
  v.integer_ = macro;
  return v;
}

bool Value::truthy() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return integer_ != 0;
    case Kind::kFloat: return real_ != 0;
    case Kind::kString: return !as_text().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView: return !items().empty();
    case Kind::kDict: return !entries().empty();
    case Kind::kGenerator:
    case Kind::kNamespace:
    case Kind::kLoop:
    case Kind::kCallable: return true;
  }
  return false;
}

std::string_view Value::kind_name() const {
  static constexpr std::string_view kNames[] = {"undefined", "none", "bool",      "int",   "float",
                                                "string",    "list", "tuple",     "range", "dict view",
                                                "generator", "dict", "namespace", "loop",  "macro or function"};
  return kNames[static_cast<size_t>(kind_)];
}

Result<bool> equal(const Value& a, const Value& b, Meter& meter) {
  MERRITT_CHECK(meter.pay());
  if (a.is_number() && b.is_number()) {
    if (!a.is(Kind::kFloat) && !b.is(Kind::kFloat)) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString:
      MERRITT_CHECK(meter.pay_bytes(std::min(a.as_text().size(), b.as_text().size())));
      return a.as_text() == b.as_text();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      if (a.items().size() != b.items().size()) return false;
      for (size_t i = 0; i < a.items().size(); ++i) {
        MERRITT_TRY(const bool same, equal(a.items()[i], b.items()[i], meter));
        if (!same) return false;
      }
      return true;
    case Kind::kDict:
      if (a.entries().size() != b.entries().size()) return false;
      for (const auto& [key, value] : a.entries()) {
        MERRITT_TRY(const Value* other, find_entry(b, key, meter));
        if (other == nullptr) return false;
        MERRITT_TRY(const bool same, equal(value, *other, meter));
        if (!same) return false;
      }
      return true;
    case Kind::kCallable: return a.as_int() == b.as_int();
    default: return a.same_object(b);
  }
}

Result<const Value*> find_entry(const Value& value, std::string_view key, Meter& meter) {
  const Value* found = nullptr;
  for (const auto& [name, entry] : value.entries()) {
    MERRITT_CHECK(meter.pay_bytes(8 + (name.size() == key.size() ? key.size() : 0)));
    if (name == key) {
      found = &entry;
      break;
    }
  }
  return found;
}

Status set_entry(ValueDict& entries, std::string_view key, Value value, Meter& meter) {
  for (auto& [name, entry] : entries) {
    MERRITT_CHECK(meter.pay_bytes(8 + (name.size() == key.size() ? key.size() : 0)));
    if (name == key) {
      entry = std::move(value);
      return {};
    }
  }
  MERRITT_CHECK(meter.pay_bytes(64 + key.size()));
  entries.emplace_back(std::string(key), std::move(value));
  return {};
}

Result<ValueList> take_items(const Value& value, Meter& meter) {
  if (value.is(Kind::kUndefined)) return ValueList{};
  if (value.is(Kind::kGenerator)) return std::exchange(value.generator(), {});
  if (value.has_items()) {
    MERRITT_CHECK(meter.pay(value.items().size()));
    return value.items();
  }
  ValueList items;
  if (value.is(Kind::kDict)) {
    for (const auto& entry : value.entries()) {
      MERRITT_CHECK(meter.pay_bytes(64 + entry.first.size()));
      items.push_back(Value::text(entry.first));
    }
    return items;
  }
  if (!value.is(Kind::kString)) {
    return Status(Code::kInvalidArgument,
                  "a value of type " + std::string(value.kind_name()) + " has no items to go over");
  }
  for (std::string_view rest = value.as_text(); !rest.empty();) {
    MERRITT_CHECK(meter.pay());
    const size_t bytes = first_char(rest).bytes;
    items.push_back(Value::text(rest.substr(0, bytes)));
    rest.remove_prefix(bytes);
  }
  return items;
}

}  // namespace merritt::tokens
