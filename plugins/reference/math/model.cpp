// SPDX-License-Identifier: Apache-2.0
#include "reference/math/model.hpp"

#include <algorithm>

#include "support/kv_layout.hpp"
#include "support/weights.hpp"

namespace merritt::plugin::reference {
namespace {

constexpr uint64_t kUnused = UINT64_MAX;

// Argument k of this op is a matrix that is read row by row; the other weights are vectors.
bool is_matrix(uint16_t op, uint32_t k) noexcept {
  return ((op == MRT_OP_EMBED || op == MRT_OP_LINEAR) && k == 1) || (op == MRT_OP_MOE && k >= 2 && k <= 4);
}

uint64_t rounded(uint64_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

}  // namespace

uint64_t Model::lay_out(uint64_t* matrix_bytes, uint64_t* vector_bytes) {
  matrix_at_.assign(plan_.weights.size(), kUnused);
  vector_at_.assign(plan_.weights.size(), kUnused);
  *matrix_bytes = *vector_bytes = 0;
  for (const PlanNode& n : plan_.nodes) {
    for (uint32_t k = 0; k < n.n_args; ++k) {
      if (!n.args[k].is_weight()) continue;
      const PlanWeight& w = plan_.weights[n.args[k].index];
      const bool matrix = is_matrix(n.op, k);
      uint64_t& at = (matrix ? matrix_at_ : vector_at_)[n.args[k].index];
      if (matrix) widest_row_ = std::max(widest_row_, w.cols);
      if (at != kUnused) continue;
      uint64_t& total = matrix ? *matrix_bytes : *vector_bytes;
      at = total;
      total += rounded(matrix ? w.bytes : w.cols * w.rows * sizeof(float));
    }
  }
  return *matrix_bytes + *vector_bytes;
}

int32_t Model::load(const mrt_weights& source, const volatile uint32_t* cancel, Memory* memory, mrt_error* err) {
  uint64_t matrix_bytes = 0, vector_bytes = 0;
  lay_out(&matrix_bytes, &vector_bytes);
  MERRITT_PLUGIN_TRY(matrices_.take(memory, MRT_MEM_WEIGHTS, matrix_bytes, "weights", err));
  MERRITT_PLUGIN_TRY(vectors_.take(memory, MRT_MEM_WEIGHTS, vector_bytes, "weights", err));
  const WeightReader reader(&source, &plan_.weights, cancel);
  for (uint32_t i = 0; i < plan_.weights.size(); ++i) {
    if (matrix_at_[i] != kUnused) {
      MERRITT_PLUGIN_TRY(reader.read(i, 0, matrices_.data() + matrix_at_[i], plan_.weights[i].bytes, err));
    }
    if (vector_at_[i] != kUnused) MERRITT_PLUGIN_TRY(reader.read_f32(i, vectors_.as<float>(vector_at_[i]), err));
  }
  return MRT_OK;
}

int32_t Model::compile(const mrt_graph* graph, const mrt_weights* weights, bool plan_only,
                       const volatile uint32_t* cancel, const char* tag, Memory* memory, mrt_model_info* info,
                       mrt_error* err) {
  MERRITT_PLUGIN_TRY(parse_graph(graph, weights, &plan_, err));
  mrt_weights source{};
  MERRITT_PLUGIN_TRY(take_struct(weights, &source, "mrt_weights", err));
  uint64_t matrix_bytes = 0, vector_bytes = 0;
  mrt_model_info answer{};
  answer.struct_size = sizeof answer;
  answer.flags = plan_.whole_sequence ? MRT_MODEL_WHOLE_SEQUENCE : 0;
  answer.weight_bytes = lay_out(&matrix_bytes, &vector_bytes);
  answer.peak_bytes = answer.weight_bytes;
  Identity().add(tag).write(answer.numerics);
  if (!plan_only) MERRITT_PLUGIN_TRY(load(source, cancel, memory, err));
  return give_struct(answer, info, "mrt_model_info", err);
}

}  // namespace merritt::plugin::reference
