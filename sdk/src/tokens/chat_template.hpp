// SPDX-License-Identifier: Apache-2.0
// Chat templates: the Jinja dialect that model files carry, compiled once and rendered under a budget.
//
// The subset is in docs/reference/chat_templates.md. What is not in it is refused at compile, by name and line, so that
// a template never half works; what an operation cannot take is refused while rendering, by line. Threads: a compiled
// template is immutable; render() from any thread.
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

// What one rendering may cost. Exceeding it is kInvalidArgument, as is nesting beyond the renderer's own bounds.
struct RenderBudget {
  uint64_t steps = 4'000'000;           // nodes visited, values touched, and one for every 64 bytes of text
  uint64_t bytes = uint64_t{64} << 20;  // of output, and of every intermediate string
};

// What one rendering has cost.
struct RenderCost {
  uint64_t steps = 0;
  bool exceeded = false;  // it failed for its budget
};

class ChatTemplate {
 public:
  static Result<std::unique_ptr<ChatTemplate>> compile(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

  // Appends to out. raise_exception in the template is kInvalidArgument with the template's text. cost, when not null,
  // is set whatever happens.
  Status render(const ChatInput& input, const RenderBudget& budget, std::string& out, RenderCost* cost = nullptr) const;

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
