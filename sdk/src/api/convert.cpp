// SPDX-License-Identifier: Apache-2.0
#include "api/convert.hpp"

#include <cmath>

#include "api/guard.hpp"
#include "base/limits.hpp"
#include "base/os/clock.hpp"
#include "base/os/random.hpp"
#include "tokens/utf8.hpp"

namespace merritt::api {
namespace {

using MessageReader = EntryReader<merritt_message, 32>;
using BiasReader = EntryReader<merritt_logit_bias, 8>;

Status read_message(const MessageReader& reader, size_t index, std::string_view& role, std::string_view& content) {
  merritt_message message;
  MERRITT_CHECK(reader.read(index, message));
  MERRITT_CHECK(read_string(message.role, message.role_length, limits::kNameBytesMax, "role", role));
  return read_string(message.content, message.content_length, limits::kPromptBytesMax, "content", content);
}

}  // namespace

Status check_reserved(uint32_t reserved, const char* name) {
  if (reserved == 0) return {};
  return Status(Code::kUnsupported, std::string(name) + ".reserved is not 0");
}

Status check_flags(uint32_t flags, uint32_t known, const char* name) {
  if ((flags & ~known) == 0) return {};
  return Status(Code::kUnsupported,
                "flags has bits " + std::to_string(flags & ~known) + " that this library does not know; see " + name);
}

Status read_tokens(const int32_t* tokens, size_t count, uint32_t vocabulary, const char* name,
                   std::vector<int32_t>& out) {
  if (tokens == nullptr && count != 0)
    return invalid(std::string(name) + " is NULL with count " + std::to_string(count));
  if (count > limits::kPromptTokensMax) {
    return invalid(std::string(name) + " has " + std::to_string(count) + " entries; the limit is " +
                   std::to_string(limits::kPromptTokensMax));
  }
  for (size_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= vocabulary) {
      return invalid(std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(tokens[i]) +
                     "; ids of this model are below " + std::to_string(vocabulary));
    }
  }
  out.assign(tokens, tokens + count);
  return {};
}

merritt_model_info model_info(const engine::Model& model) {
  const model::ModelInfo& file = model.file->info;
  merritt_model_info info{};
  info.vocabulary = file.vocabulary;
  info.layers = file.layers;
  info.width = file.width;
  info.context_trained = file.context_length;
  info.context_max = model.context_max;
  const engine::CompiledModel& compiled = *model.compiled;
  info.kv_groups = compiled.kv_spec().n_groups;
  info.page_tokens = compiled.kv_policy().page_tokens;
  info.parameters = file.parameters;
  info.file_bytes = file.file_bytes;
  info.weight_bytes = compiled.info().weight_bytes;
  info.kv_bytes = compiled.kv_spec().pool_bytes;
  for (uint32_t g = 0; g < info.kv_groups; ++g) {
    const mrt_kv_group& group = compiled.kv_spec().group[g];
    if (g == 0 || group.window == 0) info.kv_pages = compiled.kv_policy().n_pages[g];
    if (group.window == 0) info.kv_bytes_per_token += group.n_planes * group.plane_bytes / info.page_tokens;
  }
  info.bos = model.tokenizer->bos();
  info.eos = model.tokenizer->eos();
  info.flags =
      (model.tokenizer->adds_bos() ? MERRITT_MODEL_ADD_BOS : 0) | (model.from_pack_cache ? MERRITT_MODEL_FROM_PACK : 0);
  copy_text(info.architecture, file.architecture);
  copy_text(info.name, file.name);
  copy_text(info.backend, model.backend_id);
  copy_text(info.license, file.license);
  copy_text(info.chat_template, model.chat_template_name);
  copy_text(info.quantization, file.quantization);
  return info;
}

Result<uint64_t> message_bytes(const Messages& messages) {
  if (messages.count > limits::kMessagesMax) {
    return invalid("n_messages is " + std::to_string(messages.count) + "; the limit is " +
                   std::to_string(limits::kMessagesMax));
  }
  MERRITT_TRY(const auto reader, MessageReader::open(messages.list, messages.count, messages.stride, "messages"));
  uint64_t bytes = 0;
  for (size_t i = 0; i < messages.count; ++i) {
    std::string_view role, content;
    MERRITT_CHECK(read_message(reader, i, role, content));
    bytes += role.size() + content.size();
  }
  return bytes;
}

Result<std::string> render_chat(const engine::Model& model, const Messages& messages,
                                const tokens::RenderBudget& budget, tokens::RenderCost* cost) {
  if (model.chat_template == nullptr) {
    return Status(Code::kUnsupported, model.chat_template_problem.empty()
                                          ? "this model carries no chat template; give the prompt as raw text"
                                          : model.chat_template_problem);
  }
  if (messages.list == nullptr || messages.count == 0) return invalid("messages is empty");
  MERRITT_TRY(const auto reader, MessageReader::open(messages.list, messages.count, messages.stride, "messages"));
  tokens::ChatInput input;
  input.add_generation_prompt = true;
  input.unix_seconds = os::unix_seconds();
  for (size_t i = 0; i < messages.count; ++i) {
    std::string_view role, content;
    MERRITT_CHECK(read_message(reader, i, role, content));
    input.messages.push_back({std::string(role), std::string(content)});
  }
  input.bos_text = model.tokenizer->bos() < 0 ? "" : std::string(model.tokenizer->piece(model.tokenizer->bos()));
  input.eos_text = model.tokenizer->eos() < 0 ? "" : std::string(model.tokenizer->piece(model.tokenizer->eos()));
  std::string text;
  MERRITT_CHECK(model.chat_template->render(input, budget, text, cost));
  return text;
}

namespace {

// The conversation as a text, at its tenant's cost and within its budget. Admission has checked the messages; the
// template may have made more of them.
Result<std::string> render_within(const engine::Session& session, const Messages& messages,
                                  const tenant::Grant& grant) {
  tenant::Tenant& tenant = *session.tenant;
  const tokens::RenderBudget budget{.steps = grant.template_steps_max, .bytes = grant.template_bytes_max};
  tokens::RenderCost cost;
  Result<std::string> text = render_chat(*session.model, messages, budget, &cost);
  tenant.ledger().add(tenant::Counter::kTemplateSteps, cost.steps);
  if (cost.exceeded) {
    return tenant.refuse(
        tenant::Refusal::kTemplate,
        Status(Code::kQuotaExceeded, std::string(text.status().message()) + "; template_steps_max of this tenant is " +
                                         std::to_string(grant.template_steps_max) + ", template_bytes_max is " +
                                         std::to_string(grant.template_bytes_max)));
  }
  if (!text.ok() || text->size() <= grant.prompt_bytes_max) return text;
  return tenant.refuse(tenant::Refusal::kPromptBytes,
                       Status(Code::kQuotaExceeded, "the rendered conversation has " + std::to_string(text->size()) +
                                                        " bytes; prompt_bytes_max of this tenant is " +
                                                        std::to_string(grant.prompt_bytes_max)));
}

// The prompt's ids, of whichever of text, tokens and messages is given.
Status read_prompt(const engine::Session& session, const merritt_request_options& options, const tenant::Grant& grant,
                   engine::RequestParams& out) {
  const engine::Model& model = *session.model;
  if (options.n_tokens != 0) {
    return read_tokens(options.tokens, options.n_tokens, model.file->info.vocabulary, "tokens", out.prompt);
  }
  if (options.n_messages != 0) {
    MERRITT_TRY(const std::string text,
                render_within(session, {options.messages, options.n_messages, options.message_stride}, grant));
    out.conversation = true;
    // The template writes special tokens as text. Templates that write BOS themselves must not get a second one.
    MERRITT_CHECK(model.tokenizer->encode(text, {.add_bos_eos = false, .parse_special = true}, out.prompt));
    const int32_t bos = model.tokenizer->bos();
    if (model.tokenizer->adds_bos() && bos >= 0 && (out.prompt.empty() || out.prompt.front() != bos)) {
      out.prompt.insert(out.prompt.begin(), bos);
    }
    return {};
  }
  std::string_view text;
  MERRITT_CHECK(read_string(options.text, options.text_length, limits::kPromptBytesMax, "text", text));
  const tokens::EncodeOptions encode{.add_bos_eos = session.length == 0,
                                     .parse_special = (options.flags & MERRITT_REQUEST_PARSE_SPECIAL) != 0};
  MERRITT_CHECK(model.tokenizer->encode(text, encode, out.prompt));
  // A prompt is continued, so an EOS that the vocabulary asks for at the end of a text is not wanted here.
  if (!out.prompt.empty() && encode.add_bos_eos && out.prompt.size() > 1 &&
      out.prompt.back() == model.tokenizer->eos() && model.tokenizer->adds_eos()) {
    out.prompt.pop_back();
  }
  return {};
}

Status check_utf8(std::string_view text, const std::string& name) {
  for (size_t at = 0; at < text.size();) {
    const tokens::Utf8Step step = tokens::utf8_step(text.substr(at));
    if (step.state != tokens::Utf8State::kWhole) {
      return invalid(name + " is not UTF-8 at byte " + std::to_string(at) + "; it could never match");
    }
    at += step.bytes;
  }
  return {};
}

Status read_stops(const engine::Model& model, const merritt_request_options& options, engine::RequestParams& out) {
  if (options.n_stop > limits::kStopStringsMax) {
    return invalid("n_stop is " + std::to_string(options.n_stop) + "; the limit is " +
                   std::to_string(limits::kStopStringsMax));
  }
  if (options.n_stop != 0 && options.stop == nullptr) return invalid("stop is NULL with n_stop not 0");
  for (uint32_t i = 0; i < options.n_stop; ++i) {
    std::string_view text;
    MERRITT_CHECK(read_string(options.stop[i].data, options.stop[i].length, limits::kStopBytesMax, "stop", text));
    if (text.empty()) return invalid("stop[" + std::to_string(i) + "] is empty");
    MERRITT_CHECK(check_utf8(text, "stop[" + std::to_string(i) + "]"));
    out.stop_strings.emplace_back(text);
  }
  if (options.n_stop_tokens > limits::kStopTokensMax) {
    return invalid("n_stop_tokens is " + std::to_string(options.n_stop_tokens) + "; the limit is " +
                   std::to_string(limits::kStopTokensMax));
  }
  return read_tokens(options.stop_tokens, options.n_stop_tokens, model.file->info.vocabulary, "stop_tokens",
                     out.stop_tokens);
}

Status read_sampling(const engine::Model& model, const merritt_request_options& options, engine::RequestParams& out) {
  sampling::SamplingParams& s = out.sampling;
  s.temperature = options.temperature;
  s.top_k = options.top_k;
  s.top_p = options.top_p == 0 ? 1.0f : options.top_p;
  s.min_p = options.min_p;
  s.repetition_penalty = options.repetition_penalty == 0 ? 1.0f : options.repetition_penalty;
  s.frequency_penalty = options.frequency_penalty;
  s.presence_penalty = options.presence_penalty;
  s.penalty_last_n = options.penalty_last_n;
  s.min_tokens = options.min_tokens;
  s.seed = options.seed;
  if (s.seed == 0) MERRITT_CHECK(os::random_bytes(std::as_writable_bytes(std::span(&s.seed, 1))));
  if (options.n_logit_bias > limits::kLogitBiasMax) {
    return invalid("n_logit_bias is " + std::to_string(options.n_logit_bias) + "; the limit is " +
                   std::to_string(limits::kLogitBiasMax));
  }
  MERRITT_TRY(const auto reader,
              BiasReader::open(options.logit_bias, options.n_logit_bias, options.logit_bias_stride, "logit_bias"));
  for (uint32_t i = 0; i < options.n_logit_bias; ++i) {
    merritt_logit_bias bias;
    MERRITT_CHECK(reader.read(i, bias));
    s.logit_bias.emplace_back(bias.token, bias.bias);
  }
  return s.validate(model.file->info.vocabulary, out.max_tokens);
}

}  // namespace

Result<tenant::Demand> read_demand(const merritt_request_options* in, merritt_request_options& out) {
  if (in == nullptr) return invalid("options is NULL: a request needs a prompt");
  MERRITT_CHECK(read_options(in, "merritt_request_options", out));
  MERRITT_CHECK(check_reserved(out.reserved, "merritt_request_options"));
  if (out.speculate_max > limits::kDraftTokensMax) {
    return invalid("speculate_max is " + std::to_string(out.speculate_max) + "; the limit is " +
                   std::to_string(limits::kDraftTokensMax));
  }
  if (out.priority < -limits::kPriorityMax || out.priority > limits::kPriorityMax) {
    return invalid("priority is " + std::to_string(out.priority) + "; it is " + std::to_string(-limits::kPriorityMax) +
                   " to " + std::to_string(limits::kPriorityMax));
  }
  const int given = (out.text != nullptr || out.text_length != 0) + (out.n_tokens != 0) + (out.n_messages != 0);
  if (given != 1)
    return invalid("give exactly one of text, tokens and messages; " + std::to_string(given) + " are given");
  if (out.n > limits::kSamplesMax) {
    return invalid("n is " + std::to_string(out.n) + "; the limit is " + std::to_string(limits::kSamplesMax));
  }
  tenant::Demand demand;
  demand.sequences = out.n == 0 ? 1 : out.n;
  demand.output_default = out.max_tokens == 0;
  demand.output_tokens = demand.output_default ? limits::kMaxTokensDefault : out.max_tokens;
  if (out.n_messages != 0) {
    MERRITT_TRY(demand.prompt_bytes, message_bytes({out.messages, out.n_messages, out.message_stride}));
  } else if (out.n_tokens != 0) {
    if (out.n_tokens > limits::kPromptTokensMax) {
      return invalid("n_tokens is " + std::to_string(out.n_tokens) + "; the limit is " +
                     std::to_string(limits::kPromptTokensMax));
    }
    demand.prompt_bytes = out.n_tokens * sizeof(int32_t);
    demand.prompt_tokens = out.n_tokens;
  } else {
    demand.prompt_bytes = out.text_length;
  }
  return demand;
}

Result<engine::RequestParams> read_request(const engine::Session& session, const merritt_request_options& options,
                                           const tenant::Grant& grant, uint64_t now_ns) {
  constexpr uint32_t kFlags = MERRITT_REQUEST_IGNORE_EOS | MERRITT_REQUEST_ECHO_SPECIAL | MERRITT_REQUEST_PARSE_SPECIAL;
  MERRITT_CHECK(check_flags(options.flags, kFlags, "MERRITT_REQUEST_*"));
  engine::RequestParams out;
  out.ignore_eos = (options.flags & MERRITT_REQUEST_IGNORE_EOS) != 0;
  out.echo_special = (options.flags & MERRITT_REQUEST_ECHO_SPECIAL) != 0;
  out.max_tokens = grant.max_tokens;
  out.n = options.n == 0 ? 1 : options.n;
  out.speculate_max = options.speculate_max;
  out.priority = options.priority;
  const uint32_t deadline_ms = options.deadline_ms == 0 ? grant.deadline_ms : options.deadline_ms;
  out.deadline_ns = deadline_ms == 0 ? 0 : now_ns + uint64_t{deadline_ms} * 1'000'000;
  MERRITT_CHECK(read_sampling(*session.model, options, out));
  MERRITT_CHECK(read_stops(*session.model, options, out));
  MERRITT_CHECK(read_prompt(session, options, grant, out));
  return out;
}

}  // namespace merritt::api
