// SPDX-License-Identifier: Apache-2.0
#include "reference/math/rows.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace merritt::plugin::reference {

double dot(const float* a, const float* b, uint64_t n) noexcept {
  double lanes[8] = {};
  uint64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (uint64_t l = 0; l < 8; ++l) lanes[l] += static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
  }
  for (; i < n; ++i) lanes[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

double activate(uint32_t act, double x) noexcept {
  switch (act) {
    case 1: return x / (1.0 + std::exp(-x));
    case 2: return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case 3: return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case 4: return std::max(x, 0.0);
    case 5: return x > 0.0 ? x * x : 0.0;
    case 6: return std::tanh(x);
    case 7: return 1.0 / (1.0 + std::exp(-x));
    default: return x;
  }
}

void rms_norm_row(const float* x, const float* w, uint64_t n_w, const Attributes& a, uint32_t width,
                  float* y) noexcept {
  for (uint32_t h = 0; h < width; h += a.head_dim) {
    const double mean = dot(x + h, x + h, a.head_dim) / a.head_dim;
    const double inverse = 1.0 / std::sqrt(mean + a.eps);
    for (uint32_t i = h; i < h + a.head_dim; ++i) {
      const double gain = w == nullptr ? 1.0 : static_cast<double>(w[i % n_w]) + a.offset;
      y[i] = static_cast<float>(x[i] * inverse * gain);
    }
  }
}

void layer_norm_row(const float* x, const float* w, uint64_t n_w, const float* b, uint64_t n_b, const Attributes& a,
                    uint32_t width, float* y) noexcept {
  for (uint32_t h = 0; h < width; h += a.head_dim) {
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = h; i < h + a.head_dim; ++i) sum += x[i];
    const double mean = sum / a.head_dim;
    for (uint32_t i = h; i < h + a.head_dim; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double inverse = 1.0 / std::sqrt(squares / a.head_dim + a.eps);
    for (uint32_t i = h; i < h + a.head_dim; ++i) {
      const double gain = w == nullptr ? 1.0 : w[i % n_w];
      const double bias = b == nullptr ? 0.0 : b[i % n_b];
      y[i] = static_cast<float>((x[i] - mean) * inverse * gain + bias);
    }
  }
}

void rope_frequencies(const Attributes& a, const float* factors, double* out) noexcept {
  const uint32_t pairs = a.rot_dim / 2;
  // yarn: pairs that turn more than beta_fast times within the original context keep their angle, those that turn less
  // than beta_slow times are interpolated, and a ramp lies between.
  const auto pair_of = [&](double turns) {
    return a.rot_dim * std::log(a.orig_ctx / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(a.base));
  };
  const double low = a.scaling == 2 ? std::max(0.0, std::floor(pair_of(a.beta_fast))) : 0.0;
  const double high = a.scaling == 2 ? std::min(a.rot_dim - 1.0, std::ceil(pair_of(a.beta_slow))) : 0.0;
  for (uint32_t i = 0; i < pairs; ++i) {
    double angle = std::pow(a.base, -2.0 * i / a.rot_dim);
    if (factors != nullptr) angle /= factors[i];
    if (a.scaling == 1) {
      angle /= a.factor;
    } else if (a.scaling == 2) {
      const double ramp = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
      angle = angle / a.factor * ramp + angle * (1.0 - ramp);
    }
    out[i] = angle;
  }
}

void rope_row(const float* x, const double* cosines, const double* sines, const Attributes& a, uint32_t width,
              float* y) noexcept {
  const uint32_t pairs = a.rot_dim / 2;
  for (uint32_t h = 0; h < width; h += a.head_dim) {
    for (uint32_t i = 0; i < pairs; ++i) {
      const uint32_t first = h + (a.style == 0 ? i : 2 * i);
      const uint32_t second = h + (a.style == 0 ? i + pairs : 2 * i + 1);
      const double u = x[first], v = x[second];
      y[first] = static_cast<float>(u * cosines[i] - v * sines[i]);
      y[second] = static_cast<float>(u * sines[i] + v * cosines[i]);
    }
    for (uint32_t i = h + a.rot_dim; i < h + a.head_dim; ++i) y[i] = x[i];
  }
}

void choose_experts(const float* logits, const float* bias, const Attributes& a, double* scores, uint32_t* ids,
                    double* weights) noexcept {
  const uint32_t n = a.experts;
  const double largest = *std::max_element(logits, logits + n);
  double total = 0.0;
  for (uint32_t e = 0; e < n; ++e) {
    const double x = logits[e];
    scores[e] = a.score == 0 ? std::exp(x - largest) : a.score == 1 ? 1.0 / (1.0 + std::exp(-x)) : x;
    total += scores[e];
  }
  for (uint32_t e = 0; e < n && a.score == 0; ++e) scores[e] /= total;
  double chosen = 0.0;
  for (uint32_t k = 0; k < a.top_k; ++k) {
    uint32_t best = n;
    double best_key = 0.0;
    for (uint32_t e = 0; e < n; ++e) {
      const double key = scores[e] + (bias == nullptr ? 0.0 : bias[e]);
      if (std::find(ids, ids + k, e) == ids + k && (best == n || key > best_key)) {
        best = e;
        best_key = key;
      }
    }
    ids[k] = best;
    weights[k] = a.score == 2 ? std::exp(logits[best] - largest) : scores[best];
    chosen += weights[k];
  }
  const bool normalise = a.norm_topk != 0 || a.score == 2;
  for (uint32_t k = 0; k < a.top_k; ++k) {
    weights[k] = a.scale * (normalise && chosen > 0.0 ? weights[k] / chosen : weights[k]);
  }
}

}  // namespace merritt::plugin::reference
