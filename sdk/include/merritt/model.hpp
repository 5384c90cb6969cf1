// SPDX-License-Identifier: Apache-2.0
//
// merritt/model.hpp: owns a model: weights compiled by one backend, its KV pool, tokenizer and chat template. Thread
// rule: as the C ABI, any thread; moving or closing the wrapper itself needs one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <merritt/model.h>
#include <merritt/result.hpp>

namespace merritt {
inline namespace v0 {

using ModelInfo = merritt_model_info;

struct ModelOptions {
  std::string backend{};                  // empty = the first loaded that accepts the model
  uint32_t kv_type = 0;                   // MERRITT_KV_*
  uint32_t context_max = 0;               // 0 = min(the model's, 4096)
  uint32_t sequences_max = 0;             // 0 = 32
  uint32_t step_tokens_max = 0;           // 0 = 512
  uint32_t page_tokens = 0;               // 0 = 64
  uint64_t kv_bytes = 0;                  // 0 = 4 sequences of context_max
  std::function<bool(float)> progress{};  // false cancels the load; must not throw
  std::string pack_cache{};               // absolute directory for packed weights; empty = none are kept
  std::vector<uint8_t> pack_cache_key{};  // 32 bytes; empty = the key of that directory
  merritt_tenant tenant = nullptr;        // Tenant::capi() of whose it will be; null = every tenant's
};

struct Message {
  std::string role{};
  std::string content{};
};

// Of one teacher-forced evaluation.
struct EvalOptions {
  uint32_t flags = 0;                     // MERRITT_EVAL_*
  uint32_t deadline_ms = 0;               // 0 = none
  std::function<bool(float)> progress{};  // false cancels the evaluation; must not throw
};

// Which rows a kernel trace is about.
enum class RowClass : uint32_t { kPrompt = 0, kGenerated = 1 };

class Model : public detail::Handle<merritt_model, merritt_model_destroy> {
 public:
  using Handle::Handle;

  [[nodiscard]] static Result<Model> load(merritt_engine engine, std::string_view path,
                                          const ModelOptions& options = {}) {
    merritt_model_options raw{};
    raw.struct_size = sizeof(raw);
    raw.kv_type = options.kv_type;
    raw.backend = options.backend.empty() ? nullptr : options.backend.data();
    raw.backend_length = options.backend.size();
    raw.context_max = options.context_max;
    raw.sequences_max = options.sequences_max;
    raw.step_tokens_max = options.step_tokens_max;
    raw.page_tokens = options.page_tokens;
    raw.kv_bytes = options.kv_bytes;
    if (options.progress) {
      raw.progress = &forward_progress;
      raw.progress_user = const_cast<std::function<bool(float)>*>(&options.progress);
    }
    raw.pack_cache = options.pack_cache.empty() ? nullptr : options.pack_cache.data();
    raw.pack_cache_length = options.pack_cache.size();
    raw.pack_cache_key = options.pack_cache_key.empty() ? nullptr : options.pack_cache_key.data();
    raw.pack_cache_key_length = options.pack_cache_key.size();
    raw.tenant = options.tenant;
    Model model;
    auto made = detail::call(
        [&](merritt_error** e) { return merritt_model_load(engine, path.data(), path.size(), &raw, &model.raw_, e); });
    if (!made) {
      return std::move(made).error();
    }
    return model;
  }

  [[nodiscard]] Result<ModelInfo> info() const {
    ModelInfo info{};
    info.struct_size = sizeof(info);
    auto got = detail::call([&](merritt_error** e) { return merritt_model_info_get(raw_, &info, e); });
    if (!got) {
      return std::move(got).error();
    }
    return info;
  }
  // flags: MERRITT_TOKENIZE_*.
  [[nodiscard]] Result<std::vector<int32_t>> tokenize(std::string_view text, uint32_t flags = 0) const {
    return detail::read_buffer<std::vector<int32_t>>(
        [&](int32_t* data, size_t capacity, size_t* length, merritt_error** e) {
          return merritt_model_tokenize(raw_, text.data(), text.size(), flags, data, capacity, length, e);
        });
  }
  // flags: MERRITT_DETOKENIZE_*.
  [[nodiscard]] Result<std::string> detokenize(std::span<const int32_t> tokens, uint32_t flags = 0) const {
    return detail::read_buffer<std::string>([&](char* data, size_t capacity, size_t* length, merritt_error** e) {
      return merritt_model_detokenize(raw_, tokens.data(), tokens.size(), flags, data, capacity, length, e);
    });
  }
  // The conversation as the model's chat template writes it, up to the opening of the assistant's turn.
  [[nodiscard]] Result<std::string> render_chat(std::span<const Message> messages) const {
    std::vector<merritt_message> raw;
    for (const Message& message : messages) {
      raw.push_back({message.role.data(), message.role.size(), message.content.data(), message.content.size()});
    }
    merritt_chat_options options{};
    options.struct_size = sizeof(options);
    options.messages = raw.data();
    options.n_messages = raw.size();
    options.message_stride = sizeof(merritt_message);
    return detail::read_buffer<std::string>([&](char* data, size_t capacity, size_t* length, merritt_error** e) {
      return merritt_model_render_chat(raw_, &options, data, capacity, length, e);
    });
  }
  // Teacher-forced logits into logits[tokens.size() * vocabulary], row-major.
  [[nodiscard]] Result<void> eval(merritt_tenant tenant, std::span<const int32_t> tokens, std::span<float> logits,
                                  const EvalOptions& options = {}) const {
    merritt_eval_options raw{};
    raw.struct_size = sizeof(raw);
    raw.flags = options.flags;
    raw.deadline_ms = options.deadline_ms;
    if (options.progress) {
      raw.progress = &forward_progress;
      raw.progress_user = const_cast<std::function<bool(float)>*>(&options.progress);
    }
    return detail::call([&](merritt_error** e) {
      return merritt_model_eval(raw_, tenant, tokens.data(), tokens.size(), &raw, logits.data(), logits.size(), e);
    });
  }
  // One line a node: "index op kernel flops_share".
  [[nodiscard]] Result<std::string> trace_kernels(RowClass rows) const {
    return detail::read_buffer<std::string>([&](char* data, size_t capacity, size_t* length, merritt_error** e) {
      return merritt_model_trace_kernels(raw_, static_cast<uint32_t>(rows), data, capacity, length, e);
    });
  }

 private:
  static int32_t forward_progress(void* user, float fraction) {
    return (*static_cast<const std::function<bool(float)>*>(user))(fraction) ? 0 : 1;
  }
};

}  // namespace v0
}  // namespace merritt
