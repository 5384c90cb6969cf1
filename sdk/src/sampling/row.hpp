// SPDX-License-Identifier: Apache-2.0
// One row of logits, looked at in groups of kGroup: what scan() learns in its one pass over the row (the largest logit
// of each group, and of each sixteenth of one) tells the later steps which groups they need to look at again.
//
// Threads: one at a time. Nothing is allocated after the constructor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sampling/row_kernels.hpp"

namespace merritt::sampling {

inline constexpr float kForbidden = -std::numeric_limits<float>::infinity();  // the logit of a token that may not come
inline constexpr float kFiniteMax = std::numeric_limits<float>::max();

struct Candidate {
  float logit;
  int32_t token;
};

// The order of likeliness: the larger logit first, of equal ones the lower id.
inline bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// The last candidate that stays; by default nothing is cut off.
inline constexpr Candidate kNoCut{kForbidden, INT32_MAX};

struct Weights {
  float peak = 0;   // weighs 1
  float scale = 1;  // 1 / temperature
  float min_p = 0;
  Candidate cut = kNoCut;
};

class Row {
 public:
  static constexpr size_t kHistogram = 4096;

  // best_max: the most that best() is asked for. selects: cut_at_count and cut_at_mass are used.
  Row(uint32_t vocabulary, const RowKernels& kernels, size_t best_max, bool selects);

  // Takes up the logits; false when one is not finite. They stay the caller's, who may change them: touch() each one
  // changed, or all, then refresh().
  bool scan(std::span<const float> logits);
  double log_sum_exp() const { return log_sum_exp_; }  // of the logits as they were in scan()
  void touch(int32_t token) { touched_[static_cast<size_t>(token) / kGroup] = 1; }
  void touch_all();
  void refresh();

  float peak() const;      // -infinity: every token is forbidden
  int32_t argmax() const;  // the lowest id of the largest logit
  // The n likeliest, in order; fewer when not as many are allowed.
  std::span<const Candidate> best(size_t n);
  // What these weigh, min_p and cut aside; at most kGroup of them. Valid until the next call.
  std::span<const float> weights_of(std::span<const Candidate> candidates, const Weights& weights);
  // The last of the n likeliest; kNoCut when there are not more.
  Candidate cut_at_count(size_t n) { return cut_at(static_cast<double>(n), nullptr); }
  // The last of the smallest set of likeliest tokens, up to weights.cut, that weighs `mass`; weights.cut when all of
  // them weigh less.
  // mass(weights) comes before.
  Candidate cut_at_mass(double mass, const Weights& weights) { return cut_at(mass, &weights); }
  double mass(const Weights& weights);
  // The token at which the weights, added up in the order of ids, exceed u of the mass; -1 when nothing weighs
  // anything.
  int32_t draw(double u, const Weights& weights);

 private:
  size_t n_groups() const { return scans_.size(); }
  size_t group_size(size_t g) const { return g + 1 < n_groups() ? kGroup : logits_.size() - g * kGroup; }
  const float* group(size_t g) const { return logits_.data() + g * kGroup; }
  Weighting weighting(size_t g, const Weights& weights) const;
  float floor_of_best(size_t n);
  void append_at_least(size_t g, float floor);

  // row_select.cpp; without weights every token that may be drawn weighs 1
  struct Digit {
    uint32_t value = 0;
    double before = 0;     // weight of the digits before it
    bool reached = false;  // the target; if not, this is the last digit that weighs anything
  };
  bool weigh_group(size_t g, const Weights* weights, float* out) const;
  void count_first_digits(const Weights* weights);
  void count_digits(uint32_t first_key, uint32_t last_key, uint32_t shift, const Weights* weights);
  Digit find_digit(double before, double target) const;
  Candidate cut_at(double target, const Weights* weights);
  template <class F>
  void for_each_between(float low, float high, const Weights* weights, F&& f) const;

  const RowKernels& kernels_;
  std::span<const float> logits_;
  double log_sum_exp_ = 0;
  std::vector<GroupScan> scans_;
  std::vector<uint8_t> touched_;  // of each group
  std::vector<float> masses_;     // of each group, by the last mass()
  // Scratch.
  std::vector<float> maxima_;
  std::vector<Candidate> best_;
  std::vector<float> weights_;
  std::vector<double> histogram_;
};

}  // namespace merritt::sampling
