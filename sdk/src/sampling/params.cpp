// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <string>

#include "sampling/sampler.hpp"

namespace merritt::sampling {
namespace {

// Two decimals, without the locale.
std::string text(float value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  const auto hundredths = static_cast<long long>(std::llround(static_cast<double>(std::fabs(value)) * 100));
  std::string fraction = std::to_string(hundredths % 100);
  if (fraction.size() == 1) fraction.insert(0, "0");
  return (value < 0 ? "-" : "") + std::to_string(hundredths / 100) + "." + fraction;
}

Status out_of_range(const char* field, float value, const char* range) {
  return Status(Code::kInvalidArgument, std::string(field) + " is " + text(value) + "; it must be in " + range);
}

}  // namespace

Status SamplingParams::validate(uint32_t vocabulary) const {
  if (!(temperature >= 0 && temperature <= 100)) return out_of_range("temperature", temperature, "[0, 100]");
  if (!(top_p > 0 && top_p <= 1)) return out_of_range("top_p", top_p, "(0, 1]");
  if (!(min_p >= 0 && min_p <= 1)) return out_of_range("min_p", min_p, "[0, 1]");
  if (!(repetition_penalty > 0 && repetition_penalty <= 100)) {
    return out_of_range("repetition_penalty", repetition_penalty, "(0, 100]");
  }
  if (!(std::fabs(frequency_penalty) <= 100))
    return out_of_range("frequency_penalty", frequency_penalty, "[-100, 100]");
  if (!(std::fabs(presence_penalty) <= 100)) return out_of_range("presence_penalty", presence_penalty, "[-100, 100]");
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || static_cast<uint32_t>(token) >= vocabulary) {
      return Status(Code::kInvalidArgument, "logit_bias names token " + std::to_string(token) +
                                                "; ids of this model are below " + std::to_string(vocabulary));
    }
    if (std::isnan(bias) || bias == INFINITY) return out_of_range("logit_bias", bias, "[-infinity, infinity)");
  }
  return {};
}

}  // namespace merritt::sampling
