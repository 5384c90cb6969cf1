// SPDX-License-Identifier: Apache-2.0
// A request: one generation (or one teacher-forced evaluation) on a session.
//
// Threads: params, the prompt and the owners are immutable after submit. `cancel` may be set by anyone. Everything
// under "step thread" belongs to the step thread alone; stats are published under the stream's own lock discipline
// (atomics).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/stream.hpp"
#include "kv/cache.hpp"
#include "sampling/prompt_lookup.hpp"
#include "sampling/sampler.hpp"
#include "tenant/tenant.hpp"
#include "tokens/detokenizer.hpp"
#include "tokens/stop.hpp"

namespace merritt::engine {

class Session;

// Where a teacher-forced evaluation puts its logits: [tokens, vocabulary] f32, owned by the waiting caller.
struct EvalTarget {
  float* logits = nullptr;
  bool decode = false;  // one token a step, in class generated
};

struct RequestParams {
  std::vector<int32_t> prompt;
  bool conversation = false;  // prompt is the whole conversation; what is cached of it is not run again
  uint32_t max_tokens = 0;
  uint32_t n = 1;
  bool ignore_eos = false;
  bool echo_special = false;
  uint32_t speculate_max = 0;  // draft tokens of a choice in one step
  int32_t priority = 0;        // among the requests of the tenant for the model
  sampling::SamplingParams sampling;
  std::vector<std::string> stop_strings;
  std::vector<int32_t> stop_tokens;
  uint64_t deadline_ns = 0;  // absolute on the engine's clock; 0 = none
  EvalTarget eval;
};

// One of the n samples of a request. Step thread only.
struct Choice {
  kv::SequenceId sequence{};
  std::unique_ptr<sampling::Sampler> sampler;
  std::unique_ptr<tokens::Detokenizer> detokenizer;
  std::unique_ptr<tokens::StopMatcher> stop;
  std::unique_ptr<sampling::PromptLookup> lookup;  // null = no speculation
  int32_t next_token = -1;                         // drawn, not yet run
  std::vector<int32_t> draft;                      // guesses at the tokens after it
  std::vector<int32_t> run;                        // of samples but the first, whose are the session's history
  uint32_t generated = 0;
  FinishReason finish = FinishReason::kNone;

  // Draws from logits, which it overwrites.
  Result<sampling::Drawn> draw(std::span<float> logits);
  // The i-th token of the next run.
  int32_t token_at(uint32_t i) const { return i == 0 ? next_token : draft[i - 1]; }
  // At the end: appends the text held back, but for a stop string that this completes (true then).
  bool flush_text(std::string& out, bool may_stop = true);
};

struct RequestStats {
  std::atomic<uint32_t> finish_reason{0}, prompt_tokens{0}, cached_tokens{0}, generated_tokens{0}, steps{0};
  std::atomic<uint32_t> draft_tokens{0}, draft_tokens_accepted{0};
  std::atomic<uint32_t> steps_after_cancel{0}, pages_freed{0};
  std::atomic<uint64_t> kv_bytes_released{0};
  std::atomic<uint64_t> submitted_ns{0}, started_ns{0}, first_token_ns{0}, last_token_ns{0};
};

class Request : public std::enable_shared_from_this<Request> {
 public:
  Request(RequestParams p, std::shared_ptr<Session> s) : params(std::move(p)), session(std::move(s)) {
    if (!params.stop_strings.empty()) stops = std::make_shared<const tokens::StopSet>(params.stop_strings);
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  const RequestParams params;
  const std::shared_ptr<Session> session;
  std::shared_ptr<const tokens::StopSet> stops;  // made where the request is, immutable; null = none
  tenant::Grant grant;                           // immutable once it is queued
  const std::shared_ptr<Stream> shared_stream = std::make_shared<Stream>();  // a queue may hold it longer than this
  Stream& stream = *shared_stream;
  RequestStats stats;
  std::atomic<bool> cancelled{false};

  // Step thread.
  uint64_t id = 0;
  std::vector<Choice> choices;
  uint32_t first_position = 0;  // of the tokens to run, in the session's history
  uint32_t prompt_skip = 0;     // of params.prompt, what the session's cache held already
  bool adopted = false;         // which is somebody's beginning, taken for this request
  uint32_t branch = 0;          // a length of the prompt at which others go on differently; 0 = none is known
  uint32_t prompt_run = 0;      // of what has to be run, what was, each token once
  uint32_t max_new_tokens = 0;  // max_tokens, or what the context has room for
  uint32_t eval_rows = 0;       // rows of logits handed out
  bool finished = false;

  // The token at a position of the session behind its history.
  int32_t prompt_at(uint32_t position) const { return params.prompt[prompt_skip + position - first_position]; }
};

}  // namespace merritt::engine
