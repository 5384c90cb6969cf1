// SPDX-License-Identifier: Apache-2.0
// Values of a chat template while it is rendered. Texts, lists and dicts are shared and immutable, so that a copy costs
// a pointer; a value made of others is refused beyond kDepthMax, so that every recursion over values is bounded, the
// destructor's included. Namespaces are the one thing that changes, and no value may hold one: there are no cycles.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.hpp"
#include "tokens/template_meter.hpp"

namespace merritt::tokens {

class Value;
using ValueList = std::vector<Value>;
using ValueDict = std::vector<std::pair<std::string, Value>>;  // in order of insertion, as in Python

class Value {
 public:
  enum class Kind : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kList,
    kTuple,
    kRange,      // what range() makes
    kView,       // what .keys(), .values() and .items() make
    kGenerator,  // what map, select, reject, items and reverse make: gone once it was gone over
    kDict,
    kNamespace,
    kLoop,      // the variable `loop`
    kCallable,  // a macro or a function, by name
  };
  struct Loop {
    ValueList items;
    size_t at = 0;
  };
  static constexpr uint8_t kDepthMax = 32;

  Value() = default;
  static Value none() { return Value(Kind::kNone); }
  static Value boolean(bool b);
  static Value integer(int64_t i);
  static Value real(double x);
  static Value text(std::string s);
  static Value text(std::string_view s) { return text(std::string(s)); }
  // What the filter 'safe' makes: Jinja would escape what is added to it.
  static Value safe_text(std::string s);
  // Refused: what is nested too deeply, and namespaces, loops and macros inside another value.
  static Result<Value> list(ValueList items, Kind kind = Kind::kList);
  static Result<Value> dict(ValueDict entries, Kind kind = Kind::kDict);
  // Whether a list, dict or namespace may hold `inner`.
  static Status check_inner(const Value& inner);
  static Value loop(std::shared_ptr<Loop> loop);
  static Value callable(uint32_t macro);

  Kind kind() const { return kind_; }
  uint8_t depth() const { return depth_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return kind_ == Kind::kInt || kind_ == Kind::kFloat || kind_ == Kind::kBool; }
  bool has_items() const { return kind_ >= Kind::kList && kind_ <= Kind::kGenerator; }
  bool has_entries() const { return kind_ == Kind::kDict || kind_ == Kind::kNamespace; }
  bool is_handle() const { return kind_ >= Kind::kNamespace; }  // what no other value may hold

  int64_t as_int() const { return integer_; }  // of an int, a bool, a callable's macro
  double as_double() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
  const std::string& as_text() const { return *static_cast<const std::string*>(object_.get()); }
  bool is_safe() const { return safe_; }
  // The text itself, if nobody else has it: to append in place.
  std::string* own_text() { return object_.use_count() == 1 ? static_cast<std::string*>(object_.get()) : nullptr; }
  const ValueList& items() const { return *static_cast<const ValueList*>(object_.get()); }
  ValueList& generator() const { return *static_cast<ValueList*>(object_.get()); }
  const ValueDict& entries() const { return *static_cast<const ValueDict*>(object_.get()); }
  ValueDict& name_space() const { return *static_cast<ValueDict*>(object_.get()); }
  const Loop& loop() const { return *static_cast<const Loop*>(object_.get()); }
  bool same_object(const Value& other) const { return object_ == other.object_; }

  bool truthy() const;
  std::string_view kind_name() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}

  Kind kind_ = Kind::kUndefined;
  uint8_t depth_ = 0;
  bool safe_ = false;
  union {
    int64_t integer_ = 0;
    double real_;
  };
  std::shared_ptr<void> object_;
};

Result<bool> equal(const Value& a, const Value& b, Meter& meter);
// The entry `key` of a dict or namespace, or null.
Result<const Value*> find_entry(const Value& value, std::string_view key, Meter& meter);
Status set_entry(ValueDict& entries, std::string_view key, Value value, Meter& meter);
// What a loop over the value sees; a generator is empty afterwards.
Result<ValueList> take_items(const Value& value, Meter& meter);

// What {{ value }} shows, as Python's str(); quoted: as repr(), which is how lists show texts.
Status append_text(const Value& value, bool quoted, Meter& meter, std::string& out);
Result<std::string> to_text(const Value& value, Meter& meter);

struct JsonStyle {
  int indent = -1;  // < 0: on one line
  bool sort_keys = false, ascii = false;
  std::string_view item_separator = ", ", key_separator = ": ";
};
// As json.dumps() writes it.
Status append_json(const Value& value, const JsonStyle& style, int level, Meter& meter, std::string& out);

}  // namespace merritt::tokens
