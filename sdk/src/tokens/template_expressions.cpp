// SPDX-License-Identifier: Apache-2.0
// The parser's part for expressions, with Jinja's precedence: conditional, or, and, not, comparisons, + -, ~, * / // %,
// signs, then members and calls, then filters and tests.
#include "tokens/template_parser.hpp"

namespace merritt::tokens {
namespace {

enum Level : int {
  kLevelOr = 1,
  kLevelAnd,
  kLevelNot,
  kLevelCompare,
  kLevelSum,
  kLevelConcat,
  kLevelProduct,
  kLevelUnary
};

bool is_operator(int level, const Lexeme& lexeme) {
  const std::string_view text = lexeme.text;
  if (lexeme.kind == LexKind::kName) {
    return (level == kLevelOr && text == "or") || (level == kLevelAnd && text == "and") ||
           (level == kLevelCompare && text == "in");
  }
  if (lexeme.kind != LexKind::kPunct) return false;
  switch (level) {
    case kLevelCompare:
      return text == "==" || text == "!=" || text == "<" || text == "<=" || text == ">" || text == ">=";
    case kLevelSum: return text == "+" || text == "-";
    case kLevelConcat: return text == "~";
    case kLevelProduct: return text == "*" || text == "/" || text == "//" || text == "%";
    default: return false;
  }
}

}  // namespace

TemplateParser::Id TemplateParser::expression() {
  const Deeper deeper(depth_);
  if (depth_ > kTreeDepthMax) return too_deep();
  MERRITT_TRY(uint32_t value, operators(kLevelOr));
  while (take_word("if")) {
    MERRITT_TRY(const uint32_t condition, operators(kLevelOr));
    uint32_t otherwise = kNoNode;
    if (take_word("else")) {
      MERRITT_TRY(otherwise, expression());
    }
    MERRITT_TRY(value, add(make(NodeKind::kIf, {}, {value, condition, otherwise})));
  }
  return value;
}

// One level of binary operators. All operators of a level in a row become one node, so that a long sum is not a deep
// tree.
TemplateParser::Id TemplateParser::operators(int level) {
  if (level == kLevelUnary) return unary(true);
  if (level == kLevelNot && is_word("not")) {
    const Deeper deeper(depth_);
    if (depth_ > kTreeDepthMax) return too_deep();
    Node node = make(NodeKind::kNot);
    take();
    MERRITT_TRY(const uint32_t value, operators(kLevelNot));
    node.children = {value};
    return add(std::move(node));
  }
  MERRITT_TRY(const uint32_t left, operators(level + 1));
  static constexpr NodeKind kKinds[] = {NodeKind::kBlock,   NodeKind::kOr,   NodeKind::kAnd,    NodeKind::kNot,
                                        NodeKind::kCompare, NodeKind::kFold, NodeKind::kConcat, NodeKind::kFold};
  return level == kLevelNot ? Id(left) : chain(left, level, kKinds[level]);
}

TemplateParser::Id TemplateParser::chain(uint32_t left, int level, NodeKind kind) {
  Node node = make(kind, {}, {left});
  for (;;) {
    std::string op;
    if (is_operator(level, peek())) {
      op = take().text;
    } else if (level == kLevelCompare && is_word("not") && peek(1).kind == LexKind::kName && peek(1).text == "in") {
      take();
      take();
      op = "not in";
    } else {
      break;
    }
    MERRITT_TRY(const uint32_t right, operators(level + 1));
    node.children.push_back(right);
    node.names.push_back(std::move(op));
  }
  if (is_punct("**")) return unsupported("the operator **");
  if (node.children.size() == 1) return left;
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::unary(bool with_filters) {
  const Deeper deeper(depth_);
  if (depth_ > kTreeDepthMax) return too_deep();
  uint32_t value = kNoNode;
  if (is_punct("-") || is_punct("+")) {
    Node node = make(is_punct("-") ? NodeKind::kNegate : NodeKind::kPlus);
    take();
    MERRITT_TRY(value, unary(false));
    node.children = {value};
    MERRITT_TRY(value, add(std::move(node)));
  } else {
    MERRITT_TRY(value, primary());
  }
  MERRITT_TRY(value, postfix(value));
  return with_filters ? filters(value) : Id(value);
}

TemplateParser::Id TemplateParser::postfix(uint32_t value) {
  for (;;) {
    if (is_punct("(")) return unsupported("calling the result of an expression");
    if (is_punct("[")) {
      MERRITT_TRY(value, subscript(value));
      continue;
    }
    if (!take_punct(".")) return value;
    if (peek().kind == LexKind::kInt) {
      MERRITT_TRY(const uint32_t index, number());
      MERRITT_TRY(value, add(make(NodeKind::kIndex, {}, {value, index})));
      continue;
    }
    if (peek().kind != LexKind::kName) return corrupt("an attribute name is missing after '.'");
    Node node = make(NodeKind::kAttribute, take().text, {value});
    if (is_punct("(")) {
      node.kind = NodeKind::kApply;
      node.routine = find_method(node.text);
      const std::string what = "the method ." + node.text + "()";
      if (node.routine == nullptr) return unsupported(what);
      MERRITT_TRY(Arguments given, arguments());
      MERRITT_CHECK(sort_arguments(node, std::move(given), what));
    }
    MERRITT_TRY(value, add(std::move(node)));
  }
}

TemplateParser::Id TemplateParser::filters(uint32_t value) {
  for (;;) {
    if (is_punct("|")) {
      MERRITT_TRY(value, filter(value));
    } else if (is_word("is")) {
      MERRITT_TRY(value, test(value));
    } else if (is_punct("(")) {
      return unsupported("calling the result of an expression");
    } else {
      return value;
    }
  }
}

TemplateParser::Id TemplateParser::filter(uint32_t value) {
  take();
  if (peek().kind != LexKind::kName) return corrupt("the name of a filter is missing");
  Node node = make(NodeKind::kApply, peek().text, {value});
  node.routine = find_filter(node.text);
  const std::string what = "the filter '" + node.text + "'";
  if (node.routine == nullptr) return unsupported(what);
  take();
  Arguments given;
  if (is_punct("(")) {
    MERRITT_TRY(given, arguments());
  }
  MERRITT_CHECK(sort_arguments(node, std::move(given), what));
  return add(std::move(node));
}

// is [not] name, name(argument) or name argument.
TemplateParser::Id TemplateParser::test(uint32_t value) {
  take();
  const bool negated = take_word("not");
  if (peek().kind != LexKind::kName) return corrupt("the name of a test is missing");
  Node node = make(NodeKind::kApply, peek().text, {value});
  node.routine = find_test(node.text);
  const std::string what = "the test '" + node.text + "'";
  if (node.routine == nullptr) return unsupported(what);
  take();
  Arguments given;
  if (is_punct("(")) {
    MERRITT_TRY(given, arguments());
  } else if (node.routine->required != 0) {
    MERRITT_TRY(uint32_t other, primary());
    MERRITT_TRY(other, postfix(other));
    given.values = {other};
    given.names = {""};
  }
  MERRITT_CHECK(sort_arguments(node, std::move(given), what));
  if (is_word("is")) return corrupt("tests cannot be chained with 'is'");
  MERRITT_TRY(const uint32_t tested, add(std::move(node)));
  return negated ? add(make(NodeKind::kNot, {}, {tested})) : Id(tested);
}

TemplateParser::Id TemplateParser::subscript(uint32_t value) {
  take();
  uint32_t bounds[3] = {kNoNode, kNoNode, kNoNode};
  uint32_t n = 0;
  for (;; ++n) {
    if (!is_punct(":") && !is_punct("]")) {
      MERRITT_TRY(bounds[n], expression());
    }
    if (n == 2 || !take_punct(":")) break;
  }
  if (is_punct(",")) return unsupported("an index of several parts");
  MERRITT_CHECK(expect_punct("]"));
  if (n == 0) {
    if (bounds[0] == kNoNode) return corrupt("the index is missing");
    return add(make(NodeKind::kIndex, {}, {value, bounds[0]}));
  }
  return add(make(NodeKind::kSlice, {}, {value, bounds[0], bounds[1], bounds[2]}));
}

Result<TemplateParser::Arguments> TemplateParser::arguments() {
  take();
  Arguments out;
  while (!is_punct(")")) {
    if (is_punct("*") || is_punct("**")) return unsupported("'" + peek().text + "' before an argument");
    std::string name;
    if (peek().kind == LexKind::kName && peek(1).kind == LexKind::kPunct && peek(1).text == "=") {
      name = take().text;
      take();
    } else if (!out.names.empty() && !out.names.back().empty()) {
      return corrupt("an argument without a name follows one with a name");
    }
    if (!name.empty() && std::find(out.names.begin(), out.names.end(), name) != out.names.end()) {
      return corrupt("the argument '" + name + "' is given twice");
    }
    MERRITT_TRY(const uint32_t value, expression());
    out.values.push_back(value);
    out.names.push_back(std::move(name));
    if (!take_punct(",")) break;
  }
  MERRITT_CHECK(expect_punct(")"));
  return out;
}

// Appends the arguments to the node's children in the order of the routine's parameters.
Status TemplateParser::sort_arguments(Node& node, Arguments arguments, const std::string& what) const {
  const Routine& routine = *node.routine;
  if (routine.any_names) {
    for (const std::string& name : arguments.names) {
      if (name.empty()) return unsupported(what + " with a value that has no name");
    }
    node.children = std::move(arguments.values);
    node.names = std::move(arguments.names);
    return {};
  }
  const size_t n = routine.parameter_count();
  size_t by_position = 0;
  while (by_position < n && !routine.parameters[by_position].starts_with('=')) ++by_position;
  std::vector<uint32_t> sorted(n, kNoNode);
  for (size_t i = 0; i < arguments.values.size(); ++i) {
    const std::string& name = arguments.names[i];
    size_t slot = i;
    if (name.empty() && i >= by_position) {
      return unsupported("more than " + std::to_string(by_position) + " arguments of " + what);
    }
    if (!name.empty()) {
      slot = 0;
      const auto is_named = [&](std::string_view p) {
        return p == name || (p.starts_with('=') && p.substr(1) == name);
      };
      while (slot < n && !is_named(routine.parameters[slot])) ++slot;
      if (slot == n) return unsupported("the argument '" + name + "' of " + what);
      if (sorted[slot] != kNoNode) return corrupt("the argument '" + name + "' of " + what + " is given twice");
    }
    sorted[slot] = arguments.values[i];
  }
  for (size_t i = 0; i < routine.required; ++i) {
    if (sorted[i] == kNoNode) return corrupt(what + " needs " + std::to_string(routine.required) + " arguments");
  }
  node.children.insert(node.children.end(), sorted.begin(), sorted.end());
  return {};
}

}  // namespace merritt::tokens
