// SPDX-License-Identifier: Apache-2.0
#include "tokens/chat_template.hpp"

#include "tokens/template_renderer.hpp"
#include "tokens/template_syntax.hpp"

namespace merritt::tokens {

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

Status ChatTemplate::render(const ChatInput& input, const RenderBudget& budget, std::string& out,
                            RenderCost* cost) const {
  TemplateRenderer renderer(program_->syntax, input, budget);
  auto rendered = renderer.run();
  if (cost != nullptr) *cost = {.steps = renderer.meter().spent(), .exceeded = renderer.meter().exceeded()};
  MERRITT_TRY(const std::string text, std::move(rendered));
  out += text;
  return {};
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
