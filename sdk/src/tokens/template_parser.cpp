// SPDX-License-Identifier: Apache-2.0
// Recursive descent over the lexemes, bounded in depth. Refuses at compile, by name and line, what the renderer lacks.
#include <algorithm>

#include "tokens/template_lexer.hpp"
#include "tokens/template_syntax.hpp"

namespace merritt::tokens {
namespace {

constexpr uint32_t kDepthMax = 64;
constexpr size_t kNodesMax = 100'000;

class Parser {
 public:
  explicit Parser(std::vector<Lexeme> lexemes) : lexemes_(std::move(lexemes)) {}

  Result<Syntax> run() {
    std::string end;
    MERRITT_TRY(syntax_.root, block({}, end));
    if (peek().kind != LexKind::kEnd) return corrupt("a tag closes a block that is not open");
    return std::move(syntax_);
  }

 private:
  using Id = Result<uint32_t>;

  const Lexeme& peek(size_t ahead = 0) const { return lexemes_[std::min(at_ + ahead, lexemes_.size() - 1)]; }
  const Lexeme& take() { return lexemes_[at_ + 1 < lexemes_.size() ? at_++ : at_]; }
  bool is_punct(std::string_view text) const { return peek().kind == LexKind::kPunct && peek().text == text; }
  bool is_word(std::string_view text) const { return peek().kind == LexKind::kName && peek().text == text; }
  bool take_punct(std::string_view text) { return is_punct(text) && (take(), true); }
  bool take_word(std::string_view text) { return is_word(text) && (take(), true); }

  Status corrupt(const std::string& what) const {
    return Status(Code::kCorrupt, "chat template, line " + std::to_string(peek().line) + ": " + what);
  }
  Status unsupported(const std::string& what) const {
    return Status(Code::kUnsupported,
                  "chat template, line " + std::to_string(peek().line) + ": " + what + " is not supported");
  }
  Status expect_punct(std::string_view text) {
    if (take_punct(text)) return {};
    return corrupt("'" + std::string(text) + "' is missing" +
                   (peek().text.empty() ? "" : " before '" + peek().text + "'"));
  }
  Status expect_tag_end() {
    if (peek().kind != LexKind::kTagEnd)
      return corrupt("the tag goes on with '" + peek().text + "' where it should end");
    take();
    return {};
  }

  Id add(Node node) {
    if (syntax_.nodes.size() >= kNodesMax)
      return corrupt("the template is larger than " + std::to_string(kNodesMax) + " parts");
    syntax_.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(syntax_.nodes.size() - 1);
  }
  Node make(NodeKind kind, std::string text = {}, std::vector<uint32_t> children = {}) const {
    Node node{};
    node.kind = kind;
    node.line = peek().line;
    node.text = std::move(text);
    node.children = std::move(children);
    return node;
  }

  struct Deeper {
    explicit Deeper(uint32_t& depth) : depth_(depth) { ++depth_; }
    ~Deeper() { --depth_; }
    uint32_t& depth_;
  };

  // ---- statements
  // Until a tag whose word is in `ends` (taken, its word in *end) or the end of the source.
  Id block(const std::vector<std::string_view>& ends, std::string& end) {
    const Deeper deeper(depth_);
    if (depth_ > kDepthMax) return corrupt("blocks are nested deeper than " + std::to_string(kDepthMax));
    Node node = make(NodeKind::kBlock);
    for (;;) {
      const Lexeme& next = peek();
      if (next.kind == LexKind::kEnd) {
        if (!ends.empty()) return corrupt("'" + std::string(ends.back()) + "' is missing");
        return add(std::move(node));
      }
      if (next.kind == LexKind::kText) {
        MERRITT_TRY(const uint32_t text, add(make(NodeKind::kText, take().text)));
        node.children.push_back(text);
      } else if (next.kind == LexKind::kPrintBegin) {
        take();
        MERRITT_TRY(const uint32_t value, expression());
        if (peek().kind != LexKind::kPrintEnd) return corrupt("'}}' is missing before '" + peek().text + "'");
        take();
        MERRITT_TRY(const uint32_t print, add(make(NodeKind::kPrint, {}, {value})));
        node.children.push_back(print);
      } else {
        take();  // {%
        const std::string word = peek().text;
        if (std::find(ends.begin(), ends.end(), word) != ends.end()) {
          end = word;
          take();
          return add(std::move(node));
        }
        MERRITT_TRY(const uint32_t statement, tag(word));
        node.children.push_back(statement);
      }
    }
  }

  Id tag(const std::string& word) {
    if (word == "if") return branch();
    if (word == "for") return loop();
    if (word == "set") return assignment();
    if (word == "generation" || word == "endgeneration") {  // marks for training; nothing is shown
      take();
      MERRITT_CHECK(expect_tag_end());
      return add(make(NodeKind::kBlock));
    }
    static constexpr std::string_view kEnds[] = {"endif", "endfor", "else", "elif", "endset"};
    if (std::find(std::begin(kEnds), std::end(kEnds), word) != std::end(kEnds)) {
      return corrupt("'" + word + "' without its beginning");
    }
    return unsupported("the tag '" + word + "'");
  }

  Id branch() {
    take();
    Node node = make(NodeKind::kBranch);
    for (;;) {
      MERRITT_TRY(const uint32_t condition, expression());
      MERRITT_CHECK(expect_tag_end());
      std::string end;
      MERRITT_TRY(const uint32_t body, block({"elif", "else", "endif"}, end));
      node.children.push_back(condition);
      node.children.push_back(body);
      if (end == "elif") continue;
      if (end == "else") {
        MERRITT_CHECK(expect_tag_end());
        MERRITT_TRY(const uint32_t otherwise, block({"endif"}, end));
        node.children.push_back(otherwise);
      }
      MERRITT_CHECK(expect_tag_end());
      return add(std::move(node));
    }
  }

  Id loop() {
    take();
    Node node = make(NodeKind::kFor);
    do {
      if (peek().kind != LexKind::kName) return corrupt("a loop variable is missing");
      node.names.push_back(take().text);
    } while (take_punct(","));
    if (!take_word("in")) return corrupt("'in' is missing");
    MERRITT_TRY(const uint32_t items, disjunction());
    uint32_t filter = kNoNode;
    if (take_word("if")) {
      MERRITT_TRY(filter, expression());
    }
    if (is_word("recursive")) return unsupported("'recursive' of a loop");
    MERRITT_CHECK(expect_tag_end());
    std::string end;
    MERRITT_TRY(const uint32_t body, block({"else", "endfor"}, end));
    uint32_t otherwise = kNoNode;
    if (end == "else") {
      MERRITT_CHECK(expect_tag_end());
      MERRITT_TRY(otherwise, block({"endfor"}, end));
    }
    MERRITT_CHECK(expect_tag_end());
    node.children = {items, filter, body, otherwise};
    return add(std::move(node));
  }

  Id assignment() {
    take();
    if (peek().kind != LexKind::kName) return corrupt("the name to set is missing");
    Node node = make(NodeKind::kSet, take().text);
    if (take_punct(".")) {
      if (peek().kind != LexKind::kName) return corrupt("the attribute to set is missing");
      node.names.push_back(take().text);
    }
    if (is_punct(",")) return unsupported("setting several names at once");
    if (peek().kind == LexKind::kTagEnd) return unsupported("a set block");
    MERRITT_CHECK(expect_punct("="));
    MERRITT_TRY(const uint32_t value, expression());
    MERRITT_CHECK(expect_tag_end());
    node.children = {value};
    return add(std::move(node));
  }

  // ---- expressions, loosest first
  Id expression() {
    const Deeper deeper(depth_);
    if (depth_ > kDepthMax) return corrupt("expressions are nested deeper than " + std::to_string(kDepthMax));
    MERRITT_TRY(uint32_t value, disjunction());
    while (take_word("if")) {
      MERRITT_TRY(const uint32_t condition, disjunction());
      uint32_t otherwise = kNoNode;
      if (take_word("else")) {
        MERRITT_TRY(otherwise, expression());
      }
      MERRITT_TRY(value, add(make(NodeKind::kIf, {}, {value, condition, otherwise})));
    }
    return value;
  }

  Id disjunction() { return left_assoc_word("or", &Parser::conjunction); }
  Id conjunction() { return left_assoc_word("and", &Parser::negation); }
  Id left_assoc_word(const char* word, Id (Parser::*operand)()) {
    MERRITT_TRY(uint32_t left, (this->*operand)());
    while (take_word(word)) {
      MERRITT_TRY(const uint32_t right, (this->*operand)());
      MERRITT_TRY(left, add(make(NodeKind::kBinary, word, {left, right})));
    }
    return left;
  }

  Id negation() {
    uint32_t negations = 0;
    while (take_word("not")) ++negations;
    MERRITT_TRY(uint32_t value, comparison());
    if (negations > kDepthMax) return corrupt("too many 'not' in a row");
    for (; negations != 0; --negations) {
      MERRITT_TRY(value, add(make(NodeKind::kNot, {}, {value})));
    }
    return value;
  }

  Id comparison() {
    MERRITT_TRY(uint32_t left, sum());
    for (uint32_t n = 0;; ++n) {
      std::string op;
      bool negated = false;
      static constexpr std::string_view kOps[] = {"==", "!=", "<=", ">=", "<", ">"};
      const bool symbol =
          peek().kind == LexKind::kPunct && std::find(std::begin(kOps), std::end(kOps), peek().text) != std::end(kOps);
      if (symbol || is_word("in")) {
        op = take().text;
      } else if (is_word("not") && peek(1).kind == LexKind::kName && peek(1).text == "in") {
        take();
        op = take().text;
        negated = true;
      } else {
        return left;
      }
      if (n != 0) return unsupported("a chain of comparisons");
      MERRITT_TRY(const uint32_t right, sum());
      MERRITT_TRY(left, add(make(NodeKind::kBinary, op, {left, right})));
      if (negated) {
        MERRITT_TRY(left, add(make(NodeKind::kNot, {}, {left})));
      }
    }
  }

  Id sum() { return left_assoc_punct({"+", "-", "~"}, &Parser::product); }
  Id product() { return left_assoc_punct({"*", "/", "//", "%"}, &Parser::unary); }
  Id left_assoc_punct(const std::vector<std::string_view>& ops, Id (Parser::*operand)()) {
    MERRITT_TRY(uint32_t left, (this->*operand)());
    while (peek().kind == LexKind::kPunct && std::find(ops.begin(), ops.end(), peek().text) != ops.end()) {
      const std::string op = take().text;
      MERRITT_TRY(const uint32_t right, (this->*operand)());
      MERRITT_TRY(left, add(make(NodeKind::kBinary, op, {left, right})));
    }
    if (is_punct("**")) return unsupported("the operator **");
    return left;
  }

  Id unary() {
    const Deeper deeper(depth_);
    if (depth_ > kDepthMax) return corrupt("expressions are nested deeper than " + std::to_string(kDepthMax));
    if (take_punct("-")) {
      MERRITT_TRY(const uint32_t value, unary());
      return add(make(NodeKind::kNegate, {}, {value}));
    }
    if (take_punct("+")) return unary();
    MERRITT_TRY(uint32_t value, primary());
    return postfix(value);
  }

  Id postfix(uint32_t value) {
    for (;;) {
      if (take_punct(".")) {
        if (peek().kind != LexKind::kName) return corrupt("an attribute name is missing after '.'");
        Node node = make(NodeKind::kAttribute, take().text, {value});
        if (is_punct("(")) {
          if (!is_known_method(node.text)) return unsupported("the method ." + node.text + "()");
          node.kind = NodeKind::kMethod;
          MERRITT_CHECK(arguments(node));
        }
        MERRITT_TRY(value, add(std::move(node)));
      } else if (is_punct("[")) {
        MERRITT_TRY(value, subscript(value));
      } else if (take_punct("|")) {
        Node node = make(NodeKind::kFilter, take().text, {value});
        if (!is_known_filter(node.text)) return unsupported("the filter '" + node.text + "'");
        if (is_punct("(")) MERRITT_CHECK(arguments(node));
        MERRITT_TRY(value, add(std::move(node)));
      } else if (is_word("is")) {
        take();
        const bool negated = take_word("not");
        Node node = make(NodeKind::kTest, take().text, {value});
        if (!is_known_test(node.text)) return unsupported("the test '" + node.text + "'");
        MERRITT_TRY(value, add(std::move(node)));
        if (negated) {
          MERRITT_TRY(value, add(make(NodeKind::kNot, {}, {value})));
        }
      } else if (is_punct("(")) {
        return unsupported("calling the result of an expression");
      } else {
        return value;
      }
    }
  }

  Id subscript(uint32_t value) {
    take();
    uint32_t bounds[3] = {kNoNode, kNoNode, kNoNode};
    uint32_t n = 0;
    for (;; ++n) {
      if (!is_punct(":") && !is_punct("]")) {
        MERRITT_TRY(bounds[n], expression());
      }
      if (n == 2 || !take_punct(":")) break;
    }
    MERRITT_CHECK(expect_punct("]"));
    if (n == 0) {
      if (bounds[0] == kNoNode) return corrupt("the index is missing");
      return add(make(NodeKind::kIndex, {}, {value, bounds[0]}));
    }
    return add(make(NodeKind::kSlice, {}, {value, bounds[0], bounds[1], bounds[2]}));
  }

  // "(a, name=b)" appended to the node's children; names stand parallel to the arguments.
  Status arguments(Node& node) {
    take();
    while (!is_punct(")")) {
      std::string name;
      if (peek().kind == LexKind::kName && peek(1).kind == LexKind::kPunct && peek(1).text == "=") {
        name = take().text;
        take();
      }
      MERRITT_TRY(const uint32_t value, expression());
      node.children.push_back(value);
      node.names.push_back(std::move(name));
      if (!take_punct(",")) break;
    }
    return expect_punct(")");
  }

  Id primary() {
    const Lexeme& lexeme = peek();
    Node node = make(NodeKind::kLiteral);
    switch (lexeme.kind) {
      case LexKind::kString:
        node.value = Value::from(take().text);
        while (peek().kind == LexKind::kString) node.value.text += take().text;
        return add(std::move(node));
      case LexKind::kInt:
        node.value = Value::from(static_cast<int64_t>(std::stoll(take().text)));
        return add(std::move(node));
      case LexKind::kFloat: {
        node.value = Value::of(Value::Kind::kFloat);
        const std::string digits = take().text;
        const size_t dot = digits.find('.');
        double scale = 1;
        for (const char c : digits) {
          if (c != '.') node.value.real = node.value.real * 10 + (c - '0');
        }
        for (size_t i = dot + 1; i < digits.size(); ++i) scale *= 10;
        node.value.real /= scale;
        return add(std::move(node));
      }
      case LexKind::kName: return name();
      case LexKind::kPunct:
        if (lexeme.text == "(") return parenthesis();
        if (lexeme.text == "[") return list();
        if (lexeme.text == "{") return dict();
        [[fallthrough]];
      default:
        return corrupt("an expression is missing" + (lexeme.text.empty() ? "" : " before '" + lexeme.text + "'"));
    }
  }

  Id name() {
    const std::string word = take().text;
    Node node = make(NodeKind::kLiteral);
    if (word == "true" || word == "True" || word == "false" || word == "False") {
      node.value = Value::from(word == "true" || word == "True");
      return add(std::move(node));
    }
    if (word == "none" || word == "None") {
      node.value = Value::none();
      return add(std::move(node));
    }
    node.text = word;
    node.kind = NodeKind::kName;
    if (is_punct("(")) {
      if (!is_known_function(word)) return unsupported("the function " + word + "()");
      node.kind = NodeKind::kCall;
      MERRITT_CHECK(arguments(node));
    }
    return add(std::move(node));
  }

  Id parenthesis() {
    take();
    MERRITT_TRY(uint32_t value, expression());
    if (is_punct(",")) {  // a tuple; behaves as a list here
      Node node = make(NodeKind::kList, {}, {value});
      while (take_punct(",") && !is_punct(")")) {
        MERRITT_TRY(const uint32_t item, expression());
        node.children.push_back(item);
      }
      MERRITT_TRY(value, add(std::move(node)));
    }
    MERRITT_CHECK(expect_punct(")"));
    return value;
  }

  Id list() {
    take();
    Node node = make(NodeKind::kList);
    while (!is_punct("]")) {
      MERRITT_TRY(const uint32_t item, expression());
      node.children.push_back(item);
      if (!take_punct(",")) break;
    }
    MERRITT_CHECK(expect_punct("]"));
    return add(std::move(node));
  }

  Id dict() {
    take();
    Node node = make(NodeKind::kDict);
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

  std::vector<Lexeme> lexemes_;
  size_t at_ = 0;
  uint32_t depth_ = 0;
  Syntax syntax_;
};

}  // namespace

Result<Syntax> parse_template(std::string_view source) {
  MERRITT_TRY(std::vector<Lexeme> lexemes, lex_template(source));
  return Parser(std::move(lexemes)).run();
}

}  // namespace merritt::tokens
