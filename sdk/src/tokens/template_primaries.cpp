// SPDX-License-Identifier: Apache-2.0
// The parser's part for what operators and filters go with: literals, names, calls, and what is in brackets.
#include <charconv>

#include "tokens/template_parser.hpp"

namespace merritt::tokens {
namespace {

constexpr std::string_view kReserved[] = {"and", "else", "if", "in", "is", "not", "or"};

bool is_reserved(std::string_view word) {
  return std::find(std::begin(kReserved), std::end(kReserved), word) != std::end(kReserved);
}

}  // namespace

TemplateParser::Id TemplateParser::primary() {
  const Lexeme& lexeme = peek();
  switch (lexeme.kind) {
    case LexKind::kString: {
      Node node = make(NodeKind::kLiteral);
      std::string text = take().text;
      while (peek().kind == LexKind::kString) text += take().text;
      node.value = Value::text(std::move(text));
      return add(std::move(node));
    }
    case LexKind::kInt:
    case LexKind::kFloat: return number();
    case LexKind::kName:
      if (!is_reserved(lexeme.text)) return name();
      break;
    case LexKind::kPunct:
      if (lexeme.text == "(") return parenthesis();
      if (lexeme.text == "[") return list();
      if (lexeme.text == "{") return dict();
      break;
    default: break;
  }
  return corrupt("an expression is missing" + (lexeme.text.empty() ? "" : " before '" + lexeme.text + "'"));
}

TemplateParser::Id TemplateParser::number() {
  Node node = make(NodeKind::kLiteral);
  const bool real = peek().kind == LexKind::kFloat;
  const std::string digits = take().text;
  const char* end = digits.data() + digits.size();
  if (real) {
    double x = 0;
    if (std::from_chars(digits.data(), end, x).ec != std::errc()) return unsupported("the number " + digits);
    node.value = Value::real(x);
  } else {
    int64_t i = 0;
    if (std::from_chars(digits.data(), end, i).ec != std::errc()) return unsupported("a whole number beyond 64 bits");
    node.value = Value::integer(i);
  }
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::name() {
  Node node = make(NodeKind::kLiteral);
  const std::string word = take().text;
  if (word == "true" || word == "True" || word == "false" || word == "False") {
    node.value = Value::boolean(word == "true" || word == "True");
    return add(std::move(node));
  }
  if (word == "none" || word == "None") {
    node.value = Value::none();
    return add(std::move(node));
  }
  if (in_macro_ && (word == "caller" || word == "varargs" || word == "kwargs")) {
    return unsupported("'" + word + "' in a macro");
  }
  node.text = word;
  node.kind = NodeKind::kName;
  if (!is_punct("(")) return add(std::move(node));
  node.routine = find_function(word);
  MERRITT_TRY(Arguments given, arguments());
  if (node.routine != nullptr) {
    node.kind = NodeKind::kFunction;
    MERRITT_CHECK(sort_arguments(node, std::move(given), "the function " + word + "()"));
  } else {
    node.kind = NodeKind::kMacroCall;
    macro_uses_.push_back({word, node.line});
    node.children = std::move(given.values);
    node.names = std::move(given.names);
  }
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::parenthesis() {
  Node node = make(NodeKind::kTuple);
  take();
  bool tuple = is_punct(")");
  while (!is_punct(")")) {
    MERRITT_TRY(const uint32_t value, expression());
    node.children.push_back(value);
    if (!take_punct(",")) break;
    tuple = true;
  }
  MERRITT_CHECK(expect_punct(")"));
  return tuple ? add(std::move(node)) : Id(node.children[0]);
}

TemplateParser::Id TemplateParser::list() {
  Node node = make(NodeKind::kList);
  take();
  while (!is_punct("]")) {
    MERRITT_TRY(const uint32_t item, expression());
    node.children.push_back(item);
    if (!take_punct(",")) break;
  }
  MERRITT_CHECK(expect_punct("]"));
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::dict() {
  Node node = make(NodeKind::kDict);
  take();
  while (!is_punct("}")) {
    MERRITT_TRY(const uint32_t key, expression());
    MERRITT_CHECK(expect_punct(":"));
    MERRITT_TRY(const uint32_t value, expression());
    node.children.push_back(key);
    node.children.push_back(value);
    if (!take_punct(",")) break;
  }
  MERRITT_CHECK(expect_punct("}"));
  return add(std::move(node));
}

}  // namespace merritt::tokens
