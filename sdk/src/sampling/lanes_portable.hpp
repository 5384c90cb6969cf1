// SPDX-License-Identifier: Apache-2.0
// Sixteen floats in an array: loops of a fixed length that any compiler can vectorise for its baseline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace merritt::sampling {
namespace {

struct Lanes {
  float v[16];
  static Lanes load(const float* x) {
    Lanes a;
    std::memcpy(a.v, x, sizeof(a.v));
    return a;
  }
  static Lanes all(float x) {
    Lanes a;
    for (float& lane : a.v) lane = x;
    return a;
  }
  void store(float* x) const { std::memcpy(x, v, sizeof(v)); }
};
struct Mask {  // all bits of a lane, or none
  uint32_t v[16];
};

template <class To, class F>
inline To each(F&& f) {
  To out;
  for (size_t k = 0; k < 16; ++k) out.v[k] = f(k);
  return out;
}
inline Lanes operator+(Lanes a, Lanes b) {
  return each<Lanes>([&](size_t k) { return a.v[k] + b.v[k]; });
}
inline Lanes operator-(Lanes a, Lanes b) {
  return each<Lanes>([&](size_t k) { return a.v[k] - b.v[k]; });
}
inline Lanes operator*(Lanes a, Lanes b) {
  return each<Lanes>([&](size_t k) { return a.v[k] * b.v[k]; });
}
// a * b + c, rounded once: a call of the library where the baseline has no instruction for it.
inline Lanes fused(Lanes a, Lanes b, Lanes c) {
  return each<Lanes>([&](size_t k) { return __builtin_fmaf(a.v[k], b.v[k], c.v[k]); });
}
// The second where they are equal or one is not a number.
inline Lanes larger(Lanes a, Lanes b) {
  return each<Lanes>([&](size_t k) { return a.v[k] > b.v[k] ? a.v[k] : b.v[k]; });
}
inline Lanes smaller(Lanes a, Lanes b) {
  return each<Lanes>([&](size_t k) { return a.v[k] < b.v[k] ? a.v[k] : b.v[k]; });
}
// 2^n for the integer n in the low bits of a shifted float.
inline Lanes power_of_two(Lanes shifted) {
  Mask bits;
  std::memcpy(bits.v, shifted.v, sizeof(bits.v));
  bits = each<Mask>([&](size_t k) { return bits.v[k] << 23; });
  std::memcpy(shifted.v, bits.v, sizeof(bits.v));
  return shifted;
}

inline Mask at_least(Lanes a, Lanes b) {
  return each<Mask>([&](size_t k) { return a.v[k] >= b.v[k] ? UINT32_MAX : 0; });
}
inline Mask both(Mask a, Mask b) {
  return each<Mask>([&](size_t k) { return a.v[k] & b.v[k]; });
}
inline Lanes where(Mask mask, Lanes a) {
  Mask bits;
  std::memcpy(bits.v, a.v, sizeof(bits.v));
  bits = both(bits, mask);
  std::memcpy(a.v, bits.v, sizeof(a.v));
  return a;
}
inline uint32_t bits_of(Mask mask) {
  uint32_t bits = 0;
  for (size_t k = 0; k < 16; ++k) bits |= (mask.v[k] & 1) << k;
  return bits;
}

}  // namespace
}  // namespace merritt::sampling
