// SPDX-License-Identifier: Apache-2.0
// The renderer: walks the tree under a budget of steps and bytes. The tree's depth was bounded by the parser, so the
// recursion here is too.
#include "tokens/chat_template.hpp"

#include <algorithm>

#include "tokens/template_functions.hpp"
#include "tokens/template_syntax.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

class Renderer {
 public:
  Renderer(const Syntax& syntax, const ChatInput& input, const RenderBudget& budget, std::string& out)
      : syntax_(syntax), input_(input), budget_(budget), out_(out), start_(out.size()) {}

  Status run() {
    ValueList messages;
    for (const ChatMessage& message : input_.messages) {
      messages.push_back(
          Value::from(ValueDict{{"role", Value::from(message.role)}, {"content", Value::from(message.content)}}));
    }
    set("messages", Value::from(std::move(messages)));
    set("add_generation_prompt", Value::from(input_.add_generation_prompt));
    set("bos_token", Value::from(input_.bos_text));
    set("eos_token", Value::from(input_.eos_text));
    return statement(syntax_.root);
  }

 private:
  using Eval = Result<Value>;
  struct Variable {
    std::string_view name;
    Value value;
  };

  Status fail(const Node& node, Code code, const std::string& what) const {
    return Status(code, "chat template, line " + std::to_string(node.line) + ": " + what);
  }
  Status place(const Node& node, Status status) const {
    return Status(status.code(),
                  "chat template, line " + std::to_string(node.line) + ": " + std::string(status.message()));
  }

  Status step(const Node& node) {
    if (++steps_ > budget_.steps) {
      return fail(node, Code::kInvalidArgument,
                  "rendering takes more than " + std::to_string(budget_.steps) + " steps");
    }
    return {};
  }
  Status check_bytes(const Node& node, size_t bytes) const {
    if (bytes <= budget_.bytes) return {};
    return fail(node, Code::kInvalidArgument, "rendering makes more than " + std::to_string(budget_.bytes) + " bytes");
  }

  // Text that is made or copied costs a step for every 64 bytes, so that the budget of steps bounds memory as well.
  void charge(size_t bytes) { steps_ += bytes / 64; }

  // Variables: a stack of scopes; a loop's body is one.
  void set(std::string_view name, Value value) {
    for (size_t i = variables_.size(); i != scope_; --i) {
      if (variables_[i - 1].name == name) {
        variables_[i - 1].value = std::move(value);
        return;
      }
    }
    variables_.push_back({name, std::move(value)});
  }
  const Value* lookup(std::string_view name) const {
    for (size_t i = variables_.size(); i != 0; --i) {
      if (variables_[i - 1].name == name) return &variables_[i - 1].value;
    }
    return nullptr;
  }

  Status statement(uint32_t index) {
    const Node& node = syntax_.nodes[index];
    MERRITT_CHECK(step(node));
    switch (node.kind) {
      case NodeKind::kBlock:
        for (const uint32_t child : node.children) MERRITT_CHECK(statement(child));
        return {};
      case NodeKind::kText: out_ += node.text; return check_bytes(node, out_.size() - start_);
      case NodeKind::kPrint: {
        MERRITT_TRY(const Value value, evaluate(node.children[0]));
        append_text(value, false, out_);
        return check_bytes(node, out_.size() - start_);
      }
      case NodeKind::kBranch: return branch(node);
      case NodeKind::kFor: return loop(node);
      case NodeKind::kSet: return assign(node);
      default: return fail(node, Code::kInternal, "an expression stands where a statement should");
    }
  }

  Status branch(const Node& node) {
    size_t i = 0;
    for (; i + 1 < node.children.size(); i += 2) {
      MERRITT_TRY(const Value condition, evaluate(node.children[i]));
      if (condition.truthy()) return statement(node.children[i + 1]);
    }
    return i < node.children.size() ? statement(node.children[i]) : Status();
  }

  Status assign(const Node& node) {
    MERRITT_TRY(Value value, evaluate(node.children[0]));
    if (node.names.empty()) {
      set(node.text, std::move(value));
      return {};
    }
    const Value* space = lookup(node.text);
    if (space == nullptr || space->kind != Kind::kNamespace) {
      return fail(node, Code::kInvalidArgument, node.text + " is not a namespace");
    }
    ValueDict& entries = *space->dict;
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.first == node.names[0]; });
    if (found != entries.end()) {
      found->second = std::move(value);
    } else {
      entries.emplace_back(node.names[0], std::move(value));
    }
    return {};
  }

  // What a loop goes over: list items, dict keys, characters of a string.
  Result<ValueList> items_of(const Node& node, const Value& value) {
    switch (value.kind) {
      case Kind::kList:
        for (const Value& item : *value.list) charge(64 + item.text.size());
        return *value.list;
      case Kind::kDict: {
        ValueList keys;
        for (const auto& entry : *value.dict) keys.push_back(Value::from(entry.first));
        return keys;
      }
      case Kind::kUndefined: return ValueList{};
      default:
        return fail(node, Code::kInvalidArgument,
                    "a loop cannot go over a value of type " + std::string(value.kind_name()));
    }
  }

  Status bind(const Node& node, const Value& item) {
    if (node.names.size() == 1) {
      set(node.names[0], item);
      return {};
    }
    if (item.kind != Kind::kList || item.list->size() != node.names.size()) {
      return fail(node, Code::kInvalidArgument,
                  "an item does not have " + std::to_string(node.names.size()) + " parts");
    }
    for (size_t i = 0; i < node.names.size(); ++i) set(node.names[i], (*item.list)[i]);
    return {};
  }

  Status loop(const Node& node) {
    MERRITT_TRY(const Value over, evaluate(node.children[0]));
    MERRITT_TRY(ValueList items, items_of(node, over));
    const size_t outer_scope = scope_, outer_size = variables_.size();
    scope_ = outer_size;
    Status outcome = loop_items(node, items);
    variables_.resize(outer_size);
    scope_ = outer_scope;
    return outcome;
  }

  Status loop_items(const Node& node, ValueList& items) {
    if (node.children[1] != kNoNode) {
      ValueList kept;
      for (Value& item : items) {
        MERRITT_CHECK(step(node));
        MERRITT_CHECK(bind(node, item));
        MERRITT_TRY(const Value keep, evaluate(node.children[1]));
        if (keep.truthy()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) return node.children[3] == kNoNode ? Status() : statement(node.children[3]);
    for (size_t i = 0; i < items.size(); ++i) {
      variables_.resize(scope_);  // what the last round set is gone
      MERRITT_CHECK(bind(node, items[i]));
      const auto n = static_cast<int64_t>(items.size()), at = static_cast<int64_t>(i);
      set("loop", Value::from(ValueDict{{"index", Value::from(at + 1)},
                                        {"index0", Value::from(at)},
                                        {"revindex", Value::from(n - at)},
                                        {"revindex0", Value::from(n - at - 1)},
                                        {"first", Value::from(i == 0)},
                                        {"last", Value::from(i + 1 == items.size())},
                                        {"length", Value::from(n)},
                                        {"previtem", i == 0 ? Value() : items[i - 1]},
                                        {"nextitem", i + 1 == items.size() ? Value() : items[i + 1]}}));
      MERRITT_CHECK(statement(node.children[2]));
    }
    return {};
  }

  Eval evaluate(uint32_t index) {
    const Node& node = syntax_.nodes[index];
    MERRITT_CHECK(step(node));
    switch (node.kind) {
      case NodeKind::kLiteral: charge(node.value.text.size()); return node.value;
      case NodeKind::kName: {
        const Value* value = lookup(node.text);
        if (value == nullptr) return Value();
        charge(value->text.size());
        return *value;
      }
      case NodeKind::kList: {
        ValueList items;
        for (const uint32_t child : node.children) {
          MERRITT_TRY(Value item, evaluate(child));
          items.push_back(std::move(item));
        }
        return Value::from(std::move(items));
      }
      case NodeKind::kDict: return dict(node);
      case NodeKind::kAttribute:
      case NodeKind::kIndex: return member(node);
      case NodeKind::kSlice: return slice(node);
      case NodeKind::kCall: return call(node);
      case NodeKind::kMethod:
      case NodeKind::kFilter: return apply(node);
      case NodeKind::kTest: {
        MERRITT_TRY(const Value value, evaluate(node.children[0]));
        auto answer = apply_test(node.text, value);
        if (!answer.ok()) return place(node, answer.status());
        return Value::from(*answer);
      }
      case NodeKind::kNot: {
        MERRITT_TRY(const Value value, evaluate(node.children[0]));
        return Value::from(!value.truthy());
      }
      case NodeKind::kNegate: {
        MERRITT_TRY(Value value, evaluate(node.children[0]));
        if (value.kind == Kind::kInt && value.integer != INT64_MIN) return Value::from(-value.integer);
        if (value.kind != Kind::kFloat) return fail(node, Code::kInvalidArgument, "'-' needs a number");
        value.real = -value.real;
        return value;
      }
      case NodeKind::kBinary: return binary(node);
      case NodeKind::kIf: {
        MERRITT_TRY(const Value condition, evaluate(node.children[1]));
        if (condition.truthy()) return evaluate(node.children[0]);
        return node.children[2] == kNoNode ? Value() : evaluate(node.children[2]);
      }
      default: return fail(node, Code::kInternal, "a statement stands where an expression should");
    }
  }

  Eval dict(const Node& node) {
    ValueDict entries;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      MERRITT_TRY(const Value key, evaluate(node.children[i]));
      MERRITT_TRY(Value value, evaluate(node.children[i + 1]));
      if (key.kind != Kind::kString) return fail(node, Code::kInvalidArgument, "a dict key must be a string");
      entries.emplace_back(key.text, std::move(value));
    }
    return Value::from(std::move(entries));
  }

  Eval member(const Node& node) {
    MERRITT_TRY(const Value object, evaluate(node.children[0]));
    Value key = Value::from(node.text);
    if (node.kind == NodeKind::kIndex) {
      MERRITT_TRY(key, evaluate(node.children[1]));
    }
    if (object.kind == Kind::kUndefined) {
      return fail(node, Code::kInvalidArgument, "a member of something undefined is asked for");
    }
    if (key.kind == Kind::kString) {
      const Value* found = object.find(key.text);
      if (found == nullptr) return Value();
      charge(found->text.size());
      return *found;
    }
    if (key.kind != Kind::kInt || object.kind != Kind::kList) return Value();
    const auto size = static_cast<int64_t>(object.list->size());
    const int64_t at = key.integer < 0 ? key.integer + size : key.integer;
    return at < 0 || at >= size ? Value() : (*object.list)[static_cast<size_t>(at)];
  }

  Eval slice(const Node& node) {
    MERRITT_TRY(const Value object, evaluate(node.children[0]));
    int64_t bounds[3] = {0, INT64_MAX, 1};
    bool given[3] = {};
    for (size_t i = 0; i < 3; ++i) {
      if (node.children[i + 1] == kNoNode) continue;
      MERRITT_TRY(const Value bound, evaluate(node.children[i + 1]));
      if (bound.kind == Kind::kNone) continue;
      if (bound.kind != Kind::kInt) return fail(node, Code::kInvalidArgument, "a slice needs whole numbers");
      bounds[i] = bound.integer;
      given[i] = true;
    }
    const bool is_list = object.kind == Kind::kList;
    if (!is_list && object.kind != Kind::kString) {
      return fail(node, Code::kInvalidArgument,
                  "a value of type " + std::string(object.kind_name()) + " cannot be sliced");
    }
    if (bounds[2] == 0) return fail(node, Code::kInvalidArgument, "a slice's step is 0");
    if (!is_list && bounds[2] != 1) return fail(node, Code::kUnsupported, "a string slice with a step");
    const auto size = static_cast<int64_t>(is_list ? object.list->size() : object.text.size());
    const bool down = bounds[2] < 0;
    const auto clamp = [&](int64_t at) {
      if (at < 0) at += size;
      return std::clamp<int64_t>(at, down ? -1 : 0, down ? size - 1 : size);
    };
    const int64_t first = given[0] ? clamp(bounds[0]) : down ? size - 1 : 0;
    const int64_t last = given[1] ? clamp(bounds[1]) : down ? -1 : size;
    if (!is_list) {
      // Positions in a string are bytes here; only cuts between characters mean what Python means.
      const auto is_tail = [&](int64_t at) {
        return at < size && (static_cast<uint8_t>(object.text[static_cast<size_t>(at)]) & 0xC0) == 0x80;
      };
      if (is_tail(first) || is_tail(last)) return fail(node, Code::kUnsupported, "a slice inside a character");
      return Value::from(first >= last
                             ? std::string()
                             : object.text.substr(static_cast<size_t>(first), static_cast<size_t>(last - first)));
    }
    ValueList items;
    for (int64_t at = first; down ? at > last : at < last; at += bounds[2]) {
      MERRITT_CHECK(step(node));
      items.push_back((*object.list)[static_cast<size_t>(at)]);
      if (bounds[2] > size || bounds[2] < -size) break;
    }
    return Value::from(std::move(items));
  }

  Result<std::vector<Argument>> arguments(const Node& node, size_t first) {
    std::vector<Argument> out;
    for (size_t i = first; i < node.children.size(); ++i) {
      MERRITT_TRY(Value value, evaluate(node.children[i]));
      out.push_back({node.names[i - first], std::move(value)});
    }
    return out;
  }

  Eval apply(const Node& node) {
    MERRITT_TRY(const Value value, evaluate(node.children[0]));
    MERRITT_TRY(const std::vector<Argument> args, arguments(node, 1));
    charge(value.text.size());
    auto result =
        node.kind == NodeKind::kFilter ? apply_filter(node.text, value, args) : apply_method(node.text, value, args);
    if (!result.ok()) return place(node, result.status());
    charge(result->text.size());
    if (result->list != nullptr) charge(64 * result->list->size());
    MERRITT_CHECK(check_bytes(node, result->text.size()));
    return result;
  }

  Eval call(const Node& node) {
    MERRITT_TRY(std::vector<Argument> args, arguments(node, 0));
    if (node.text == "raise_exception") {
      const Value* text = argument(args, 0, "message");
      return Status(Code::kInvalidArgument,
                    "the chat template says: " + (text == nullptr ? std::string() : text->text));
    }
    if (node.text == "namespace" || node.text == "dict") {
      ValueDict entries;
      for (Argument& each : args) {
        if (each.name.empty()) return fail(node, Code::kUnsupported, node.text + "() with a value that has no name");
        entries.emplace_back(std::string(each.name), std::move(each.value));
      }
      return Value::from(std::move(entries), node.text == "dict" ? Kind::kDict : Kind::kNamespace);
    }
    if (node.text == "strftime_now") {
      const Value* format = argument(args, 0, "format");
      if (format == nullptr || format->kind != Kind::kString)
        return fail(node, Code::kInvalidArgument, "strftime_now needs a format");
      auto text = format_time(format->text, input_.unix_seconds);
      if (!text.ok()) return place(node, text.status());
      return Value::from(std::move(text).value());
    }
    int64_t bounds[2] = {0, 0};
    for (size_t i = 0; i < args.size(); ++i) {
      if (i > 1 || args[i].value.kind != Kind::kInt)
        return fail(node, Code::kUnsupported, "range() with anything but one or two whole numbers");
      bounds[i] = args[i].value.integer;
    }
    if (args.size() == 1) std::swap(bounds[0], bounds[1]);
    ValueList numbers;
    for (int64_t i = bounds[0]; i < bounds[1]; ++i) {
      MERRITT_CHECK(step(node));
      numbers.push_back(Value::from(i));
    }
    return Value::from(std::move(numbers));
  }

  Eval binary(const Node& node) {
    const std::string& op = node.text;
    MERRITT_TRY(Value left, evaluate(node.children[0]));
    if (op == "and" || op == "or") {
      if (left.truthy() == (op == "or")) return left;
      return evaluate(node.children[1]);
    }
    MERRITT_TRY(const Value right, evaluate(node.children[1]));
    if (op == "==") return Value::from(left.equals(right));
    if (op == "!=") return Value::from(!left.equals(right));
    if (op == "in") return contains(node, left, right);
    if (op == "~") {
      std::string text;
      append_text(left, false, text);
      append_text(right, false, text);
      charge(text.size());
      MERRITT_CHECK(check_bytes(node, text.size()));
      return Value::from(std::move(text));
    }
    if (left.kind == Kind::kString && right.kind == Kind::kString) return strings(node, std::move(left), right);
    if (op == "+" && left.kind == Kind::kList && right.kind == Kind::kList) {
      ValueList items = *left.list;
      items.insert(items.end(), right.list->begin(), right.list->end());
      for (const Value& item : items) charge(64 + item.text.size());
      return Value::from(std::move(items));
    }
    if (left.is_number() && right.is_number()) return numbers(node, left, right);
    return fail(node, Code::kInvalidArgument,
                "'" + op + "' cannot take values of types " + std::string(left.kind_name()) + " and " +
                    std::string(right.kind_name()));
  }

  Eval contains(const Node& node, const Value& left, const Value& right) {
    if (right.kind == Kind::kString && left.kind == Kind::kString) {
      charge(right.text.size());
      return Value::from(right.text.find(left.text) != std::string::npos);
    }
    if (right.kind == Kind::kList) {
      steps_ += right.list->size();
      return Value::from(
          std::any_of(right.list->begin(), right.list->end(), [&](const Value& v) { return v.equals(left); }));
    }
    if (right.dict != nullptr && left.kind == Kind::kString) return Value::from(right.find(left.text) != nullptr);
    return fail(node, Code::kInvalidArgument,
                "'in' cannot look into a value of type " + std::string(right.kind_name()));
  }

  Eval strings(const Node& node, Value left, const Value& right) {
    const std::string& op = node.text;
    if (op == "+") {
      charge(left.text.size() + right.text.size());
      MERRITT_CHECK(check_bytes(node, left.text.size() + right.text.size()));
      left.text += right.text;
      return left;
    }
    const int order = left.text.compare(right.text);
    if (op == "<") return Value::from(order < 0);
    if (op == "<=") return Value::from(order <= 0);
    if (op == ">") return Value::from(order > 0);
    if (op == ">=") return Value::from(order >= 0);
    return fail(node, Code::kInvalidArgument, "'" + op + "' cannot take strings");
  }

  Eval numbers(const Node& node, const Value& left, const Value& right) {
    const std::string& op = node.text;
    const double a = left.number(), b = right.number();
    if (op == "<") return Value::from(a < b);
    if (op == "<=") return Value::from(a <= b);
    if (op == ">") return Value::from(a > b);
    if (op == ">=") return Value::from(a >= b);
    const bool whole = left.kind != Kind::kFloat && right.kind != Kind::kFloat;
    if (!whole || op == "/") {
      if ((op == "/" || op == "//" || op == "%") && b == 0)
        return fail(node, Code::kInvalidArgument, "division by zero");
      Value out = Value::of(Kind::kFloat);
      out.real = op == "+" ? a + b : op == "-" ? a - b : op == "*" ? a * b : a / b;
      if (op == "//" || op == "%") return fail(node, Code::kUnsupported, "'" + op + "' of numbers that are not whole");
      return out;
    }
    const int64_t x = left.kind == Kind::kBool ? left.boolean : left.integer;
    const int64_t y = right.kind == Kind::kBool ? right.boolean : right.integer;
    int64_t out = 0;
    bool overflow = false;
    if (op == "+") overflow = __builtin_add_overflow(x, y, &out);
    if (op == "-") overflow = __builtin_sub_overflow(x, y, &out);
    if (op == "*") overflow = __builtin_mul_overflow(x, y, &out);
    if (op == "//" || op == "%") {
      if (y == 0) return fail(node, Code::kInvalidArgument, "division by zero");
      if (y == -1) return op == "%" ? Value::from(int64_t{0}) : Value::from(x == INT64_MIN ? INT64_MAX : -x);
      const int64_t remainder = x % y;
      const bool adjust = remainder != 0 && (remainder < 0) != (y < 0);  // Python rounds down
      out = op == "//" ? x / y - adjust : remainder + (adjust ? y : 0);
    }
    if (overflow) return fail(node, Code::kInvalidArgument, "a number is too large");
    return Value::from(out);
  }

  const Syntax& syntax_;
  const ChatInput& input_;
  const RenderBudget& budget_;
  std::string& out_;
  const size_t start_;
  uint64_t steps_ = 0;
  size_t scope_ = 0;  // where the innermost scope begins in variables_
  std::vector<Variable> variables_;
};

}  // namespace

struct ChatTemplate::Program {
  Syntax syntax;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Program> program) : program_(std::move(program)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::compile(std::string_view source) {
  auto program = std::make_unique<Program>();
  MERRITT_TRY(program->syntax, parse_template(source));
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(program)));
}

Status ChatTemplate::render(const ChatInput& input, const RenderBudget& budget, std::string& out) const {
  const size_t before = out.size();
  Status outcome = Renderer(program_->syntax, input, budget, out).run();
  if (!outcome.ok()) out.resize(before);
  return outcome;
}

std::optional<BuiltinTemplate> builtin_chat_template(std::string_view architecture) {
  // Gemma's turn format: two roles, no system role; system text goes before the first user text. BOS is the
  // tokenizer's.
  static constexpr std::string_view kGemma =
      "{%- set ns = namespace(system='') -%}\n"
      "{%- for message in messages -%}\n"
      "{%- if message.role == 'system' -%}{%- set ns.system = ns.system + message.content + '\\n\\n' -%}\n"
      "{%- else -%}\n"
      "{%- set role = 'model' if message.role == 'assistant' else message.role -%}\n"
      "{%- if role not in ['user', 'model'] -%}{{ raise_exception('roles are system, user and assistant') }}{%- endif "
      "-%}\n"
      "{{ '<start_of_turn>' + role + '\\n' + (ns.system if role == 'user' else '') + message.content|trim }}"
      "{{ '<end_of_turn>\\n' }}\n"
      "{%- if role == 'user' -%}{%- set ns.system = '' -%}{%- endif -%}\n"
      "{%- endif -%}\n"
      "{%- endfor -%}\n"
      "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}";
  if (architecture == "gemma3") return BuiltinTemplate{"gemma", kGemma};
  return std::nullopt;
}

}  // namespace merritt::tokens
