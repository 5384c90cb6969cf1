// SPDX-License-Identifier: Apache-2.0
// Recursive descent over the lexemes, bounded in depth. Refuses at compile, by name and line, what the renderer lacks.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokens/template_lexer.hpp"
#include "tokens/template_syntax.hpp"

namespace merritt::tokens {

class TemplateParser {
 public:
  explicit TemplateParser(std::vector<Lexeme> lexemes) : lexemes_(std::move(lexemes)) {}
  Result<Syntax> run();

 private:
  using Id = Result<uint32_t>;

  // Refuses to recurse beyond the depth that the tree may have.
  struct Deeper {
    explicit Deeper(uint32_t& counter) : depth(counter) { ++depth; }
    ~Deeper() { --depth; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    uint32_t& depth;
  };

  const Lexeme& peek(size_t ahead = 0) const { return lexemes_[std::min(at_ + ahead, lexemes_.size() - 1)]; }
  const Lexeme& take() { return lexemes_[at_ + 1 < lexemes_.size() ? at_++ : at_]; }
  bool is_punct(std::string_view text) const { return peek().kind == LexKind::kPunct && peek().text == text; }
  bool is_word(std::string_view text) const { return peek().kind == LexKind::kName && peek().text == text; }
  bool take_punct(std::string_view text) { return is_punct(text) && (take(), true); }
  bool take_word(std::string_view text) { return is_word(text) && (take(), true); }
  Status corrupt(const std::string& what) const;
  Status unsupported(const std::string& what) const;
  Status expect_punct(std::string_view text);
  Status expect_tag_end();
  Status too_deep() const;

  Id add(Node node);
  Node make(NodeKind kind, std::string text = {}, std::vector<uint32_t> children = {}) const;

  // Statements: template_parser.cpp.
  Id block(const std::vector<std::string_view>& ends, std::string& end);
  Id print();
  Id tag(const std::string& word);
  Id branch();
  Id loop();
  Id assignment();
  Id macro();
  Id leave_loop(const std::string& word);
  Status target_names(std::vector<std::string>& names);
  Status check_macros() const;

  // Expressions: template_expressions.cpp.
  Id expression();
  Id operators(int level);
  Id chain(uint32_t left, int level, NodeKind kind);
  Id unary(bool with_filters);
  Id postfix(uint32_t value);
  Id filters(uint32_t value);
  Id filter(uint32_t value);
  Id test(uint32_t value);
  Id subscript(uint32_t value);

  // template_primaries.cpp.
  Id primary();
  Id number();
  Id name();
  Id parenthesis();
  Id list();
  Id dict();

  struct Arguments {
    std::vector<uint32_t> values;
    std::vector<std::string> names;  // parallel; empty = by position
  };
  Result<Arguments> arguments();
  Status sort_arguments(Node& node, Arguments arguments, const std::string& what) const;

  struct MacroUse {
    std::string name;
    uint32_t line;
  };

  std::vector<Lexeme> lexemes_;
  size_t at_ = 0;
  uint32_t depth_ = 0, block_depth_ = 0, loop_depth_ = 0;
  bool in_macro_ = false;
  std::vector<std::string> macros_;
  std::vector<MacroUse> macro_uses_;
  Syntax syntax_;
};

}  // namespace merritt::tokens
