// SPDX-License-Identifier: Apache-2.0
// From one row of logits to one token. The chain, in this order:
//
//   logit_bias ─▶ repetition, frequency, presence penalties ─▶ end tokens forbidden before min_tokens ─▶ mask
//   (grammars) ─▶ temperature 0: the largest logit, the lowest id among equals ─▶ else: softmax(logits / temperature)
//   ─▶ top_k ─▶ top_p ─▶ min_p ─▶ draw
//
// Threads: one sampler belongs to one choice of one request; one thread at a time. Nothing is allocated after create().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/status.hpp"
#include "sampling/row.hpp"

namespace merritt::sampling {

// Below these a division leaves the range of float: such a temperature means greedy, and 0 says so.
inline constexpr float kTemperatureMin = 0.001f;
inline constexpr float kRepetitionPenaltyMin = 0.01f;

struct SamplingParams {
  float temperature = 0;         // 0 = greedy; else in [0.001, 100]
  uint32_t top_k = 0;            // 0 = off
  float top_p = 1;               // 1 = off: the smallest set of likeliest tokens that holds this much probability
  float min_p = 0;               // 0 = off: tokens at least this likely, relative to the likeliest
  float repetition_penalty = 1;  // positive logits are divided by it, negative multiplied; prompt and output
  float frequency_penalty = 0;   // times the count in the output, subtracted
  float presence_penalty = 0;    // subtracted once
  uint32_t penalty_last_n = 0;   // tokens the penalties look back on; 0 = all
  uint32_t min_tokens = 0;
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // -infinity forbids; entries of one token add up

  // kInvalidArgument names the field, its value and its range. max_tokens: of the request, for min_tokens.
  Status validate(uint32_t vocabulary, uint32_t max_tokens = UINT32_MAX) const;
};

// Bit i of word i / 32 says whether token i may be drawn.
struct TokenMask {
  std::span<const uint32_t> words;
};

struct Drawn {
  int32_t token = -1;
  float logprob = 0;  // natural logarithm of its probability under the logits as the model gave them
};

class Sampler {
 public:
  // end_tokens are what min_tokens forbids; choice numbers the samples of one request. history_max: tokens of prompt
  // and output there is room for without an allocation. The kernels change no bit of what is drawn.
  static Result<std::unique_ptr<Sampler>> create(const SamplingParams& params, uint32_t vocabulary,
                                                 std::span<const int32_t> end_tokens, uint32_t choice,
                                                 uint32_t history_max = 0, const RowKernels& kernels = row_kernels());

  void accept_prompt(int32_t token);
  void accept(int32_t token);
  // Overwrites logits, one for each token of the vocabulary. kBackend when they are not finite; kInvalidArgument when
  // nothing may be drawn. What bias and penalties make of a logit is kept finite, so that a token can always be drawn
  // when one is allowed.
  Result<Drawn> sample(std::span<float> logits, const TokenMask* mask);
  // The part of sample() that reads every logit, ahead of it and perhaps on another thread: the next call of sample(),
  // if it is for these logits, does the rest. Changes nothing but the time.
  void look(std::span<const float> logits);

 private:
  struct Head {
    size_t kept;
    double mass;  // of the kept
    bool ended;   // by mass or min_p, before the candidates did
  };

  Sampler(const SamplingParams& params, uint32_t vocabulary, std::span<const int32_t> end_tokens, uint32_t choice,
          const RowKernels& kernels);
  void bias(std::span<float> logits);
  void penalise(std::span<float> logits);
  void forbid(std::span<float> logits, const TokenMask* mask);
  int32_t draw(float peak);
  Head head_of(std::span<const float> weights, double mass) const;
  static int32_t draw_head(std::span<const Candidate> best, std::span<const float> weights, const Head& head, double u);

  const SamplingParams params_;
  const uint32_t vocabulary_;
  const uint32_t choice_;
  const bool penalties_;
  const float scale_;  // 1 / temperature
  const std::vector<int32_t> end_tokens_;
  uint64_t generated_ = 0;
  const float* looked_at_ = nullptr;  // by look(); finite_ is what it saw
  bool finite_ = false;
  size_t prompt_tokens_ = 0;
  std::vector<int32_t> history_;   // prompt, then output; only with penalties
  std::vector<uint32_t> counts_;   // per token, only with penalties; zero between calls
  std::vector<Candidate> edited_;  // scratch: raw logits of biased and penalised tokens
  Row row_;
};

}  // namespace merritt::sampling
