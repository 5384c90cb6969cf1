// SPDX-License-Identifier: Apache-2.0
// Reading weights during compile: in bounded pieces, so that a cancel is seen and a callback's failure names its
// weight.
#pragma once
#include <cstdint>
#include <vector>

#include "support/host.hpp"
#include "support/plan.hpp"

namespace merritt::plugin {

class WeightReader {
 public:
  /// source outlives the reader; cancel may be null.
  WeightReader(const mrt_weights* source, const std::vector<PlanWeight>* weights,
               const volatile uint32_t* cancel) noexcept
      : source_(source), weights_(weights), cancel_(cancel) {}
  /// [offset, offset + bytes) of the weight's file bytes. MRT_CANCELLED when the flag is set.
  int32_t read(uint32_t weight, uint64_t offset, void* dst, uint64_t bytes, mrt_error* err) const noexcept;
  /// All of a weight as f32, row by row (small ones: norms, biases). out holds rows * cols.
  int32_t read_f32(uint32_t weight, float* out, mrt_error* err) const;
  bool cancelled() const noexcept { return cancel_requested(cancel_); }

 private:
  const mrt_weights* source_;
  const std::vector<PlanWeight>* weights_;
  const volatile uint32_t* cancel_;
};

}  // namespace merritt::plugin
