// SPDX-License-Identifier: Apache-2.0
// The passes, written once over a type of sixteen float lanes. Included by one file for each instruction set, after its
// Lanes; everything here has internal linkage, because the linker must never lend one set's code to another.
#pragma once

#include "sampling/row_kernels.hpp"

namespace merritt::sampling {
namespace {

inline constexpr float kMinusInfinity = -__builtin_inff();

// A float of this size has no fraction, so adding it rounds to an integer n; its low bits are then n + 127, which
// shifted to the exponent's place is 2^n, or 0 for n = -127.
inline constexpr float kShift = 0x1.8p23f + 127;
inline constexpr float kLowest = -88.0f;  // n is -127
inline constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147182f;
// Of r^5 down to r^2; those of r and 1 are 1. The least largest relative error for |r| <= ln(2) / 2.
inline constexpr float kTerms[] = {0.00831251591f, 0.0418902002f, 0.166671142f, 0.499992311f};

// exp(x) for x <= 0 as 2^n p(r), x = n ln 2 + r: within 4e-7 of it, exactly 1 at 0, and 0 below -87.7. What is not a
// number stays so.
inline Lanes exponential(Lanes x) {
  const Lanes shift = Lanes::all(kShift);
  const Lanes y = larger(Lanes::all(kLowest), x);
  const Lanes shifted = fused(y, Lanes::all(kLog2e), shift);
  const Lanes r = fused(shifted - shift, Lanes::all(-kLn2), y);
  Lanes p = fused(Lanes::all(kTerms[0]), r, Lanes::all(kTerms[1]));
  p = fused(p, r, Lanes::all(kTerms[2]));
  p = fused(p, r, Lanes::all(kTerms[3]));
  p = fused(p, r, Lanes::all(1.0f));
  p = fused(p, r, Lanes::all(1.0f));
  return p * power_of_two(shifted);
}

// Calls f(vector, first element, elements) for the group's vectors; the last is filled up with `fill`.
template <class F>
inline void for_each_vector(const float* x, size_t n, float fill, F&& f) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(Lanes::load(x + i), i, kLanes);
  if (i == n) return;
  alignas(64) float rest[kLanes];
  for (size_t k = 0; k < kLanes; ++k) rest[k] = i + k < n ? x[i + k] : fill;
  f(Lanes::load(rest), i, n - i);
}

// The sixteen lanes as one, always in the same tree.
template <class F>
inline float fold(Lanes lanes, F&& f) {
  alignas(64) float folded[kLanes];
  lanes.store(folded);
  for (size_t half = kLanes / 2; half != 0; half /= 2) {
    for (size_t k = 0; k < half; ++k) folded[k] = f(folded[k], folded[k + half]);
  }
  return folded[0];
}
inline float sum_of(Lanes lanes) {
  return fold(lanes, [](float a, float b) { return a + b; });
}
inline float largest_of(Lanes lanes) {
  return fold(lanes, [](float a, float b) { return a > b ? a : b; });
}
inline float smallest_of(Lanes lanes) {
  return fold(lanes, [](float a, float b) { return a < b ? a : b; });
}

// The largest and the smallest element of each lane.
struct Extremes {
  Lanes most = Lanes::all(kMinusInfinity), least = Lanes::all(-kMinusInfinity);
  void take(Lanes v) {
    most = larger(most, v);
    least = smaller(least, v);
  }
};

// Two at a time, so that one vector need not wait for the last.
inline Extremes extremes(const float* x, size_t n) {
  Extremes even, odd;
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even.take(Lanes::load(x + i));
    odd.take(Lanes::load(x + i + kLanes));
  }
  for_each_vector(x + i, n - i, kMinusInfinity, [&](Lanes v, size_t, size_t) { odd.most = larger(odd.most, v); });
  for_each_vector(x + i, n - i, -kMinusInfinity, [&](Lanes v, size_t, size_t) { odd.least = smaller(odd.least, v); });
  return {larger(even.most, odd.most), smaller(even.least, odd.least)};
}

inline bool scan(const float* x, size_t n, GroupScan* out) {
  const Extremes ends = extremes(x, n);
  ends.most.store(out->maxima);
  out->peak = largest_of(ends.most);
  const Lanes peak = Lanes::all(out->peak);
  Lanes sum = Lanes::all(0.0f);
  for_each_vector(x, n, kMinusInfinity, [&](Lanes v, size_t, size_t) { sum = sum + exponential(v - peak); });
  out->sum = sum_of(sum);
  // An infinite element is an extreme; one that is no number makes the sum none.
  return out->peak < -kMinusInfinity && smallest_of(ends.least) > kMinusInfinity && out->sum == out->sum;
}

inline void maxima(const float* x, size_t n, float* lanes) { extremes(x, n).most.store(lanes); }

inline void at_least_bits(const float* x, size_t n, float floor, uint64_t* bits) {
  for (size_t word = 0; word < (n + 63) / 64; ++word) bits[word] = 0;
  const Lanes floors = Lanes::all(floor);
  for_each_vector(x, n, __builtin_nanf(""), [&](Lanes v, size_t i, size_t) {
    bits[i / 64] |= static_cast<uint64_t>(bits_of(at_least(v, floors))) << (i % 64);
  });
}

struct WeighingLanes {
  explicit WeighingLanes(const Weighting& w)
      : peak(Lanes::all(w.peak)),
        scale(Lanes::all(w.scale)),
        min_p(Lanes::all(w.min_p)),
        before(Lanes::all(w.floor_before)),
        after(Lanes::all(w.floor_after)),
        split(w.split) {}

  Lanes operator()(Lanes v, size_t i) const {
    const Lanes weight = exponential((v - peak) * scale);
    Lanes floor = i + kLanes <= split ? before : after;
    if (i < split && split < i + kLanes) floor = mixed(i);
    return where(both(at_least(weight, min_p), at_least(v, floor)), weight);
  }
  Lanes mixed(size_t i) const {
    alignas(64) float first[kLanes], rest[kLanes];
    before.store(first);
    after.store(rest);
    for (size_t k = split - i; k < kLanes; ++k) first[k] = rest[k];
    return Lanes::load(first);
  }

  Lanes peak, scale, min_p, before, after;
  size_t split;
};

inline float mass(const float* x, size_t n, const Weighting& weighting) {
  const WeighingLanes weigh(weighting);
  Lanes sum = Lanes::all(0.0f);
  for_each_vector(x, n, kMinusInfinity, [&](Lanes v, size_t i, size_t) { sum = sum + weigh(v, i); });
  return sum_of(sum);
}

inline void weights(const float* x, size_t n, const Weighting& weighting, float* out) {
  const WeighingLanes weigh(weighting);
  for_each_vector(x, n, kMinusInfinity, [&](Lanes v, size_t i, size_t count) {
    const Lanes weight = weigh(v, i);
    if (count == kLanes) return weight.store(out + i);
    alignas(64) float rest[kLanes];
    weight.store(rest);
    for (size_t k = 0; k < count; ++k) out[i + k] = rest[k];
  });
}

constexpr RowKernels table(const char* name) { return {name, &scan, &maxima, &at_least_bits, &mass, &weights}; }

}  // namespace
}  // namespace merritt::sampling
