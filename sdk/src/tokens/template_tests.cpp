// SPDX-License-Identifier: Apache-2.0
// What may follow `is`.
#include <algorithm>

#include "tokens/template_routines.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

Result<Value> test_kind(const Call& call) {
  const Value& value = call.value;
  const std::string_view name = call.name;
  const Kind kind = value.kind();
  if (name == "defined") return Value::boolean(kind != Kind::kUndefined);
  if (name == "undefined") return Value::boolean(kind == Kind::kUndefined);
  if (name == "none") return Value::boolean(kind == Kind::kNone);
  if (name == "string") return Value::boolean(kind == Kind::kString);
  if (name == "mapping") return Value::boolean(kind == Kind::kDict);
  if (name == "number") return Value::boolean(value.is_number());
  if (name == "integer") return Value::boolean(kind == Kind::kInt);
  if (name == "float") return Value::boolean(kind == Kind::kFloat);
  if (name == "boolean") return Value::boolean(kind == Kind::kBool);
  if (name == "true") return Value::boolean(kind == Kind::kBool && value.as_int() != 0);
  if (name == "false") return Value::boolean(kind == Kind::kBool && value.as_int() == 0);
  if (name == "callable") return Value::boolean(kind == Kind::kCallable);
  const bool text_or_dict = kind == Kind::kString || kind == Kind::kDict || kind == Kind::kUndefined;
  if (name == "iterable") return Value::boolean(text_or_dict || value.has_items() || kind == Kind::kLoop);
  return Value::boolean(text_or_dict || kind == Kind::kList || kind == Kind::kTuple || kind == Kind::kRange);
}

Result<Value> test_divisible(const Call& call) {
  if (!call.value.is(Kind::kInt) && !call.value.is(Kind::kBool)) {
    return wrong_type("the test '" + std::string(call.name) + "'", call.value);
  }
  MERRITT_TRY(const int64_t by, int_argument(call, 0, 2));
  if (by == 0) return Status(Code::kInvalidArgument, "division by zero");
  const bool divides = by == -1 || call.value.as_int() % by == 0;
  return Value::boolean(divides != (call.name == "odd"));
}

Result<Value> test_compare(const Call& call) {
  static constexpr std::pair<std::string_view, std::string_view> kOperators[] = {
      {"eq", "=="}, {"equalto", "=="}, {"ne", "!="},         {"lt", "<"},  {"lessthan", "<"},
      {"le", "<="}, {"gt", ">"},       {"greaterthan", ">"}, {"ge", ">="},
  };
  std::string_view op = call.name;
  for (const auto& [name, symbol] : kOperators) {
    if (name == call.name) op = symbol;
  }
  MERRITT_TRY(const bool answer, compare(op, call.value, *call.argument(0), call.meter));
  return Value::boolean(answer);
}

constexpr Routine kTests[] = {
    {"!=", {"/other"}, 1, test_compare},
    {"<", {"/other"}, 1, test_compare},
    {"<=", {"/other"}, 1, test_compare},
    {"==", {"/other"}, 1, test_compare},
    {">", {"/other"}, 1, test_compare},
    {">=", {"/other"}, 1, test_compare},
    {"boolean", {}, 0, test_kind},
    {"callable", {}, 0, test_kind},
    {"defined", {}, 0, test_kind},
    {"divisibleby", {"num"}, 1, test_divisible},
    {"eq", {"/other"}, 1, test_compare},
    {"equalto", {"/other"}, 1, test_compare},
    {"even", {}, 0, test_divisible},
    {"false", {}, 0, test_kind},
    {"float", {}, 0, test_kind},
    {"ge", {"/other"}, 1, test_compare},
    {"greaterthan", {"/other"}, 1, test_compare},
    {"gt", {"/other"}, 1, test_compare},
    {"in", {"seq"}, 1, test_compare},
    {"integer", {}, 0, test_kind},
    {"iterable", {}, 0, test_kind},
    {"le", {"/other"}, 1, test_compare},
    {"lessthan", {"/other"}, 1, test_compare},
    {"lt", {"/other"}, 1, test_compare},
    {"mapping", {}, 0, test_kind},
    {"ne", {"/other"}, 1, test_compare},
    {"none", {}, 0, test_kind},
    {"number", {}, 0, test_kind},
    {"odd", {}, 0, test_divisible},
    {"sequence", {}, 0, test_kind},
    {"string", {}, 0, test_kind},
    {"true", {}, 0, test_kind},
    {"undefined", {}, 0, test_kind},
};

}  // namespace

const Routine* find_test(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const Routine& r) { return r.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace merritt::tokens
