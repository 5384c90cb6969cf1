// SPDX-License-Identifier: Apache-2.0
// Where a row is cut when more tokens stay than are worth sorting: a radix selection over the logits' bits. A bucket of
// a digit's histogram holds the weight of the tokens that have it, so the walk to the bucket in which the weight
// reaches its target needs no order within. Three digits make a logit; equal ones are then counted off by their ids.
#include <algorithm>
#include <bit>
#include <cmath>

#include "sampling/row.hpp"

namespace merritt::sampling {
namespace {

constexpr uint32_t kDigit = 11;  // bits of the first two digits; the third has the last ten
constexpr uint32_t kFirstShift = 21, kSecondShift = 10;
constexpr size_t kBuckets = size_t{1} << kDigit;
static_assert(Row::kHistogram == 2 * kBuckets);

// Ascending keys are descending logits. -0 is 0.
uint32_t key_of(float logit) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return (bits >> 31) != 0 ? bits : ~bits & (~0u >> 1);
}
// Keys of no finite logit give the end of the range.
float logit_of(uint32_t key) {
  const auto logit = std::bit_cast<float>((key >> 31) != 0 ? key : ~key & (~0u >> 1));
  if (std::isfinite(logit)) return logit;
  return (key >> 31) != 0 ? -kFiniteMax : kFiniteMax;
}

}  // namespace

// False: nothing in the group weighs anything.
bool Row::weigh_group(size_t g, const Weights* weights, float* out) const {
  if (weights == nullptr) {
    for (size_t i = 0; i < group_size(g); ++i) out[i] = group(g)[i] >= -kFiniteMax ? 1.0f : 0.0f;
    return true;
  }
  if (masses_[g] == 0) return false;  // as mass(weights), which gave the target, has found
  kernels_.weights(group(g), group_size(g), weighting(g, *weights), out);
  return true;
}

// Two histograms, for elements that follow each other: an add need not wait for the one before.
void Row::count_first_digits(const Weights* weights) {
  std::fill(histogram_.begin(), histogram_.end(), 0.0);
  float weight[kGroup];
  for (size_t g = 0; g < n_groups(); ++g) {
    if (!weigh_group(g, weights, weight)) continue;
    const float* const x = group(g);
    for (size_t i = 0; i < group_size(g); ++i) {
      histogram_[(i & 1) * kBuckets + (key_of(x[i]) >> kFirstShift)] += weight[i];
    }
  }
  for (size_t k = 0; k < kBuckets; ++k) histogram_[k] += histogram_[kBuckets + k];
}

// Calls f(candidate, weight) for low <= logit <= high, both finite.
template <class F>
void Row::for_each_between(float low, float high, const Weights* weights, F&& f) const {
  uint64_t bits[kGroup / 64], above[kGroup / 64];
  float weight[kGroup];
  for (size_t g = 0; g < n_groups(); ++g) {
    if (scans_[g].peak < low || !weigh_group(g, weights, weight)) continue;
    kernels_.at_least(group(g), group_size(g), low, bits);
    kernels_.at_least(group(g), group_size(g), std::nextafter(high, HUGE_VALF), above);
    for (size_t word = 0; word < (group_size(g) + 63) / 64; ++word) {
      for (uint64_t left = bits[word] & ~above[word]; left != 0; left &= left - 1) {
        const size_t i = word * 64 + static_cast<size_t>(std::countr_zero(left));
        f(Candidate{group(g)[i], static_cast<int32_t>(g * kGroup + i)}, weight[i]);
      }
    }
  }
}

void Row::count_digits(uint32_t first_key, uint32_t last_key, uint32_t shift, const Weights* weights) {
  std::fill(histogram_.begin(), histogram_.end(), 0.0);
  for_each_between(logit_of(last_key), logit_of(first_key), weights, [&](const Candidate& candidate, float weight) {
    histogram_[(key_of(candidate.logit) >> shift) % kBuckets] += weight;
  });
}

Row::Digit Row::find_digit(double before, double target) const {
  Digit digit;
  for (size_t k = 0; k < kBuckets; ++k) {
    if (histogram_[k] == 0) continue;
    digit = {static_cast<uint32_t>(k), before, before + histogram_[k] >= target};
    if (digit.reached) break;
    before += histogram_[k];
  }
  return digit;
}

Candidate Row::cut_at(double target, const Weights* weights) {
  count_first_digits(weights);
  const Digit first = find_digit(0, target);
  if (!first.reached) return weights == nullptr ? kNoCut : weights->cut;
  uint32_t key = first.value << kFirstShift;
  count_digits(key, key | ((1u << kFirstShift) - 1), kSecondShift, weights);
  const Digit second = find_digit(first.before, target);
  key |= second.value << kSecondShift;
  count_digits(key, key | ((1u << kSecondShift) - 1), 0, weights);
  // In this last histogram the digit above shows too: its low bit is in every key.
  const Digit third = find_digit(second.before, target);
  key = (key & ~(uint32_t{kBuckets} - 1)) | third.value;
  Candidate cut{logit_of(key), -1};
  double mass = third.before;
  bool reached = false;
  for_each_between(cut.logit, cut.logit, weights, [&](const Candidate& equal, float weight) {
    if (reached || weight == 0) return;
    cut.token = equal.token;
    mass += weight;
    reached = mass >= target;
  });
  return cut;
}

}  // namespace merritt::sampling
