// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "sampling/exponential.hpp"
#include "sampling/random.hpp"

namespace merritt::sampling {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr float kFiniteMax = std::numeric_limits<float>::max();

// An edited logit that left the range of float: the end of the range. Only what was forbidden stays infinite.
float kept_finite(float logit) { return std::clamp(logit, -kFiniteMax, kFiniteMax); }

// x - x is 0 for every finite x and NaN for all others.
bool all_finite(std::span<const float> logits) {
  float sum = 0;
  for (const float x : logits) sum += x - x;
  return sum == 0;
}

float largest(std::span<const float> logits) {
  float peak = kForbidden;
  for (const float x : logits) peak = x > peak ? x : peak;
  return peak;
}

// The sum of exp((x - peak) * scale), in blocks: float inside a block, double over blocks.
double sum_exp(std::span<const float> logits, float peak, float scale) {
  constexpr size_t kBlock = 256;
  double total = 0;
  for (size_t first = 0; first < logits.size(); first += kBlock) {
    const size_t last = std::min(logits.size(), first + kBlock);
    float sum = 0;
    for (size_t i = first; i < last; ++i) sum += exp_nonpositive((logits[i] - peak) * scale);
    total += sum;
  }
  return total;
}

}  // namespace

Result<std::unique_ptr<Sampler>> Sampler::create(const SamplingParams& params, uint32_t vocabulary,
                                                 std::span<const int32_t> end_tokens, uint32_t choice,
                                                 uint32_t history_max) {
  MERRITT_CHECK(params.validate(vocabulary));
  std::unique_ptr<Sampler> sampler(new Sampler(params, vocabulary, end_tokens, choice));
  const bool penalties = sampler->penalties_;
  if (penalties) sampler->history_.reserve(history_max);
  sampler->edited_.reserve(params.logit_bias.size() + (penalties ? std::min(history_max, vocabulary) : 0));
  return sampler;
}

Sampler::Sampler(const SamplingParams& params, uint32_t vocabulary, std::span<const int32_t> end_tokens,
                 uint32_t choice)
    : params_(params),
      vocabulary_(vocabulary),
      choice_(choice),
      penalties_(params.repetition_penalty != 1 || params.frequency_penalty != 0 || params.presence_penalty != 0),
      end_tokens_(end_tokens.begin(), end_tokens.end()) {
  if (penalties_) counts_.resize(vocabulary);
  if (params.temperature > 0 && (params.top_k != 0 || params.top_p < 1)) candidates_.reserve(vocabulary);
}

void Sampler::accept_prompt(int32_t token) {
  if (!penalties_ || token < 0 || static_cast<uint32_t>(token) >= vocabulary_) return;
  history_.push_back(token);
  prompt_tokens_ = history_.size();
}

void Sampler::accept(int32_t token) {
  ++generated_;
  if (penalties_ && token >= 0 && static_cast<uint32_t>(token) < vocabulary_) history_.push_back(token);
}

Result<Drawn> Sampler::sample(std::span<float> logits, const TokenMask* mask) {
  if (logits.size() != vocabulary_) {
    return Status(Code::kInternal, "there are " + std::to_string(logits.size()) + " logits for a vocabulary of " +
                                       std::to_string(vocabulary_));
  }
  if (!all_finite(logits)) {
    return Status(Code::kBackend, "the backend computed logits that are not finite for this sequence");
  }
  const float raw_peak = largest(logits);
  const double raw_sum = sum_exp(logits, raw_peak, 1);
  // The raw logit of the token drawn is needed after the chain has overwritten it, so every edit is remembered by
  // value: bias and penalties touch few tokens; their raw values are put aside here.
  edited_.clear();
  bias(logits);
  if (penalties_) penalise(logits);
  forbid(logits, mask);
  const float peak = largest(logits);
  if (peak == kForbidden) {
    return Status(Code::kInvalidArgument, "logit_bias, min_tokens and mask together forbid every token");
  }
  int32_t token = -1;
  if (params_.temperature == 0) {
    token = static_cast<int32_t>(std::find(logits.begin(), logits.end(), peak) - logits.begin());
  } else {
    token = draw(logits, peak);
  }
  if (token < 0) return Status(Code::kInternal, "no token could be drawn from logits that are finite");
  float raw = logits[static_cast<size_t>(token)];
  for (size_t i = edited_.size(); i != 0; --i) {
    if (edited_[i - 1].token == token) raw = edited_[i - 1].logit;  // the first edit is looked at last
  }
  return Drawn{token, static_cast<float>(raw - raw_peak - std::log(raw_sum))};
}

void Sampler::bias(std::span<float> logits) {
  for (const auto& [token, bias] : params_.logit_bias) {
    float& logit = logits[static_cast<size_t>(token)];
    edited_.push_back({logit, token});
    const bool forbidden = bias == kForbidden || logit == kForbidden;
    logit = forbidden ? kForbidden : kept_finite(logit + bias);
  }
}

void Sampler::penalise(std::span<float> logits) {
  const size_t window =
      params_.penalty_last_n == 0 ? history_.size() : std::min<size_t>(params_.penalty_last_n, history_.size());
  const size_t first = history_.size() - window;
  // counts_: the top bit says "seen", the rest counts the output.
  constexpr uint32_t kSeen = 1u << 31;
  for (size_t i = first; i < history_.size(); ++i) {
    uint32_t& count = counts_[static_cast<size_t>(history_[i])];
    count = (count | kSeen) + (i >= prompt_tokens_ ? 1 : 0);
  }
  for (size_t i = first; i < history_.size(); ++i) {
    const int32_t token = history_[i];
    uint32_t& seen = counts_[static_cast<size_t>(token)];
    if (seen == 0) continue;  // done already
    const uint32_t count = seen & ~kSeen;
    seen = 0;
    float& logit = logits[static_cast<size_t>(token)];
    edited_.push_back({logit, token});
    if (logit == kForbidden) continue;
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    logit -= static_cast<float>(count) * params_.frequency_penalty;
    if (count != 0) logit -= params_.presence_penalty;
    logit = kept_finite(logit);
  }
}

void Sampler::forbid(std::span<float> logits, const TokenMask* mask) const {
  if (generated_ < params_.min_tokens) {
    for (const int32_t token : end_tokens_) {
      if (token >= 0 && static_cast<size_t>(token) < logits.size()) logits[static_cast<size_t>(token)] = kForbidden;
    }
  }
  if (mask == nullptr) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = i / 32 < mask->words.size() && (mask->words[i / 32] >> (i % 32) & 1) != 0;
    if (!allowed) logits[i] = kForbidden;
  }
}

int32_t Sampler::draw(std::span<const float> logits, float peak) {
  const double u = uniform(params_.seed, choice_, generated_);
  if (params_.top_k != 0 || params_.top_p < 1) return draw_filtered(logits, peak, u);
  // Without an order there is nothing to sort: walk the ids, skipping what min_p leaves out.
  const float scale = 1.0f / params_.temperature;
  const auto weight = [&](float logit) {
    const float w = exp_nonpositive((logit - peak) * scale);
    return w >= params_.min_p ? w : 0.0f;
  };
  double total = 0;
  for (const float logit : logits) total += weight(logit);
  double left = u * total;
  int32_t last = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double w = weight(logits[i]);
    if (w == 0) continue;
    last = static_cast<int32_t>(i);
    left -= w;
    if (left < 0) return last;
  }
  return last;
}

int32_t Sampler::draw_filtered(std::span<const float> logits, float peak, double u) {
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  const float scale = 1.0f / params_.temperature;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kForbidden) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  }
  if (params_.top_k != 0 && params_.top_k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + params_.top_k, candidates_.end(), before);
    candidates_.resize(params_.top_k);
  }
  double total = 0;
  for (const Candidate& c : candidates_) total += exp_nonpositive((c.logit - peak) * scale);
  // The head is sorted in growing pieces until it holds top_p of the mass.
  size_t sorted = 0, kept = 0;
  double mass = 0;
  while (kept < candidates_.size()) {
    if (kept == sorted) {
      const size_t next = std::min(candidates_.size(), sorted == 0 ? size_t{64} : sorted * 4);
      const auto begin = candidates_.begin() + static_cast<ptrdiff_t>(sorted);
      const auto middle = candidates_.begin() + static_cast<ptrdiff_t>(next);
      std::partial_sort(begin, middle, candidates_.end(), before);
      sorted = next;
    }
    const float w = exp_nonpositive((candidates_[kept].logit - peak) * scale);
    if (kept != 0 && (mass >= params_.top_p * total || w < params_.min_p)) break;
    mass += w;
    ++kept;
  }
  double left = u * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    left -= exp_nonpositive((candidates_[i].logit - peak) * scale);
    if (left < 0) return candidates_[i].token;
  }
  return candidates_[kept - 1].token;
}

}  // namespace merritt::sampling
