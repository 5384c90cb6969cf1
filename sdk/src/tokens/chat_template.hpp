// SPDX-License-Identifier: Apache-2.0
// Chat templates: the Jinja dialect that model files carry, compiled once and rendered under a budget.
//
// What is not in the subset below is refused at compile, by name and line, so that a template never half works:
//   {{ expr }}  {% if elif else endif %}  {% for x in expr [if cond] %} {% else %} {% endfor %}  {% set x = expr %}
//   {% set ns.x = expr %}  {# comments #}  whitespace control, with trim_blocks and lstrip_blocks as transformers sets
//   them literals (strings, numbers, lists, dicts, true, false, none), names, a.b, a[b], slices, calls of the
//   functions, methods, filters and tests listed in docs/reference/chat_templates.md; + - * / // % ~ == != < <= > >=
//   in, not, and, or, x if c else y, is [not] test
// Threads: a compiled template is immutable; render() from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"

namespace merritt::tokens {

struct ChatMessage {
  std::string role, content;
};

struct ChatInput {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos_text, eos_text;
  int64_t unix_seconds = 0;  // what strftime_now shows, in UTC
};

// What one rendering may cost; nesting is bounded at compile. Exceeding it is kInvalidArgument.
struct RenderBudget {
  uint64_t steps = 4'000'000;           // tree nodes visited, and one for every 64 bytes of text made or copied
  uint64_t bytes = uint64_t{64} << 20;  // of output, and of every intermediate string
};

class ChatTemplate {
 public:
  static Result<std::unique_ptr<ChatTemplate>> compile(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

  // Appends to out. raise_exception in the template is kInvalidArgument with the template's text.
  Status render(const ChatInput& input, const RenderBudget& budget, std::string& out) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

// Models whose file carries no template, but whose family has a published turn format (ADR 0006).
struct BuiltinTemplate {
  std::string_view name, text;
};
std::optional<BuiltinTemplate> builtin_chat_template(std::string_view architecture);

}  // namespace merritt::tokens
