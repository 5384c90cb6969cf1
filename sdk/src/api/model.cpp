// SPDX-License-Identifier: Apache-2.0
// merritt/model.h
#include "api/convert.hpp"
#include "api/lookup.hpp"
#include "base/limits.hpp"
#include "engine/eval.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

namespace {

Status read_model_options(const EnginePin& pin, const merritt_model_options* in, engine::ModelLoadOptions& out) {
  merritt_model_options options;
  MERRITT_CHECK(read_options(in, "merritt_model_options", options));
  if (options.flags != 0 || options.reserved != 0) {
    return Status(Code::kUnsupported, "merritt_model_options: flags and reserved must be 0");
  }
  std::string_view id;
  MERRITT_CHECK(read_string(options.backend, options.backend_length, 63, "backend", id));
  out.backend = id;
  switch (options.kv_type) {
    case MERRITT_KV_DEFAULT: out.compile.kv_type = engine::CompileOptions::kKvDefault; break;
    case MERRITT_KV_F32: out.compile.kv_type = 0; break;
    case MERRITT_KV_F16:
    case MERRITT_KV_BF16:
    case MERRITT_KV_Q8_0: out.compile.kv_type = options.kv_type; break;
    default: return invalid("kv_type is " + std::to_string(options.kv_type) + "; see MERRITT_KV_*");
  }
  out.compile.context_max = options.context_max;
  if (options.sequences_max != 0) out.compile.sequences_max = options.sequences_max;
  if (options.step_tokens_max != 0) out.compile.step_tokens_max = options.step_tokens_max;
  if (options.page_tokens != 0) out.compile.page_tokens = options.page_tokens;
  out.compile.kv_bytes = options.kv_bytes;
  std::string_view directory;
  MERRITT_CHECK(
      read_string(options.pack_cache, options.pack_cache_length, limits::kPathBytesMax, "pack_cache", directory));
  out.pack_cache = directory;
  if (options.pack_cache_key_length != 0) {
    if (options.pack_cache_key == nullptr) return invalid("pack_cache_key is NULL and has a length");
    if (directory.empty()) return invalid("pack_cache_key is given without a pack_cache");
    if (options.pack_cache_key_length != model::pack::kKeyBytes) {
      return invalid("pack_cache_key has " + std::to_string(options.pack_cache_key_length) + " bytes; it must have " +
                     std::to_string(model::pack::kKeyBytes));
    }
    secret::SecretBytes key(std::as_bytes(std::span(options.pack_cache_key, options.pack_cache_key_length)));
    if (!key.ok()) return Status(Code::kOutOfMemory, "there is no memory for the pack cache's key");
    out.pack_cache_key = std::make_shared<const secret::SecretBytes>(std::move(key));
  }
  if (options.tenant != nullptr) {
    MERRITT_TRY(const auto owner, find(options.tenant));
    if (owner.pin.index() != pin.index()) {
      return Status(Code::kFailedPrecondition, "the tenant belongs to another engine");
    }
    out.tenant = owner.object;
  }
  if (options.progress != nullptr) {
    out.progress = [call = options.progress, user = options.progress_user](float f) { return call(user, f) != 0; };
  }
  return {};
}

// Hands out a model. The end of its tenant has ended the model as well, and takes back its handle where it finds one:
// this one is found, or seen here to come too late.
Status publish_model(Place<merritt_model>& place, std::shared_ptr<engine::Model> model, merritt_model* out) {
  const std::shared_ptr<tenant::Tenant> owner = model->charge.tenant();
  merritt_model handle = place.publish(std::move(model));
  if (owner == nullptr || !owner->closed()) {
    *out = handle;
    return {};
  }
  place.take_back();
  return Status(Code::kCancelled, "the tenant was destroyed while its model was loaded");
}

}  // namespace

extern "C" {

int32_t merritt_model_load(merritt_engine handle, const char* path, size_t path_length,
                           const merritt_model_options* options, merritt_model* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    if (out == nullptr) return invalid("out is NULL");
    *out = nullptr;
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    std::string_view text;
    MERRITT_CHECK(read_string(path, path_length, limits::kPathBytesMax, "path", text));
    if (text.empty()) return invalid("path is empty");
    engine::ModelLoadOptions load;
    load.path = text;
    MERRITT_CHECK(read_model_options(pin, options, load));
    MERRITT_TRY(auto place, Place<merritt_model>::reserve(pin));
    MERRITT_TRY(auto model, pin.engine().load_model(std::move(load)));
    return publish_model(place, std::move(model), out);
  });
}

int32_t merritt_model_destroy(merritt_model handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    return destroy(handle, [&](Found<engine::Model>& found) -> Status {
      found->closed = true;  // first, as a tenant does
      HandleTable& handles = found.pin.handles();
      const auto of_it = [&](engine::Session& s) { return s.model == found.object; };
      for (const auto& session : handles.all_of<engine::Session>(Kind::kSession, of_it)) {
        MERRITT_CHECK(found.engine().close_session(session));
      }
      MERRITT_CHECK(found.engine().unload_model(found.object));
      handles.remove_if<RequestObject>(Kind::kRequest, [&](RequestObject& r) { return of_it(*r.request->session); });
      handles.remove_if<engine::Session>(Kind::kSession, of_it);
      return {};
    });
  });
}

int32_t merritt_model_info_get(merritt_model handle, merritt_model_info* out, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    return write_info(model_info(*found), "merritt_model_info", out);
  });
}

int32_t merritt_model_tokenize(merritt_model handle, const char* text, size_t text_length, uint32_t flags,
                               int32_t* tokens, size_t capacity, size_t* count, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    std::string_view input;
    MERRITT_CHECK(read_string(text, text_length, limits::kPromptBytesMax, "text", input));
    MERRITT_CHECK(check_flags(flags, MERRITT_TOKENIZE_RAW | MERRITT_TOKENIZE_SPECIAL, "MERRITT_TOKENIZE_*"));
    std::vector<int32_t> ids;
    const tokens::EncodeOptions encode{.add_bos_eos = (flags & MERRITT_TOKENIZE_RAW) == 0,
                                       .parse_special = (flags & MERRITT_TOKENIZE_SPECIAL) != 0};
    MERRITT_CHECK(found->tokenizer->encode(input, encode, ids));
    return write_buffer(ids.data(), ids.size(), tokens, capacity, count, "tokens");
  });
}

int32_t merritt_model_detokenize(merritt_model handle, const int32_t* tokens, size_t count, uint32_t flags, char* text,
                                 size_t capacity, size_t* length, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    std::vector<int32_t> ids;
    MERRITT_CHECK(read_tokens(tokens, count, found->file->info.vocabulary, "tokens", ids));
    MERRITT_CHECK(
        check_flags(flags, MERRITT_DETOKENIZE_SPECIAL | MERRITT_DETOKENIZE_CONTINUED, "MERRITT_DETOKENIZE_*"));
    tokens::Detokenizer detokenizer(*found->tokenizer, (flags & MERRITT_DETOKENIZE_SPECIAL) != 0,
                                    /*start_of_text=*/(flags & MERRITT_DETOKENIZE_CONTINUED) == 0);
    std::string out;
    for (const int32_t id : ids) detokenizer.push(id, out);
    detokenizer.flush(out);
    return write_buffer(out.data(), out.size(), text, capacity, length, "text");
  });
}

int32_t merritt_model_render_chat(merritt_model handle, const merritt_chat_options* options, char* text,
                                  size_t capacity, size_t* length, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    merritt_chat_options own;
    MERRITT_CHECK(read_options(options, "merritt_chat_options", own));
    MERRITT_CHECK(check_flags(own.flags, 0, "merritt_chat_options"));
    MERRITT_CHECK(check_reserved(own.reserved, "merritt_chat_options"));
    const Messages messages{own.messages, own.n_messages, own.message_stride};
    MERRITT_TRY(const uint64_t bytes, message_bytes(messages));
    if (bytes > limits::kPromptBytesMax) {
      return invalid("the messages have " + std::to_string(bytes) + " bytes; the limit is " +
                     std::to_string(limits::kPromptBytesMax));
    }
    MERRITT_TRY(const std::string rendered, render_chat(*found, messages));
    return write_buffer(rendered.data(), rendered.size(), text, capacity, length, "text");
  });
}

int32_t merritt_model_eval(merritt_model handle, merritt_tenant tenant, const int32_t* tokens, size_t count,
                           const merritt_eval_options* options, float* logits, size_t logits_length,
                           merritt_error** error) {
  return guard(tenant, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    MERRITT_TRY(const auto owner, find(tenant));
    if (found.pin.index() != owner.pin.index()) {
      return Status(Code::kFailedPrecondition, "the model and the tenant belong to different engines");
    }
    merritt_eval_options own;
    MERRITT_CHECK(read_options(options, "merritt_eval_options", own));
    MERRITT_CHECK(check_flags(own.flags, MERRITT_EVAL_DECODE, "MERRITT_EVAL_*"));
    MERRITT_CHECK(check_reserved(own.reserved, "merritt_eval_options"));
    if (count == 0 || count > found->context_max) {
      return invalid("count is " + std::to_string(count) + "; it must be 1 to the context_max of this model, " +
                     std::to_string(found->context_max));
    }
    const size_t needed = count * found->file->info.vocabulary;
    if (logits == nullptr || logits_length != needed) {
      return invalid("logits has " + std::to_string(logits == nullptr ? 0 : logits_length) + " floats; needed are " +
                     std::to_string(needed) + " (count * vocabulary)");
    }
    engine::Evaluation evaluation;
    MERRITT_CHECK(read_tokens(tokens, count, found->file->info.vocabulary, "tokens", evaluation.tokens));
    evaluation.target = {logits, (own.flags & MERRITT_EVAL_DECODE) != 0};
    if (own.deadline_ms != 0) {
      evaluation.deadline_ns = found.engine().now_ns() + uint64_t{own.deadline_ms} * 1'000'000;
    }
    if (own.progress != nullptr) {
      evaluation.progress = [call = own.progress, user = own.progress_user](float f) { return call(user, f) != 0; };
    }
    return engine::evaluate(found.engine(), owner.object, found.object, std::move(evaluation));
  });
}

int32_t merritt_model_trace_kernels(merritt_model handle, uint32_t row_class, char* text, size_t capacity,
                                    size_t* length, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const auto found, find(handle));
    if (row_class > MRT_CLASS_GENERATED) return invalid("row_class is " + std::to_string(row_class) + "; 0 or 1");
    MERRITT_TRY(const std::string trace, found->compiled->trace(*found->file, row_class));
    return write_buffer(trace.data(), trace.size(), text, capacity, length, "text");
  });
}

}  // extern "C"
