// SPDX-License-Identifier: Apache-2.0
// exp(x) for x <= 0 as arithmetic a compiler can vectorise: 2^n * p(r) with a degree-6 polynomial (Cody and Waite's
// reduction), relative error below 2e-7; 0 below -87.
#pragma once

#include <bit>
#include <cstdint>

namespace merritt::sampling {

inline float exp_nonpositive(float x) {
  const bool tiny = x < -87.0f;
  const float y = tiny ? -87.0f : x;
  const auto n = static_cast<int32_t>(y * 1.44269504f - 0.5f);  // rounds to nearest, since y <= 0
  const auto f = static_cast<float>(n);
  const float r = (y - f * 0.693145752f) - f * 1.42860677e-6f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float power = std::bit_cast<float>((n + 127) << 23);
  return tiny ? 0.0f : p * power;
}

}  // namespace merritt::sampling
