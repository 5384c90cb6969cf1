// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <string>

#include "sampling/sampler.hpp"

namespace merritt::sampling {
namespace {

// The shortest text that means this number, without the locale.
std::string text(float value) {
  char out[32];
  const auto end = std::to_chars(out, out + sizeof out, value).ptr;
  return {out, end};
}

Status out_of_range(const char* field, float value, const char* range) {
  return Status(Code::kInvalidArgument, std::string(field) + " is " + text(value) + "; it must be " + range);
}

}  // namespace

Status SamplingParams::validate(uint32_t vocabulary, uint32_t max_tokens) const {
  if (temperature != 0 && !(temperature >= kTemperatureMin && temperature <= 100)) {
    return out_of_range("temperature", temperature, "0 (greedy) or in [0.001, 100]");
  }
  if (!(top_p > 0 && top_p <= 1)) return out_of_range("top_p", top_p, "in (0, 1]");
  if (!(min_p >= 0 && min_p <= 1)) return out_of_range("min_p", min_p, "in [0, 1]");
  if (!(repetition_penalty >= kRepetitionPenaltyMin && repetition_penalty <= 100)) {
    return out_of_range("repetition_penalty", repetition_penalty, "in [0.01, 100]; 1 is off");
  }
  if (!(std::fabs(frequency_penalty) <= 100)) {
    return out_of_range("frequency_penalty", frequency_penalty, "in [-100, 100]");
  }
  if (!(std::fabs(presence_penalty) <= 100)) {
    return out_of_range("presence_penalty", presence_penalty, "in [-100, 100]");
  }
  if (min_tokens > max_tokens) {
    return Status(Code::kInvalidArgument, "min_tokens is " + std::to_string(min_tokens) +
                                              "; it must not be above max_tokens, " + std::to_string(max_tokens));
  }
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || static_cast<uint32_t>(token) >= vocabulary) {
      return Status(Code::kInvalidArgument, "logit_bias names token " + std::to_string(token) +
                                                "; ids of this model are below " + std::to_string(vocabulary));
    }
    if (std::isnan(bias) || bias == INFINITY) {
      return out_of_range("logit_bias", bias, "finite, or -infinity to forbid the token");
    }
  }
  return {};
}

}  // namespace merritt::sampling
