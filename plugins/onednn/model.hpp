// SPDX-License-Identifier: Apache-2.0
// A compiled model: the checked graph, its phases, the packed weights and the matrix kernels. Immutable after compile,
// read by any number of programs.
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "onednn/attention_kernels.hpp"
#include "onednn/brgemm.hpp"
#include "onednn/isa.hpp"
#include "onednn/packed.hpp"
#include "onednn/schedule.hpp"
#include "support/host.hpp"
#include "support/weights.hpp"

namespace merritt::onednn {

class Model {
 public:
  /// packed: null, or where the host may have the packed bytes.
  int32_t compile(const mrt_graph* graph, const mrt_weights* weights, const mrt_packed* packed, uint32_t flags,
                  const volatile uint32_t* cancel, const IsaChoice& isa, plugin::Host* host, mrt_model_info* info,
                  mrt_error* err);
  /// What of it a host may keep: the packed matrices.
  mrt_packed_layout packed_layout() const noexcept;
  int32_t export_bytes(uint64_t offset, void* dst, uint64_t bytes, mrt_error* err) const noexcept;

  const plugin::Plan& plan() const noexcept { return plan_; }
  const Schedule& schedule() const noexcept { return schedule_; }
  const IsaChoice& isa() const noexcept { return isa_; }
  const Packed& matrix(uint32_t i) const noexcept { return matrices_[i]; }
  const float* vector(uint32_t i) const noexcept { return i == kNoValue ? nullptr : vectors_.as<float>(vector_at_[i]); }
  uint64_t vector_size(uint32_t i) const noexcept;
  /// PROMPT rows in bf16 lie and are multiplied as tiles (tiles.hpp).
  bool in_tiles() const noexcept { return !exact_ && isa_.kernels->multiply_tiles != nullptr; }
  /// The library's kernel of a product's PROMPT rows; null = our own, in tiles or in f32.
  const MatrixKernel* kernel(const MatrixOp& op) const noexcept;
  /// Those of PROMPT rows' attention in bf16; empty = it is computed in f32.
  const AttentionKernels& attention_kernels() const noexcept { return attention_kernels_; }
  uint64_t kernel_scratch_bytes() const noexcept;
  /// The name of what computes a node's rows of a class.
  void kernel_name(uint32_t node, uint32_t row_class, char* to, uint64_t bytes) const noexcept;

 private:
  void lay_out();
  uint64_t piece_bytes() const noexcept;
  int32_t load(const mrt_weights& source, const mrt_packed* packed, const volatile uint32_t* cancel, plugin::Host* host,
               mrt_error* err);
  int32_t pack_all(const plugin::WeightReader& reader, plugin::Host* host, mrt_error* err);
  int32_t take_packed(const mrt_packed* packed, const plugin::WeightReader& reader, const plugin::Host& host,
                      bool* taken, mrt_error* err);
  int32_t load_vectors(const plugin::WeightReader& reader, mrt_error* err);
  int32_t pack_matrix(const plugin::WeightReader& reader, uint32_t m, uint8_t* staging, uint64_t staging_bytes,
                      const plugin::Host& host, mrt_error* err);
  int32_t make_kernels(mrt_error* err);

  plugin::Plan plan_;
  Schedule schedule_;
  IsaChoice isa_;
  bool exact_ = false;
  std::vector<Packed> matrices_;
  std::vector<uint64_t> matrix_at_, vector_at_;
  uint64_t matrix_bytes_ = 0, vector_bytes_ = 0;
  plugin::Buffer weights_, vectors_;
  std::vector<MatrixKernel> kernels_;
  AttentionKernels attention_kernels_;
};

}  // namespace merritt::onednn
