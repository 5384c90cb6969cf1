// SPDX-License-Identifier: Apache-2.0
// Values of a chat template while it is rendered. Lists and dicts are shared and immutable, but for namespaces.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace merritt::tokens {

struct Value;
using ValueList = std::vector<Value>;
using ValueDict = std::vector<std::pair<std::string, Value>>;  // in order of insertion, as in Python

struct Value {
  enum class Kind : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kNamespace };

  Kind kind = Kind::kUndefined;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::shared_ptr<ValueList> list;
  std::shared_ptr<ValueDict> dict;  // of a dict or a namespace

  static Value none() { return of(Kind::kNone); }
  static Value of(Kind kind) {
    Value v;
    v.kind = kind;
    return v;
  }
  static Value from(bool b) {
    Value v = of(Kind::kBool);
    v.boolean = b;
    return v;
  }
  static Value from(int64_t i) {
    Value v = of(Kind::kInt);
    v.integer = i;
    return v;
  }
  static Value from(std::string s) {
    Value v = of(Kind::kString);
    v.text = std::move(s);
    return v;
  }
  static Value from(ValueList items) {
    Value v = of(Kind::kList);
    v.list = std::make_shared<ValueList>(std::move(items));
    return v;
  }
  static Value from(ValueDict items, Kind kind = Kind::kDict) {
    Value v = of(kind);
    v.dict = std::make_shared<ValueDict>(std::move(items));
    return v;
  }

  bool is_number() const { return kind == Kind::kInt || kind == Kind::kFloat || kind == Kind::kBool; }
  double number() const {
    return kind == Kind::kFloat ? real : kind == Kind::kBool ? boolean : static_cast<double>(integer);
  }
  bool truthy() const;
  bool equals(const Value& other) const;
  const Value* find(std::string_view key) const;  // in a dict or namespace; null = not there
  std::string_view kind_name() const;
};

// What {{ value }} shows, as Python's str(); quoted: as repr(), which is how lists show strings.
void append_text(const Value& value, bool quoted, std::string& out);
// As json.dumps(value, ensure_ascii=False, indent=indent); indent < 0 = on one line.
void append_json(const Value& value, int indent, int level, std::string& out);

}  // namespace merritt::tokens
