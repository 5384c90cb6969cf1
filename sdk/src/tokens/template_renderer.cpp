// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_renderer.hpp"

#include <utility>

namespace merritt::tokens {

using Kind = Value::Kind;

Result<std::string> TemplateRenderer::run() {
  const Node& root = syntax_.nodes[syntax_.root];
  ValueList messages;
  for (const ChatMessage& message : input_.messages) {
    MERRITT_TRY(Value each,
                Value::dict({{"role", Value::text(message.role)}, {"content", Value::text(message.content)}}));
    messages.push_back(std::move(each));
  }
  MERRITT_TRY(Value list, Value::list(std::move(messages)));
  MERRITT_CHECK(set(root, "messages", std::move(list)));
  // transformers always passes these two, and None when it has none.
  MERRITT_CHECK(set(root, "tools", Value::none()));
  MERRITT_CHECK(set(root, "documents", Value::none()));
  MERRITT_CHECK(set(root, "add_generation_prompt", Value::boolean(input_.add_generation_prompt)));
  MERRITT_CHECK(set(root, "bos_token", Value::text(input_.bos_text)));
  MERRITT_CHECK(set(root, "eos_token", Value::text(input_.eos_text)));
  MERRITT_CHECK(statement(syntax_.root));
  return std::move(out_);
}

Status TemplateRenderer::fail(const Node& node, Code code, const std::string& what) const {
  return Status(code, "chat template, line " + std::to_string(node.line) + ": " + what);
}

Status TemplateRenderer::place(const Node& node, const Status& status) const {
  return status.ok() ? Status() : fail(node, status.code(), std::string(status.message()));
}

Status TemplateRenderer::enter(const Node& node) {
  if (depth_ > kRenderDepthMax) {
    return fail(node, Code::kInvalidArgument, "rendering nests deeper than " + std::to_string(kRenderDepthMax));
  }
  return place(node, meter_.pay());
}

// ---- variables: a stack of scopes; the body of a loop and of a macro are one each.

Status TemplateRenderer::set(const Node& node, std::string_view name, Value value) {
  MERRITT_CHECK(place(node, meter_.pay((variables_.size() - scope_.begin) / 8)));
  for (size_t i = variables_.size(); i != scope_.begin; --i) {
    if (variables_[i - 1].name != name) continue;
    variables_[i - 1].value = std::move(value);
    return {};
  }
  variables_.push_back({name, std::move(value)});
  return {};
}

Result<const Value*> TemplateRenderer::lookup(const Node& node, std::string_view name) {
  const Value* found = nullptr;
  size_t looked_at = 0;
  for (size_t i = variables_.size(); i != scope_.floor && found == nullptr; --i, ++looked_at) {
    if (variables_[i - 1].name == name) found = &variables_[i - 1].value;
  }
  for (size_t i = scope_.floor == 0 ? 0 : scope_.root_end; i != 0 && found == nullptr; --i, ++looked_at) {
    if (variables_[i - 1].name == name) found = &variables_[i - 1].value;
  }
  MERRITT_CHECK(place(node, meter_.pay(looked_at / 8)));
  return found;
}

TemplateRenderer::Scope TemplateRenderer::open_scope() {
  const Scope outer = scope_;
  if (scope_.at_root) scope_.root_end = variables_.size();
  scope_.at_root = false;
  scope_.begin = variables_.size();
  return outer;
}

void TemplateRenderer::close_scope(const Scope& outer, size_t size) {
  variables_.resize(size);
  scope_ = outer;
}

// ---- statements

Status TemplateRenderer::statement(uint32_t index) {
  const Node& node = syntax_.nodes[index];
  const Deeper deeper(depth_);
  MERRITT_CHECK(enter(node));
  switch (node.kind) {
    case NodeKind::kBlock: return block(node);
    case NodeKind::kText:
      MERRITT_CHECK(place(node, meter_.pay_text(node.text.size(), out_.size())));
      out_ += node.text;
      return {};
    case NodeKind::kPrint: {
      MERRITT_TRY(const Value value, evaluate(node.children[0]));
      return place(node, append_text(value, false, meter_, out_));
    }
    case NodeKind::kBranch: return branch(node);
    case NodeKind::kFor: return loop(node);
    case NodeKind::kSet:
    case NodeKind::kSetBlock: return assign(node);
    case NodeKind::kMacro: return set(node, node.text, Value::callable(index));
    case NodeKind::kBreak: flow_ = Flow::kBreak; return {};
    case NodeKind::kContinue: flow_ = Flow::kContinue; return {};
    case NodeKind::kScope: {
      const size_t size = variables_.size();
      const Scope outer = open_scope();
      Status outcome = statement(node.children[0]);
      close_scope(outer, size);
      return outcome;
    }
    default: return fail(node, Code::kInternal, "an expression stands where a statement should");
  }
}

Status TemplateRenderer::block(const Node& node) {
  for (const uint32_t child : node.children) {
    MERRITT_CHECK(statement(child));
    if (flow_ != Flow::kOn) break;  // the loop around it goes on from here
  }
  return {};
}

Status TemplateRenderer::branch(const Node& node) {
  size_t i = 0;
  for (; i + 1 < node.children.size(); i += 2) {
    MERRITT_TRY(const Value condition, evaluate(node.children[i]));
    if (condition.truthy()) return statement(node.children[i + 1]);
  }
  return i < node.children.size() ? statement(node.children[i]) : Status();
}

Status TemplateRenderer::assign(const Node& node) {
  Value value;
  if (node.kind == NodeKind::kSetBlock) {
    MERRITT_TRY(std::string text, capture(node.children[0]));
    value = Value::text(std::move(text));
  } else {
    MERRITT_TRY(value, evaluate(node.children[0]));
  }
  if (node.names.empty()) return set(node, node.text, std::move(value));
  MERRITT_TRY(const Value* space, lookup(node, node.text));
  if (space == nullptr || !space->is(Kind::kNamespace)) {
    return fail(node, Code::kInvalidArgument, node.text + " is not a namespace");
  }
  MERRITT_CHECK(place(node, Value::check_inner(value)));
  return place(node, set_entry(space->name_space(), node.names[0], std::move(value), meter_));
}

// What a block shows, as a text.
Result<std::string> TemplateRenderer::capture(uint32_t block) {
  std::string outer = std::exchange(out_, {});
  const Status outcome = statement(block);
  std::string inner = std::exchange(out_, std::move(outer));
  MERRITT_CHECK(outcome);
  return inner;
}

Status TemplateRenderer::bind(const Node& node, const Value& item) {
  if (node.names.size() == 1) return set(node, node.names[0], item);
  auto parts = take_items(item, meter_);
  if (!parts.ok()) return place(node, parts.status());
  if (parts->size() != node.names.size()) {
    return fail(node, Code::kInvalidArgument,
                "an item has " + std::to_string(parts->size()) + " parts where the loop names " +
                    std::to_string(node.names.size()));
  }
  for (size_t i = 0; i < node.names.size(); ++i) MERRITT_CHECK(set(node, node.names[i], (*parts)[i]));
  return {};
}

Status TemplateRenderer::loop(const Node& node) {
  MERRITT_TRY(const Value over, evaluate(node.children[0]));
  auto items = take_items(over, meter_);
  if (!items.ok()) return place(node, items.status());
  const size_t size = variables_.size();
  const Scope outer = open_scope();
  Status outcome = loop_over(node, std::move(items).value());
  close_scope(outer, size);
  return outcome;
}

Status TemplateRenderer::loop_over(const Node& node, ValueList items) {
  if (node.children[1] != kNoNode) {
    ValueList kept;
    for (Value& item : items) {
      MERRITT_CHECK(enter(node));
      MERRITT_CHECK(bind(node, item));
      MERRITT_TRY(const Value keep, evaluate(node.children[1]));
      if (keep.truthy()) kept.push_back(std::move(item));
      variables_.resize(scope_.begin);
    }
    items = std::move(kept);
  }
  if (items.empty()) return node.children[3] == kNoNode ? Status() : statement(node.children[3]);
  const size_t n = items.size();
  const auto state = std::make_shared<Value::Loop>(Value::Loop{std::move(items), 0});
  const Value handle = Value::loop(state);
  for (size_t i = 0; i < n; ++i) {
    variables_.resize(scope_.begin);  // what the last round set is gone
    state->at = i;
    MERRITT_CHECK(set(node, "loop", handle));
    MERRITT_CHECK(bind(node, state->items[i]));
    MERRITT_CHECK(statement(node.children[2]));
    const Flow flow = std::exchange(flow_, Flow::kOn);
    if (flow == Flow::kBreak) break;
  }
  return {};
}

}  // namespace merritt::tokens
