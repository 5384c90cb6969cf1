// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_parser.hpp"

#include <set>

namespace merritt::tokens {
namespace {

constexpr size_t kNodesMax = 100'000;

}  // namespace

Result<Syntax> TemplateParser::run() {
  std::string end;
  MERRITT_TRY(syntax_.root, block({}, end));
  MERRITT_CHECK(check_macros());
  return std::move(syntax_);
}

Status TemplateParser::corrupt(const std::string& what) const {
  return Status(Code::kCorrupt, "chat template, line " + std::to_string(peek().line) + ": " + what);
}

Status TemplateParser::unsupported(const std::string& what) const {
  return Status(Code::kUnsupported,
                "chat template, line " + std::to_string(peek().line) + ": " + what + " is not supported");
}

Status TemplateParser::too_deep() const { return corrupt("it is nested deeper than " + std::to_string(kTreeDepthMax)); }

Status TemplateParser::expect_punct(std::string_view text) {
  if (take_punct(text)) return {};
  return corrupt("'" + std::string(text) + "' is missing" +
                 (peek().text.empty() ? "" : " before '" + peek().text + "'"));
}

Status TemplateParser::expect_tag_end() {
  if (peek().kind == LexKind::kTagEnd) {
    take();
    return {};
  }
  if (is_punct(",")) return unsupported("a tuple without parentheses");
  return corrupt("the tag goes on with '" + peek().text + "' where it should end");
}

TemplateParser::Id TemplateParser::add(Node node) {
  if (syntax_.nodes.size() >= kNodesMax) {
    return corrupt("the template is larger than " + std::to_string(kNodesMax) + " parts");
  }
  for (const uint32_t child : node.children) {
    if (child != kNoNode) node.depth = std::max(node.depth, syntax_.nodes[child].depth + 1);
  }
  if (node.depth > kTreeDepthMax) return too_deep();
  syntax_.nodes.push_back(std::move(node));
  return static_cast<uint32_t>(syntax_.nodes.size() - 1);
}

Node TemplateParser::make(NodeKind kind, std::string text, std::vector<uint32_t> children) const {
  Node node;
  node.kind = kind;
  node.line = peek().line;
  node.text = std::move(text);
  node.children = std::move(children);
  return node;
}

// Until a tag whose word is in `ends` (taken, its word in `end`) or the end of the source.
TemplateParser::Id TemplateParser::block(const std::vector<std::string_view>& ends, std::string& end) {
  const Deeper deeper(depth_), inner(block_depth_);
  if (depth_ > kTreeDepthMax) return too_deep();
  Node node = make(NodeKind::kBlock);
  for (;;) {
    const Lexeme& next = peek();
    if (next.kind == LexKind::kEnd) {
      if (!ends.empty()) return corrupt("'" + std::string(ends.back()) + "' is missing");
      return add(std::move(node));
    }
    uint32_t child = kNoNode;
    if (next.kind == LexKind::kText) {
      MERRITT_TRY(child, add(make(NodeKind::kText, take().text)));
    } else if (next.kind == LexKind::kPrintBegin) {
      MERRITT_TRY(child, print());
    } else {
      take();  // {%
      const std::string word = peek().text;
      if (peek().kind != LexKind::kName) return corrupt("a tag begins with '" + word + "'");
      if (std::find(ends.begin(), ends.end(), word) != ends.end()) {
        end = word;
        take();
        return add(std::move(node));
      }
      MERRITT_TRY(child, tag(word));
    }
    node.children.push_back(child);
  }
}

TemplateParser::Id TemplateParser::print() {
  Node node = make(NodeKind::kPrint);
  take();
  MERRITT_TRY(const uint32_t value, expression());
  if (is_punct(",")) return unsupported("a tuple without parentheses");
  if (peek().kind != LexKind::kPrintEnd) return corrupt("'}}' is missing before '" + peek().text + "'");
  take();
  node.children = {value};
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::tag(const std::string& word) {
  if (word == "if") return branch();
  if (word == "for") return loop();
  if (word == "set") return assignment();
  if (word == "macro") return macro();
  if (word == "break" || word == "continue") return leave_loop(word);
  if (word == "generation") {  // marks what the model said, for training; shows its inside, in a scope of its own
    Node node = make(NodeKind::kScope);
    take();
    MERRITT_CHECK(expect_tag_end());
    const uint32_t outer_loops = std::exchange(loop_depth_, 0);
    std::string end;
    MERRITT_TRY(const uint32_t body, block({"endgeneration"}, end));
    loop_depth_ = outer_loops;
    MERRITT_CHECK(expect_tag_end());
    node.children = {body};
    return add(std::move(node));
  }
  static constexpr std::string_view kEnds[] = {"endif",  "endfor",   "else",         "elif",
                                               "endset", "endmacro", "endgeneration"};
  if (std::find(std::begin(kEnds), std::end(kEnds), word) != std::end(kEnds)) {
    return corrupt("'" + word + "' without its beginning");
  }
  return unsupported("the tag '" + word + "'");
}

TemplateParser::Id TemplateParser::branch() {
  Node node = make(NodeKind::kBranch);
  take();
  for (;;) {
    MERRITT_TRY(const uint32_t condition, operators(1));  // no conditional expression, as in Jinja
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

// a   a, b   (a, b)
Status TemplateParser::target_names(std::vector<std::string>& names) {
  const bool parenthesis = take_punct("(");
  do {
    if (parenthesis && is_punct(")")) break;
    if (is_punct("(")) return unsupported("a loop variable inside parentheses inside others");
    if (peek().kind != LexKind::kName || is_word("in")) return corrupt("a loop variable is missing");
    names.push_back(take().text);
    if (names.back() == "loop") return unsupported("a variable named 'loop'");
  } while (take_punct(","));
  return parenthesis ? expect_punct(")") : Status();
}

TemplateParser::Id TemplateParser::loop() {
  Node node = make(NodeKind::kFor);
  take();
  MERRITT_CHECK(target_names(node.names));
  if (!take_word("in")) return corrupt("'in' is missing");
  MERRITT_TRY(const uint32_t items, operators(1));
  uint32_t filter = kNoNode;
  if (take_word("if")) {
    MERRITT_TRY(filter, expression());
  }
  if (is_word("recursive")) return unsupported("'recursive' of a loop");
  MERRITT_CHECK(expect_tag_end());
  std::string end;
  ++loop_depth_;
  MERRITT_TRY(const uint32_t body, block({"else", "endfor"}, end));
  --loop_depth_;
  uint32_t otherwise = kNoNode;
  if (end == "else") {
    MERRITT_CHECK(expect_tag_end());
    MERRITT_TRY(otherwise, block({"endfor"}, end));
  }
  MERRITT_CHECK(expect_tag_end());
  node.children = {items, filter, body, otherwise};
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::leave_loop(const std::string& word) {
  if (loop_depth_ == 0) return corrupt("'" + word + "' outside a loop");
  Node node = make(word == "break" ? NodeKind::kBreak : NodeKind::kContinue);
  take();
  MERRITT_CHECK(expect_tag_end());
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::assignment() {
  Node node = make(NodeKind::kSet);
  take();
  if (is_punct("(")) return unsupported("setting several names at once");
  if (peek().kind != LexKind::kName) return corrupt("the name to set is missing");
  node.text = take().text;
  if (take_punct(".")) {
    if (peek().kind != LexKind::kName) return corrupt("the attribute to set is missing");
    node.names.push_back(take().text);
  } else if (node.text == "loop") {
    return unsupported("a variable named 'loop'");
  }
  if (is_punct(",")) return unsupported("setting several names at once");
  if (is_punct("|")) return unsupported("a filter on a set block");
  uint32_t value = kNoNode;
  if (peek().kind == LexKind::kTagEnd) {
    take();
    node.kind = NodeKind::kSetBlock;
    const uint32_t outer_loops = std::exchange(loop_depth_, 0);
    std::string end;
    MERRITT_TRY(value, block({"endset"}, end));
    loop_depth_ = outer_loops;
  } else {
    MERRITT_CHECK(expect_punct("="));
    MERRITT_TRY(value, expression());
  }
  MERRITT_CHECK(expect_tag_end());
  node.children = {value};
  return add(std::move(node));
}

TemplateParser::Id TemplateParser::macro() {
  if (block_depth_ != 1) return unsupported("a macro inside another block");
  Node node = make(NodeKind::kMacro);
  take();
  if (peek().kind != LexKind::kName) return corrupt("the macro's name is missing");
  node.text = take().text;
  if (find_function(node.text) != nullptr)
    return unsupported("a macro with the name of the function " + node.text + "()");
  MERRITT_CHECK(expect_punct("("));
  std::vector<uint32_t> defaults;
  std::set<std::string> seen;
  while (!is_punct(")")) {
    if (peek().kind != LexKind::kName) return corrupt("a parameter of the macro is missing");
    node.names.push_back(take().text);
    if (node.names.back() == "loop" || node.names.back() == "caller") {
      return unsupported("a parameter named '" + node.names.back() + "'");
    }
    if (!seen.insert(node.names.back()).second) return corrupt("the macro has two parameters of one name");
    uint32_t otherwise = kNoNode;
    if (take_punct("=")) {
      MERRITT_TRY(otherwise, expression());
    } else if (!defaults.empty() && defaults.back() != kNoNode) {
      return corrupt("a parameter without a default follows one with a default");
    }
    defaults.push_back(otherwise);
    if (!take_punct(",")) break;
  }
  MERRITT_CHECK(expect_punct(")"));
  MERRITT_CHECK(expect_tag_end());
  macros_.push_back(node.text);
  in_macro_ = true;
  std::string end;
  MERRITT_TRY(const uint32_t body, block({"endmacro"}, end));
  in_macro_ = false;
  MERRITT_CHECK(expect_tag_end());
  node.children = {body};
  node.children.insert(node.children.end(), defaults.begin(), defaults.end());
  return add(std::move(node));
}

// What was called and is no function must be a macro of this template, which may stand below the call.
Status TemplateParser::check_macros() const {
  const std::set<std::string, std::less<>> known(macros_.begin(), macros_.end());
  for (const MacroUse& use : macro_uses_) {
    if (known.contains(use.name)) continue;
    return Status(Code::kUnsupported, "chat template, line " + std::to_string(use.line) + ": the function " + use.name +
                                          "() is not supported");
  }
  return {};
}

Result<Syntax> parse_template(std::string_view source) {
  MERRITT_TRY(std::vector<Lexeme> lexemes, lex_template(source));
  return TemplateParser(std::move(lexemes)).run();
}

}  // namespace merritt::tokens
