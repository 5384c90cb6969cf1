// SPDX-License-Identifier: Apache-2.0
// Row kernels: norms, activations, rope, conversions. Every sum runs in a fixed order; not-a-number inputs come out as
// not-a-number (the operand order of min and max below sees to that). Include only from ISA files.
#pragma once
#include "onednn/kernels.hpp"

namespace {

using merritt::onednn::Act;
using merritt::onednn::Q12Planes;
using merritt::onednn::Q16Planes;

// e^x to about 1 ulp of f32; 0 below -87, largest below infinity above 88.
MERRITT_INLINE F exp_of(F x) {
  x = Simd::min(Simd::set1(88.3762626f), Simd::max(Simd::set1(-87.3365447f), x));
  const I n = Simd::round(Simd::mul(x, Simd::set1(1.44269504f)));
  const F f = Simd::to_f32(n);
  F r = Simd::fnma(f, Simd::set1(0.693359375f), x);
  r = Simd::fnma(f, Simd::set1(-2.12194440e-4f), r);
  F y = Simd::set1(1.9875691500e-4f);
  y = Simd::fma(y, r, Simd::set1(1.3981999507e-3f));
  y = Simd::fma(y, r, Simd::set1(8.3334519073e-3f));
  y = Simd::fma(y, r, Simd::set1(4.1665795894e-2f));
  y = Simd::fma(y, r, Simd::set1(1.6666665459e-1f));
  y = Simd::fma(y, r, Simd::set1(5.0000001201e-1f));
  y = Simd::fma(y, Simd::mul(r, r), Simd::add(r, Simd::set1(1.0f)));
  return Simd::mul(y, Simd::power2(n));
}

MERRITT_INLINE F sigmoid_of(F x) {
  return Simd::div(Simd::set1(1.0f), Simd::add(Simd::set1(1.0f), exp_of(Simd::sub(Simd::zero(), x))));
}
// tanh x = 1 - 2 / (1 + e^2x); near zero the odd series, where the difference would cancel.
MERRITT_INLINE F tanh_of(F x) {
  const F far =
      Simd::sub(Simd::set1(1.0f), Simd::div(Simd::set1(2.0f), Simd::add(Simd::set1(1.0f), exp_of(Simd::add(x, x)))));
  const F s = Simd::mul(x, x);
  F near = Simd::fma(s, Simd::set1(-5.70498872745e-3f), Simd::set1(2.06390887954e-2f));
  near = Simd::fma(near, s, Simd::set1(-5.37397155531e-2f));
  near = Simd::fma(near, s, Simd::set1(1.33314422036e-1f));
  near = Simd::fma(near, s, Simd::set1(-3.33332819422e-1f));
  near = Simd::fma(Simd::mul(near, s), x, x);
  return Simd::pick_below(Simd::abs(x), 0.625f, near, far);
}
// erf by Abramowitz and Stegun 7.1.26, absolute error 1.5e-7.
MERRITT_INLINE F erf_of(F x) {
  const F a = Simd::abs(x);
  const F t = Simd::div(Simd::set1(1.0f), Simd::fma(Simd::set1(0.3275911f), a, Simd::set1(1.0f)));
  F y = Simd::fma(t, Simd::set1(1.061405429f), Simd::set1(-1.453152027f));
  y = Simd::fma(y, t, Simd::set1(1.421413741f));
  y = Simd::fma(y, t, Simd::set1(-0.284496736f));
  y = Simd::mul(Simd::fma(y, t, Simd::set1(0.254829592f)), t);
  const F positive = Simd::fnma(y, exp_of(Simd::sub(Simd::zero(), Simd::mul(a, a))), Simd::set1(1.0f));
  return Simd::pick_below(x, 0.0f, Simd::sub(Simd::zero(), positive), positive);
}

MERRITT_INLINE F act_of(F x, uint32_t act) {
  switch (static_cast<Act>(act)) {
    case Act::kSilu: return Simd::mul(x, sigmoid_of(x));
    case Act::kGeluTanh: {
      const F inner = Simd::mul(Simd::mul(x, Simd::set1(0.79788456080286535588f)),
                                Simd::fma(Simd::mul(x, x), Simd::set1(0.044715f), Simd::set1(1.0f)));
      return Simd::mul(Simd::mul(x, Simd::set1(0.5f)), Simd::add(Simd::set1(1.0f), tanh_of(inner)));
    }
    case Act::kGeluErf:
      return Simd::mul(Simd::mul(x, Simd::set1(0.5f)),
                       Simd::add(Simd::set1(1.0f), erf_of(Simd::mul(x, Simd::set1(0.70710678118654752f)))));
    case Act::kRelu: return Simd::max(Simd::zero(), x);
    case Act::kRelu2: {
      const F r = Simd::max(Simd::zero(), x);
      return Simd::mul(r, r);
    }
    case Act::kTanh: return tanh_of(x);
    case Act::kSigmoid: return sigmoid_of(x);
    default: return x;
  }
}

// Calls step(offset, count) for pieces of sixteen, the last one shorter.
template <class Step>
MERRITT_INLINE void pieces(uint64_t n, Step&& step) {
  uint64_t i = 0;
  for (; i + 16 <= n; i += 16) step(i, 16);
  if (i < n) step(i, static_cast<int>(n - i));
}
MERRITT_INLINE F take(const float* p, int n) { return n == 16 ? Simd::load(p) : Simd::load_n(p, n); }
MERRITT_INLINE void give(float* p, F v, int n) {
  if (n == 16) {
    Simd::store(p, v);
  } else {
    Simd::store_n(p, v, n);
  }
}

MERRITT_INLINE float sum_squares(const float* x, uint64_t n) {
  F s[4] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
  uint64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int j = 0; j < 4; ++j) {
      const F v = Simd::load(x + i + static_cast<uint64_t>(j) * 16);
      s[j] = Simd::fma(v, v, s[j]);
    }
  }
  pieces(
      n - i, [&](uint64_t at, int count) __attribute__((always_inline)) {
        const F v = take(x + i + at, count);
        s[0] = Simd::fma(v, v, s[0]);
      });
  return Simd::sum(Simd::add(Simd::add(s[0], s[1]), Simd::add(s[2], s[3])));
}

inline void rms_norm(const float* x, const float* w, float* y, uint64_t n, float eps) {
  const float mean = sum_squares(x, n) / static_cast<float>(n) + eps;
  const F scale = Simd::set1(1.0f / __builtin_sqrtf(mean));
  pieces(
      n, [&](uint64_t i, int count) __attribute__((always_inline)) {
        F v = Simd::mul(take(x + i, count), scale);
        if (w != nullptr) v = Simd::mul(v, take(w + i, count));
        give(y + i, v, count);
      });
}

inline void layer_norm(const float* x, const float* w, const float* b, float* y, uint64_t n, float eps) {
  F total = Simd::zero();
  pieces(
      n, [&](uint64_t i, int count) __attribute__((always_inline)) { total = Simd::add(total, take(x + i, count)); });
  const F mean = Simd::set1(Simd::sum(total) / static_cast<float>(n));
  pieces(
      n, [&](uint64_t i, int count)
             __attribute__((always_inline)) { give(y + i, Simd::sub(take(x + i, count), mean), count); });
  const F scale = Simd::set1(1.0f / __builtin_sqrtf(sum_squares(y, n) / static_cast<float>(n) + eps));
  pieces(
      n, [&](uint64_t i, int count) __attribute__((always_inline)) {
        F v = Simd::mul(take(y + i, count), scale);
        if (w != nullptr) v = Simd::mul(v, take(w + i, count));
        if (b != nullptr) v = Simd::add(v, take(b + i, count));
        give(y + i, v, count);
      });
}

inline void add_rows(const float* a, const float* b, float* y, uint64_t n) {
  pieces(
      n, [&](uint64_t i, int count)
             __attribute__((always_inline)) { give(y + i, Simd::add(take(a + i, count), take(b + i, count)), count); });
}

inline void mul_rows(const float* a, const float* b, float scale, float* y, uint64_t n) {
  const F s = Simd::set1(scale);
  pieces(
      n, [&](uint64_t i, int count) __attribute__((always_inline)) {
        F v = Simd::mul(take(a + i, count), s);
        if (b != nullptr) v = Simd::mul(v, take(b + i, count));
        give(y + i, v, count);
      });
}

inline void act_rows(const float* x, uint32_t act, float* y, uint64_t n) {
  pieces(
      n, [&](uint64_t i, int count)
             __attribute__((always_inline)) { give(y + i, act_of(take(x + i, count), act), count); });
}

inline void gate_rows(const float* a, const float* b, uint32_t act, float* y, uint64_t n) {
  pieces(
      n, [&](uint64_t i, int count) __attribute__((always_inline)) {
        give(y + i, Simd::mul(act_of(take(a + i, count), act), take(b + i, count)), count);
      });
}

inline void softcap_rows(const float* x, float cap, float* y, uint64_t n) {
  const F c = Simd::set1(cap), inverse = Simd::set1(1.0f / cap);
  pieces(
      n, [&](uint64_t i, int count) __attribute__((always_inline)) {
        give(y + i, Simd::mul(tanh_of(Simd::mul(take(x + i, count), inverse)), c), count);
      });
}

// Sixteen inputs from k on, zeros past the n-th.
MERRITT_INLINE F take_or_zero(const float* x, uint64_t n, uint64_t k) {
  return k + 16 <= n ? Simd::load(x + k) : k < n ? Simd::load_n(x + k, static_cast<int>(n - k)) : Simd::zero();
}

// The scale that makes `largest` the integer kLargest. `probe` is zero, or not a number where an input was infinite or
// not a number, which so is not lost.
template <int kLargest>
MERRITT_INLINE F store_scale(float largest, float probe, uint8_t* to) {
  const float scale = largest / kLargest + probe;
  std::memcpy(to, &scale, 4);
  return Simd::set1(largest > 0.0f ? kLargest / largest : 0.0f);
}

// The integers stay in their range whatever comes: max gives its second operand for a not-a-number, and beside one the
// largest may have been lost, or be so small that its inverse is infinite.
template <int kLargest>
MERRITT_INLINE I to_integers(F v, F inverse) {
  const F above = Simd::max(Simd::mul(v, inverse), Simd::set1(-kLargest));
  return Simd::round(Simd::min(above, Simd::set1(kLargest)));
}

// Scale of the largest magnitude in 32 inputs; the sums are what the unsigned codes' offset costs. The last bits of the
// integer become the low plane, rounded to nearest, so that high stays in [-127, 127].
inline void quantise_q12(const float* x, uint64_t n, uint64_t padded, uint8_t* band, uint32_t rows, uint32_t r) {
  constexpr int kLargest = 127 * 16;
  const I half = Simd::set1_i32(8), mask = Simd::set1_i32(15);
  auto* planes = reinterpret_cast<Q12Planes*>(band) + r;
  uint8_t* scales = band + merritt::onednn::q12_scales_at(padded, rows) + 4 * r;
  const uint64_t field = 4ull * rows;
  for (uint64_t k = 0; k < padded; k += 32, planes += rows, scales += 3 * field) {
    const F v[2] = {take_or_zero(x, n, k), take_or_zero(x, n, k + 16)};
    const float largest = Simd::largest(Simd::max(Simd::abs(v[0]), Simd::abs(v[1])));
    const float probe = Simd::sum(Simd::mul(Simd::add(v[0], v[1]), Simd::zero()));
    const F inverse = store_scale<kLargest>(largest, probe, scales);
    I sum = Simd::set1_i32(0), low_sum = sum;
    for (uint64_t h = 0; h < 2; ++h) {
      const I q = to_integers<kLargest>(v[h], inverse);
      const I rounded = Simd::add_i(q, half);
      Simd::store_i8(planes->high + 16 * h, Simd::template shift_right_signed<4>(rounded));
      const I low = Simd::sub_i(Simd::and_i(rounded, mask), half);
      Simd::store_i8(planes->low + 16 * h, low);
      sum = Simd::add_i(sum, q);
      low_sum = Simd::add_i(low_sum, low);
    }
    const int32_t minus_sum = -Simd::sum_i(sum), half_low = Simd::sum_i(low_sum) >> 1;
    std::memcpy(scales + field, &minus_sum, 4);
    std::memcpy(scales + 2 * field, &half_low, 4);
  }
}

// The same for 256 inputs; of weights in blocks of 256 there are no others.
inline void quantise_q16(const float* x, uint64_t n, uint64_t padded, uint8_t* band, uint32_t rows, uint32_t r) {
  constexpr int kLargest = 127 * 256;
  const I half = Simd::set1_i32(128), mask = Simd::set1_i32(255);
  auto* planes = reinterpret_cast<Q16Planes*>(band) + r;
  uint8_t* sums = band + merritt::onednn::q16_sums_at(padded, rows) + 4 * r;
  uint8_t* scales = band + merritt::onednn::q16_scales_at(padded, rows) + 4 * r;
  const uint64_t field = 4ull * rows;
  for (uint64_t k = 0; k < padded; k += 256, scales += field) {
    F largest = Simd::zero(), total = Simd::zero();
    for (uint64_t i = 0; i < 256; i += 16) {
      const F v = take_or_zero(x, n, k + i);
      largest = Simd::max(largest, Simd::abs(v));
      total = Simd::fma(v, Simd::zero(), total);
    }
    const F inverse = store_scale<kLargest>(Simd::largest(largest), Simd::sum(total), scales);
    for (uint64_t i = 0; i < 256; i += 16, sums += 2 * field) {
      const I rounded = Simd::add_i(to_integers<kLargest>(take_or_zero(x, n, k + i), inverse), half);
      const I high = Simd::template shift_right_signed<8>(rounded), low = Simd::sub_i(Simd::and_i(rounded, mask), half);
      Simd::store_i8(planes->high + i % 64, high);
      Simd::store_i8(planes->low + i % 64, low);
      const int32_t minus_high = -Simd::sum_i(high), minus_low = -Simd::sum_i(low);
      std::memcpy(sums, &minus_high, 4);
      std::memcpy(sums + field, &minus_low, 4);
      if (i % 64 == 48) planes += rows;
    }
  }
}

inline void to_bf16(const float* x, uint64_t n, uint64_t padded, uint16_t* row, uint64_t stride) {
  for (uint64_t k = 0; k < padded; k += 16) {
    Simd::store_bf16(reinterpret_cast<uint8_t*>(row + k / 32 * stride + k % 32), take_or_zero(x, n, k));
  }
}

inline void rope(const float* x, const float* cosine, const float* sine, uint32_t dim, uint32_t rot, uint32_t adjacent,
                 float* y) {
  const uint32_t half = rot / 2;
  if (adjacent != 0) {
    for (uint32_t i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      y[2 * i] = a * cosine[i] - b * sine[i];
      y[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
  } else {
    pieces(
        half, [&](uint64_t i, int count) __attribute__((always_inline)) {
          const F a = take(x + i, count), b = take(x + half + i, count);
          const F c = take(cosine + i, count), s = take(sine + i, count);
          give(y + i, Simd::fnma(b, s, Simd::mul(a, c)), count);
          give(y + half + i, Simd::fma(a, s, Simd::mul(b, c)), count);
        });
  }
  if (x != y) {
    for (uint32_t i = rot; i < dim; ++i) y[i] = x[i];
  }
}

}  // namespace
