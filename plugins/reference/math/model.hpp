// SPDX-License-Identifier: Apache-2.0
// The weights of the reference mathematics: matrices stay in their file type, small vectors become f32. Immutable after
// compile, so any number of programs read it at once.
#pragma once
#include <cstdint>
#include <vector>

#include "support/host.hpp"
#include "support/plan.hpp"

namespace merritt::plugin::reference {

class Model {
 public:
  /// Checks the graph, then reads every weight it uses into `memory`. With plan_only reads nothing and only fills info.
  /// `tag` names the numerics; two plugins with equal tags give equal logits.
  int32_t compile(const mrt_graph* graph, const mrt_weights* weights, bool plan_only, const volatile uint32_t* cancel,
                  const char* tag, Memory* memory, mrt_model_info* info, mrt_error* err);

  const Plan& plan() const noexcept { return plan_; }
  const PlanWeight& weight(const Ref& ref) const noexcept { return plan_.weights[ref.index]; }
  /// Row r of a matrix, in its file type.
  const uint8_t* row(const Ref& ref, uint64_t r) const noexcept {
    return matrices_.data() + matrix_at_[ref.index] + r * plan_.weights[ref.index].row_bytes;
  }
  /// A vector weight as f32; null for an absent one.
  const float* vector(const PlanNode& node, uint32_t k) const noexcept {
    if (k >= node.n_args || !node.args[k].is_weight()) return nullptr;
    return vectors_.as<float>(vector_at_[node.args[k].index]);
  }
  /// The longest matrix row, in elements.
  uint64_t widest_row() const noexcept { return widest_row_; }

 private:
  uint64_t lay_out(uint64_t* matrix_bytes, uint64_t* vector_bytes);
  int32_t load(const mrt_weights& source, const volatile uint32_t* cancel, Memory* memory, mrt_error* err);
  Plan plan_;
  Buffer matrices_, vectors_;
  std::vector<uint64_t> matrix_at_, vector_at_;  // byte offsets; UINT64_MAX = not used in this way
  uint64_t widest_row_ = 0;
};

}  // namespace merritt::plugin::reference
