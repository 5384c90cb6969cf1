// SPDX-License-Identifier: Apache-2.0
// The library's matrix kernels for the attention of PROMPT rows in bf16: scores of 64 tokens, and weighted values of
// 64, 128 or 256 tokens. Made at compile, read by any number of programs.
#pragma once
#include <vector>

#include "onednn/brgemm.hpp"
#include "onednn/schedule.hpp"

namespace merritt::onednn {

class AttentionKernels {
 public:
  /// One set for all attention nodes of the plan. False when the library lacks one of them: then there are none.
  bool create(const plugin::Plan& plan, const Schedule& schedule);
  bool empty() const noexcept { return scores_.empty(); }
  /// Queries [rows][dim] times a panel of keys.
  const MatrixKernel& scores(uint32_t dim) const noexcept;
  /// Adds weights [rows][256], of which 64 `panels` are read, times the panel of their values.
  const MatrixKernel& values(uint32_t panels) const noexcept { return values_[panels == 4 ? 2 : panels - 1]; }
  uint64_t scratch_bytes() const noexcept;

 private:
  bool make(const plugin::Plan& plan, const Schedule& schedule);
  std::vector<MatrixKernel> scores_;  // of each distinct head dimension
  MatrixKernel values_[3];
};

/// Head dimensions are padded with zeros to whole bf16 vectors.
inline uint32_t bf16_dim(uint32_t dim) noexcept { return (dim + 31) / 32 * 32; }

}  // namespace merritt::onednn
