// SPDX-License-Identifier: Apache-2.0
// The renderer's part for expressions.
#include <algorithm>

#include "tokens/template_renderer.hpp"
#include "tokens/template_text.hpp"

namespace merritt::tokens {

using Kind = Value::Kind;

TemplateRenderer::Eval TemplateRenderer::place_value(const Node& node, Eval result) const {
  return result.ok() ? std::move(result) : Eval(place(node, result.status()));
}

TemplateRenderer::Eval TemplateRenderer::evaluate(uint32_t index) {
  const Node& node = syntax_.nodes[index];
  const Deeper deeper(depth_);
  MERRITT_CHECK(enter(node));
  switch (node.kind) {
    case NodeKind::kLiteral: return node.value;
    case NodeKind::kName: {
      MERRITT_TRY(const Value* value, lookup(node, node.text));
      if (value != nullptr) return *value;
      return find_function(node.text) != nullptr ? Value::callable(index) : Value();
    }
    case NodeKind::kList:
    case NodeKind::kTuple: return sequence(node);
    case NodeKind::kDict: return dict(node);
    case NodeKind::kAttribute:
    case NodeKind::kIndex: return member_of(node);
    case NodeKind::kSlice: return slice(node);
    case NodeKind::kApply: return apply(node);
    case NodeKind::kFunction: return function(node);
    case NodeKind::kMacroCall: return macro_call(node);
    case NodeKind::kNot: {
      MERRITT_TRY(const Value value, evaluate(node.children[0]));
      return Value::boolean(!value.truthy());
    }
    case NodeKind::kNegate:
    case NodeKind::kPlus: return negate(node);
    case NodeKind::kFold: return fold(node);
    case NodeKind::kConcat: return concat(node);
    case NodeKind::kCompare: return compare_chain(node);
    case NodeKind::kAnd:
    case NodeKind::kOr: return either(node);
    case NodeKind::kIf: {
      MERRITT_TRY(const Value condition, evaluate(node.children[1]));
      if (condition.truthy()) return evaluate(node.children[0]);
      return node.children[2] == kNoNode ? Value() : evaluate(node.children[2]);
    }
    default: return fail(node, Code::kInternal, "a statement stands where an expression should");
  }
}

TemplateRenderer::Eval TemplateRenderer::sequence(const Node& node) {
  ValueList items;
  for (const uint32_t child : node.children) {
    MERRITT_TRY(Value item, evaluate(child));
    items.push_back(std::move(item));
  }
  return place_value(node, Value::list(std::move(items), node.kind == NodeKind::kList ? Kind::kList : Kind::kTuple));
}

TemplateRenderer::Eval TemplateRenderer::dict(const Node& node) {
  ValueDict entries;
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    MERRITT_TRY(const Value key, evaluate(node.children[i]));
    MERRITT_TRY(Value value, evaluate(node.children[i + 1]));
    if (!key.is(Kind::kString)) return fail(node, Code::kUnsupported, "a dict key that is no text is not supported");
    MERRITT_CHECK(place(node, set_entry(entries, key.as_text(), std::move(value), meter_)));
  }
  return place_value(node, Value::dict(std::move(entries)));
}

TemplateRenderer::Eval TemplateRenderer::member_of(const Node& node) {
  MERRITT_TRY(const Value object, evaluate(node.children[0]));
  const bool dotted = node.kind == NodeKind::kAttribute;
  Value key;
  if (dotted) {
    MERRITT_CHECK(place(node, meter_.pay_bytes(node.text.size())));
    key = Value::text(node.text);
  } else {
    MERRITT_TRY(key, evaluate(node.children[1]));
  }
  const Node& owner = syntax_.nodes[node.children[0]];
  if (object.is(Kind::kUndefined) && owner.kind == NodeKind::kName) {
    return fail(node, Code::kInvalidArgument, "'" + owner.text + "' is undefined and has no members");
  }
  return place_value(node, member(object, key, dotted, meter_));
}

TemplateRenderer::Eval TemplateRenderer::slice(const Node& node) {
  MERRITT_TRY(const Value object, evaluate(node.children[0]));
  int64_t bounds[3] = {0, 0, 1};
  bool given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (node.children[i + 1] == kNoNode) continue;
    MERRITT_TRY(const Value bound, evaluate(node.children[i + 1]));
    if (bound.is(Kind::kNone)) continue;
    if (!bound.is(Kind::kInt) && !bound.is(Kind::kBool)) {
      return fail(node, Code::kInvalidArgument, "a slice needs whole numbers");
    }
    bounds[i] = bound.as_int();
    given[i] = true;
  }
  if (bounds[2] == 0) return fail(node, Code::kInvalidArgument, "a slice's step is 0");
  const bool text = object.is(Kind::kString);
  if (!text && !object.is(Kind::kList) && !object.is(Kind::kTuple) && !object.is(Kind::kRange)) {
    return fail(node, Code::kInvalidArgument,
                "a value of type " + std::string(object.kind_name()) + " cannot be sliced");
  }
  MERRITT_CHECK(place(node, check_not_safe("a slice", object)));
  if (text) MERRITT_CHECK(place(node, meter_.pay_bytes(4 * object.as_text().size())));
  const auto size = static_cast<int64_t>(text ? count_chars(object.as_text()) : object.items().size());
  const bool down = bounds[2] < 0;
  const auto clamp = [&](int64_t at) {
    if (at < 0) at += size;
    return std::clamp<int64_t>(at, down ? -1 : 0, down ? size - 1 : size);
  };
  const int64_t first = given[0] ? clamp(bounds[0]) : down ? size - 1 : 0;
  const int64_t last = given[1] ? clamp(bounds[1]) : down ? -1 : size;
  if (text && bounds[2] != 1) return fail(node, Code::kUnsupported, "a slice of a text with a step is not supported");
  if (text) {
    if (first >= last) return Value::text(std::string());
    const std::string_view all = object.as_text();
    const size_t begin = char_offset(all, static_cast<size_t>(first));
    return Value::text(all.substr(begin, char_offset(all.substr(begin), static_cast<size_t>(last - first))));
  }
  ValueList items;
  for (int64_t at = first; down ? at > last : at < last;) {
    MERRITT_CHECK(enter(node));
    items.push_back(object.items()[static_cast<size_t>(at)]);
    if (__builtin_add_overflow(at, bounds[2], &at)) break;
  }
  return place_value(node, Value::list(std::move(items), object.kind()));
}

TemplateRenderer::Eval TemplateRenderer::apply(const Node& node) {
  MERRITT_TRY(const Value value, evaluate(node.children[0]));
  Value values[Routine::kParametersMax];
  const Value* pointers[Routine::kParametersMax] = {};
  const size_t n = node.children.size() - 1;
  for (size_t i = 0; i < n; ++i) {
    if (node.children[i + 1] == kNoNode) continue;
    MERRITT_TRY(values[i], evaluate(node.children[i + 1]));
    pointers[i] = &values[i];
  }
  if (!node.routine->takes_safe) MERRITT_CHECK(place(node, check_not_safe("'" + node.text + "'", value)));
  return place_value(node, node.routine->run({node.routine->name, value, {pointers, n}, meter_, input_.unix_seconds}));
}

TemplateRenderer::Eval TemplateRenderer::function(const Node& node) {
  MERRITT_TRY(const Value* hidden, lookup(node, node.text));
  if (hidden != nullptr) return fail(node, Code::kInvalidArgument, "the variable " + node.text + " is not a function");
  Value self;
  Value values[Routine::kParametersMax];
  const Value* pointers[Routine::kParametersMax] = {};
  size_t n = node.children.size();
  if (node.routine->any_names) {
    ValueDict entries;
    for (size_t i = 0; i < n; ++i) {
      MERRITT_TRY(Value value, evaluate(node.children[i]));
      entries.emplace_back(node.names[i], std::move(value));
    }
    auto all = Value::dict(std::move(entries));
    if (!all.ok()) return place(node, all.status());
    self = std::move(all).value();
    n = 0;
  }
  for (size_t i = 0; i < n; ++i) {
    if (node.children[i] == kNoNode) continue;
    MERRITT_TRY(values[i], evaluate(node.children[i]));
    pointers[i] = &values[i];
  }
  return place_value(node, node.routine->run({node.routine->name, self, {pointers, n}, meter_, input_.unix_seconds}));
}

// A macro sees its arguments and what the template has set outside of any loop and macro.
TemplateRenderer::Eval TemplateRenderer::macro_call(const Node& node) {
  MERRITT_TRY(const Value* found, lookup(node, node.text));
  if (found == nullptr || !found->is(Kind::kCallable)) {
    return fail(node, Code::kInvalidArgument, "'" + node.text + "' is not a macro here");
  }
  const Node& macro = syntax_.nodes[static_cast<size_t>(found->as_int())];
  if (macro.kind != NodeKind::kMacro)
    return fail(node, Code::kUnsupported, "calling a function by another name is not supported");
  ValueList values;
  for (const uint32_t child : node.children) {
    MERRITT_TRY(Value value, evaluate(child));
    values.push_back(std::move(value));
  }
  const size_t size = variables_.size();
  const Scope outer = open_scope();
  scope_.floor = scope_.begin;
  const Status bound = bind_arguments(node, macro, std::move(values));
  Result<std::string> shown = bound.ok() ? capture(macro.children[0]) : Result<std::string>(bound);
  close_scope(outer, size);
  if (!shown.ok()) return shown.status();
  return Value::text(std::move(shown).value());
}

Status TemplateRenderer::bind_arguments(const Node& node, const Node& macro, ValueList values) {
  std::vector<bool> given(macro.names.size(), false);
  for (size_t i = 0; i < values.size(); ++i) {
    size_t slot = i;
    if (!node.names[i].empty()) {
      slot =
          static_cast<size_t>(std::find(macro.names.begin(), macro.names.end(), node.names[i]) - macro.names.begin());
    }
    if (slot >= macro.names.size() || given[slot]) {
      return fail(node, Code::kInvalidArgument,
                  "the macro " + macro.text +
                      " has no such argument: " + (node.names[i].empty() ? std::to_string(i + 1) : node.names[i]));
    }
    given[slot] = true;
    MERRITT_CHECK(set(node, macro.names[slot], std::move(values[i])));
  }
  for (size_t i = 0; i < macro.names.size(); ++i) {
    if (given[i]) continue;
    Value value;
    if (macro.children[i + 1] != kNoNode) {
      MERRITT_TRY(value, evaluate(macro.children[i + 1]));
    }
    MERRITT_CHECK(set(node, macro.names[i], std::move(value)));
  }
  return {};
}

TemplateRenderer::Eval TemplateRenderer::negate(const Node& node) {
  MERRITT_TRY(const Value value, evaluate(node.children[0]));
  if (!value.is_number()) return fail(node, Code::kInvalidArgument, "a sign needs a number");
  if (node.kind == NodeKind::kPlus) return value.is(Kind::kBool) ? Value::integer(value.as_int()) : value;
  if (value.is(Kind::kFloat)) return Value::real(-value.as_double());
  return place_value(node, arithmetic("-", Value::integer(0), value, meter_));
}

TemplateRenderer::Eval TemplateRenderer::fold(const Node& node) {
  MERRITT_TRY(Value left, evaluate(node.children[0]));
  for (size_t i = 0; i < node.names.size(); ++i) {
    MERRITT_TRY(const Value right, evaluate(node.children[i + 1]));
    auto result = arithmetic(node.names[i], std::move(left), right, meter_);
    if (!result.ok()) return place(node, result.status());
    left = std::move(result).value();
  }
  return left;
}

TemplateRenderer::Eval TemplateRenderer::concat(const Node& node) {
  std::string text;
  for (const uint32_t child : node.children) {
    MERRITT_TRY(const Value value, evaluate(child));
    MERRITT_CHECK(place(node, check_not_safe("'~'", value)));
    MERRITT_CHECK(place(node, append_text(value, false, meter_, text)));
  }
  return Value::text(std::move(text));
}

TemplateRenderer::Eval TemplateRenderer::compare_chain(const Node& node) {
  MERRITT_TRY(Value left, evaluate(node.children[0]));
  for (size_t i = 0; i < node.names.size(); ++i) {
    MERRITT_TRY(Value right, evaluate(node.children[i + 1]));
    const auto answer = compare(node.names[i], left, right, meter_);
    if (!answer.ok()) return place(node, answer.status());
    if (!answer.value()) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

TemplateRenderer::Eval TemplateRenderer::either(const Node& node) {
  Value value;
  for (const uint32_t child : node.children) {
    MERRITT_TRY(value, evaluate(child));
    if (value.truthy() == (node.kind == NodeKind::kOr)) break;
  }
  return value;
}

}  // namespace merritt::tokens
