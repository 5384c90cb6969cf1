// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "sampling/random.hpp"

namespace merritt::sampling {
namespace {

// An edited logit that left the range of float: the end of the range. Only what was forbidden stays infinite.
float kept_finite(float logit) { return std::clamp(logit, -kFiniteMax, kFiniteMax); }

// Sorting this many is cheaper than another pass over a large vocabulary.
constexpr uint32_t kHeadFew = 64, kHeadMax = 1024;

uint32_t best_max(const SamplingParams& params) {
  if (params.temperature == 0 || (params.top_k == 0 && params.top_p == 1)) return 0;
  return params.top_k == 0 ? kHeadMax : std::min(params.top_k, kHeadMax);
}
bool selects(const SamplingParams& params) { return params.top_k == 0 || params.top_k > kHeadMax; }

}  // namespace

Result<std::unique_ptr<Sampler>> Sampler::create(const SamplingParams& params, uint32_t vocabulary,
                                                 std::span<const int32_t> end_tokens, uint32_t choice,
                                                 uint32_t history_max, const RowKernels& kernels) {
  MERRITT_CHECK(params.validate(vocabulary));
  std::unique_ptr<Sampler> sampler(new Sampler(params, vocabulary, end_tokens, choice, kernels));
  const bool penalties = sampler->penalties_;
  if (penalties) sampler->history_.reserve(history_max);
  sampler->edited_.reserve(params.logit_bias.size() + (penalties ? std::min(history_max, vocabulary) : 0));
  return sampler;
}

Sampler::Sampler(const SamplingParams& params, uint32_t vocabulary, std::span<const int32_t> end_tokens,
                 uint32_t choice, const RowKernels& kernels)
    : params_(params),
      vocabulary_(vocabulary),
      choice_(choice),
      penalties_(params.repetition_penalty != 1 || params.frequency_penalty != 0 || params.presence_penalty != 0),
      scale_(params.temperature == 0 ? 1 : 1.0f / params.temperature),
      end_tokens_(end_tokens.begin(), end_tokens.end()),
      row_(vocabulary, kernels, best_max(params), selects(params)) {
  if (penalties_) counts_.resize(vocabulary);
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

void Sampler::look(std::span<const float> logits) {
  if (logits.size() != vocabulary_) return;  // sample() says so
  finite_ = row_.scan(logits);
  looked_at_ = logits.data();
}

Result<Drawn> Sampler::sample(std::span<float> logits, const TokenMask* mask) {
  if (logits.size() != vocabulary_) {
    return Status(Code::kInternal, "there are " + std::to_string(logits.size()) + " logits for a vocabulary of " +
                                       std::to_string(vocabulary_));
  }
  const bool looked = std::exchange(looked_at_, nullptr) == logits.data();
  if (!(looked ? finite_ : row_.scan(logits))) {
    return Status(Code::kBackend, "the backend computed logits that are not finite for this sequence");
  }
  // The raw logit of the token drawn is needed after the chain has overwritten it, so every edit is remembered by
  // value: bias and penalties touch few tokens; their raw values are put aside here.
  edited_.clear();
  bias(logits);
  if (penalties_) penalise(logits);
  forbid(logits, mask);
  row_.refresh();
  const float peak = row_.peak();
  if (peak == kForbidden) {
    return Status(Code::kInvalidArgument, "logit_bias, min_tokens and mask together forbid every token");
  }
  const int32_t token = params_.temperature == 0 ? row_.argmax() : draw(peak);
  if (token < 0) return Status(Code::kInternal, "no token could be drawn from logits that are finite");
  float raw = logits[static_cast<size_t>(token)];
  for (size_t i = edited_.size(); i != 0; --i) {
    if (edited_[i - 1].token == token) raw = edited_[i - 1].logit;  // the first edit is looked at last
  }
  return Drawn{token, static_cast<float>(raw - row_.log_sum_exp())};
}

void Sampler::bias(std::span<float> logits) {
  for (const auto& [token, bias] : params_.logit_bias) {
    float& logit = logits[static_cast<size_t>(token)];
    edited_.push_back({logit, token});
    row_.touch(token);
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
    row_.touch(token);
    if (logit == kForbidden) continue;
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    logit -= static_cast<float>(count) * params_.frequency_penalty;
    if (count != 0) logit -= params_.presence_penalty;
    logit = kept_finite(logit);
  }
}

void Sampler::forbid(std::span<float> logits, const TokenMask* mask) {
  if (generated_ < params_.min_tokens) {
    for (const int32_t token : end_tokens_) {
      if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
      logits[static_cast<size_t>(token)] = kForbidden;
      row_.touch(token);
    }
  }
  if (mask == nullptr) return;
  for (size_t first = 0; first < logits.size(); first += 32) {
    const uint32_t word = first / 32 < mask->words.size() ? mask->words[first / 32] : 0;
    if (word == UINT32_MAX) continue;
    const std::span<float> covered = logits.subspan(first, std::min<size_t>(32, logits.size() - first));
    for (size_t i = 0; i < covered.size(); ++i) covered[i] = (word >> i & 1) != 0 ? covered[i] : kForbidden;
    row_.touch(static_cast<int32_t>(first));  // groups are whole words
  }
}

// ---- The draw

// Of the likeliest, in order: how many stay until `mass` is reached, or min_p is not.
Sampler::Head Sampler::head_of(std::span<const float> weights, double mass) const {
  Head head{0, 0, false};
  for (const float weight : weights) {
    head.ended = head.kept != 0 && (head.mass >= mass || weight < params_.min_p || weight == 0);
    if (head.ended) break;
    head.mass += weight;
    ++head.kept;
  }
  return head;
}

int32_t Sampler::draw_head(std::span<const Candidate> best, std::span<const float> weights, const Head& head,
                           double u) {
  double left = u * head.mass;
  size_t i = 0;
  for (; i + 1 < head.kept; ++i) {
    left -= weights[i];
    if (left < 0) break;
  }
  return best[i].token;
}

int32_t Sampler::draw(float peak) {
  const double u = uniform(params_.seed, choice_, generated_);
  Weights weights{.peak = peak, .scale = scale_};
  if (params_.top_k != 0 && params_.top_k <= kHeadMax) {
    const std::span<const Candidate> best = row_.best(params_.top_k);
    const std::span<const float> weighed = row_.weights_of(best, weights);
    const double total = std::accumulate(weighed.begin(), weighed.end(), 0.0);
    return draw_head(best, weighed, head_of(weighed, params_.top_p * total), u);
  }
  if (params_.top_k != 0 && params_.top_k < vocabulary_) weights.cut = row_.cut_at_count(params_.top_k);
  if (params_.top_p < 1) {
    const double mass = params_.top_p * row_.mass(weights);
    // Most often few tokens hold the mass. Where even kHeadMax as likely as the last would not, all are weighed.
    for (const uint32_t n : {kHeadFew, kHeadMax}) {
      const std::span<const Candidate> best = row_.best(n);
      const std::span<const float> weighed = row_.weights_of(best, weights);
      const Head head = head_of(weighed, mass);
      if (head.ended || head.mass >= mass) return draw_head(best, weighed, head, u);
      if (head.mass + double{kHeadMax} * weighed.back() < mass) break;
    }
    weights.cut = row_.cut_at_mass(mass, weights);
  }
  weights.min_p = params_.min_p;
  return row_.draw(u, weights);
}

}  // namespace merritt::sampling
