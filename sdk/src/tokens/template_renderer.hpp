// SPDX-License-Identifier: Apache-2.0
// Walks a template's tree under a meter. Its own recursion is bounded by kRenderDepthMax, macros included.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokens/chat_template.hpp"
#include "tokens/template_syntax.hpp"

namespace merritt::tokens {

class TemplateRenderer {
 public:
  TemplateRenderer(const Syntax& syntax, const ChatInput& input, const RenderBudget& budget)
      : syntax_(syntax), input_(input), meter_(budget.steps, budget.bytes) {}
  Result<std::string> run();
  const Meter& meter() const { return meter_; }

 private:
  static constexpr uint32_t kRenderDepthMax = 256;
  using Eval = Result<Value>;
  enum class Flow { kOn, kBreak, kContinue };

  struct Variable {
    std::string_view name;
    Value value;
  };
  // Where the variables that can be seen lie: [floor, end), and [0, root_end) for a macro, which does not see its
  // caller's.
  struct Scope {
    size_t begin = 0;     // of the innermost scope, where `set` writes
    size_t floor = 0;     // of the innermost macro
    size_t root_end = 0;  // of the outermost scope
    bool at_root = true;
  };
  struct Deeper {
    explicit Deeper(uint32_t& counter) : depth(counter) { ++depth; }
    ~Deeper() { --depth; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    uint32_t& depth;
  };

  Status fail(const Node& node, Code code, const std::string& what) const;
  Status place(const Node& node, const Status& status) const;
  Status enter(const Node& node);

  Status set(const Node& node, std::string_view name, Value value);
  Result<const Value*> lookup(const Node& node, std::string_view name);
  Scope open_scope();
  void close_scope(const Scope& outer, size_t size);

  // Statements: template_renderer.cpp.
  Status statement(uint32_t index);
  Status block(const Node& node);
  Status branch(const Node& node);
  Status loop(const Node& node);
  Status loop_over(const Node& node, ValueList items);
  Status bind(const Node& node, const Value& item);
  Status assign(const Node& node);
  Result<std::string> capture(uint32_t block);

  // Expressions: template_evaluate.cpp.
  Eval evaluate(uint32_t index);
  Eval sequence(const Node& node);
  Eval dict(const Node& node);
  Eval member_of(const Node& node);
  Eval slice(const Node& node);
  Eval apply(const Node& node);
  Eval function(const Node& node);
  Eval macro_call(const Node& node);
  Status bind_arguments(const Node& node, const Node& macro, ValueList values);
  Eval negate(const Node& node);
  Eval fold(const Node& node);
  Eval concat(const Node& node);
  Eval compare_chain(const Node& node);
  Eval either(const Node& node);
  Eval place_value(const Node& node, Eval result) const;

  const Syntax& syntax_;
  const ChatInput& input_;
  Meter meter_;
  std::string out_;
  Flow flow_ = Flow::kOn;
  uint32_t depth_ = 0;
  Scope scope_;
  std::vector<Variable> variables_;
};

}  // namespace merritt::tokens
