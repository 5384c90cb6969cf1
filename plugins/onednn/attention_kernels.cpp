// SPDX-License-Identifier: Apache-2.0
#include "onednn/attention_kernels.hpp"

#include <algorithm>

#include "onednn/attention_work.hpp"

namespace merritt::onednn {

bool AttentionKernels::create(const plugin::Plan& plan, const Schedule& schedule) {
  if (make(plan, schedule)) return true;
  scores_.clear();
  return false;
}

bool AttentionKernels::make(const plugin::Plan& plan, const Schedule& schedule) {
  for (const Phase& phase : schedule.phases) {
    for (const AttentionOp& op : phase.attention_ops) {
      const uint32_t dim = bf16_dim(plan.nodes[op.node].a.head_dim);
      const auto same = [&](const MatrixKernel& k) { return k.k() == dim; };
      if (std::any_of(scores_.begin(), scores_.end(), same)) continue;
      if (!scores_.emplace_back().create(dim, dim, true, MatrixKernel::Cut::kExact)) return false;
    }
  }
  if (scores_.empty()) return true;
  for (const uint32_t panels : {1u, 2u, 4u}) {
    MatrixKernel& made = values_[panels == 4 ? 2 : panels - 1];
    if (!made.create(panels * kPanelColumns, kSegmentTokens, true, MatrixKernel::Cut::kExact, true)) return false;
  }
  return true;
}

const MatrixKernel& AttentionKernels::scores(uint32_t dim) const noexcept {
  const auto same = [&](const MatrixKernel& k) { return k.k() == bf16_dim(dim); };
  return *std::find_if(scores_.begin(), scores_.end(), same);
}

uint64_t AttentionKernels::scratch_bytes() const noexcept {
  uint64_t most = 0;
  for (const MatrixKernel& k : scores_) most = std::max(most, k.scratch_bytes());
  for (const MatrixKernel& k : values_) most = std::max(most, k.scratch_bytes());
  return most;
}

}  // namespace merritt::onednn
