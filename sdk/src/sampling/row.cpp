// SPDX-License-Identifier: Apache-2.0
#include "sampling/row.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace merritt::sampling {
namespace {

constexpr float kWeightless = -88.0f;  // the exponential of this and less is 0

Weighting all_of(const Weights& weights, size_t n) {
  return {weights.peak, weights.scale, 0, kForbidden, kForbidden, n};
}

}  // namespace

Row::Row(uint32_t vocabulary, const RowKernels& kernels, size_t best_max, bool selects)
    : kernels_(kernels), scans_((vocabulary + kGroup - 1) / kGroup), touched_(scans_.size()), masses_(scans_.size()) {
  weights_.resize(kGroup);
  maxima_.resize(scans_.size());
  if (best_max == 0) return;
  maxima_.reserve(scans_.size() * kLanes);
  best_.reserve(2 * best_max + kGroup);
  if (selects) histogram_.resize(kHistogram);
}

bool Row::scan(std::span<const float> logits) {
  logits_ = logits;
  float peak = kForbidden;
  for (size_t g = 0; g < n_groups(); ++g) {
    if (!kernels_.scan(group(g), group_size(g), &scans_[g])) return false;
    peak = std::max(peak, scans_[g].peak);
  }
  maxima_.resize(n_groups());
  for (size_t g = 0; g < n_groups(); ++g) maxima_[g] = scans_[g].peak;
  double sum = 0;
  for (size_t first = 0; first < n_groups(); first += kGroup) {
    const size_t n = std::min(kGroup, n_groups() - first);
    kernels_.weights(&maxima_[first], n, all_of({.peak = peak}, n), weights_.data());
    for (size_t k = 0; k < n; ++k) sum += double{scans_[first + k].sum} * weights_[k];
  }
  log_sum_exp_ = peak + std::log(sum);
  return true;
}

void Row::touch_all() { std::fill(touched_.begin(), touched_.end(), uint8_t{1}); }

void Row::refresh() {
  for (size_t g = 0; g < n_groups(); ++g) {
    if (touched_[g] == 0) continue;
    touched_[g] = 0;
    GroupScan& scan = scans_[g];
    kernels_.maxima(group(g), group_size(g), scan.maxima);
    scan.peak = *std::max_element(std::begin(scan.maxima), std::end(scan.maxima));
  }
}

float Row::peak() const {
  float peak = kForbidden;
  for (const GroupScan& scan : scans_) peak = std::max(peak, scan.peak);
  return peak;
}

int32_t Row::argmax() const {
  const float most = peak();
  uint64_t bits[kGroup / 64];
  for (size_t g = 0; g < n_groups(); ++g) {
    if (scans_[g].peak != most) continue;
    kernels_.at_least(group(g), group_size(g), most, bits);
    size_t word = 0;
    while (bits[word] == 0) ++word;
    return static_cast<int32_t>(g * kGroup + word * 64) + std::countr_zero(bits[word]);
  }
  return -1;
}

// ---- The likeliest few

// A logit that at least n reach, when there are as many. Any n disjoint sets of tokens whose largest logits reach it
// prove that, so the n-th largest of the groups' maxima will do, or for a large n of the lanes'.
float Row::floor_of_best(size_t n) {
  maxima_.clear();
  for (const GroupScan& scan : scans_) {
    if (n <= n_groups() / 2) {
      maxima_.push_back(scan.peak);
    } else {
      maxima_.insert(maxima_.end(), std::begin(scan.maxima), std::end(scan.maxima));
    }
  }
  if (n > maxima_.size()) return -kFiniteMax;
  const auto nth = maxima_.begin() + static_cast<ptrdiff_t>(n - 1);
  std::nth_element(maxima_.begin(), nth, maxima_.end(), std::greater<>());
  return std::max(*nth, -kFiniteMax);  // what is forbidden is never among the best
}

void Row::append_at_least(size_t g, float floor) {
  uint64_t bits[kGroup / 64];
  kernels_.at_least(group(g), group_size(g), floor, bits);
  for (size_t word = 0; word < (group_size(g) + 63) / 64; ++word) {
    for (uint64_t left = bits[word]; left != 0; left &= left - 1) {
      const size_t i = g * kGroup + word * 64 + static_cast<size_t>(std::countr_zero(left));
      best_.push_back({logits_[i], static_cast<int32_t>(i)});
    }
  }
}

std::span<const Candidate> Row::best(size_t n) {
  float floor = floor_of_best(n);
  best_.clear();
  const auto keep_n = [&] {
    if (best_.size() <= n) return;
    std::nth_element(best_.begin(), best_.begin() + static_cast<ptrdiff_t>(n - 1), best_.end(), likelier);
    best_.resize(n);
    floor = best_.back().logit;
  };
  for (size_t g = 0; g < n_groups(); ++g) {
    if (scans_[g].peak < floor) continue;
    append_at_least(g, floor);
    if (best_.size() > 2 * n) keep_n();  // many equals: there is room for one group more than this
  }
  keep_n();
  std::sort(best_.begin(), best_.end(), likelier);
  return best_;
}

std::span<const float> Row::weights_of(std::span<const Candidate> candidates, const Weights& weights) {
  float logits[kGroup];
  for (size_t i = 0; i < candidates.size(); ++i) logits[i] = candidates[i].logit;
  if (!candidates.empty()) {
    kernels_.weights(logits, candidates.size(), all_of(weights, candidates.size()), weights_.data());
  }
  return std::span(weights_).first(candidates.size());
}

// ---- All tokens, by weight

Weighting Row::weighting(size_t g, const Weights& weights) const {
  const size_t first = g * kGroup;
  const auto cut = static_cast<size_t>(weights.cut.token);
  return {.peak = weights.peak,
          .scale = weights.scale,
          .min_p = weights.min_p,
          .floor_before = weights.cut.logit,
          .floor_after = std::nextafter(weights.cut.logit, kFiniteMax),
          .split = cut < first ? 0 : std::min(cut - first + 1, group_size(g))};
}

double Row::mass(const Weights& weights) {
  double total = 0;
  for (size_t g = 0; g < n_groups(); ++g) {
    const float peak = scans_[g].peak;
    // Where the likeliest token weighs nothing, or is cut off, none weighs anything.
    const bool none = peak < weights.cut.logit || (peak - weights.peak) * weights.scale < kWeightless;
    masses_[g] = none ? 0 : kernels_.mass(group(g), group_size(g), weighting(g, weights));
    total += masses_[g];
  }
  return total;
}

int32_t Row::draw(double u, const Weights& weights) {
  double left = u * mass(weights);
  // The last group that weighs anything, where rounding leaves a little over.
  size_t chosen = n_groups();
  for (size_t g = 0; g < n_groups(); ++g) {
    if (masses_[g] == 0) continue;
    chosen = g;
    if (left < masses_[g]) break;
    left -= masses_[g];
  }
  if (chosen == n_groups()) return -1;
  float weight[kGroup];
  kernels_.weights(group(chosen), group_size(chosen), weighting(chosen, weights), weight);
  int32_t last = -1;
  for (size_t i = 0; i < group_size(chosen); ++i) {
    if (weight[i] == 0) continue;
    last = static_cast<int32_t>(chosen * kGroup + i);
    left -= weight[i];
    if (left < 0) break;
  }
  return last;
}

}  // namespace merritt::sampling
