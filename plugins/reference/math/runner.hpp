// SPDX-License-Identifier: Apache-2.0
// Runs steps of a model, node by node, row by row: the oracle. Every row is computed from its own inputs alone, in an
// order that depends on nothing else in the step, so results are bit-equal for any batch, chunking and thread count.
// All memory is taken at create. [program]
#pragma once
#include <cstdint>
#include <vector>

#include "reference/math/model.hpp"
#include "support/pool.hpp"
#include "support/staging.hpp"
#include "support/step.hpp"

namespace merritt::plugin::reference {

class Runner {
 public:
  /// pool may be null when the graph caches nothing. All pointers outlive the runner; scratch comes from `memory`.
  int32_t create(const Model* model, Pool* pool, const mrt_program_policy& policy, const Host* host, Memory* memory,
                 mrt_error* err);
  /// Runs a checked step: fills the outputs asked for and seq_status of `staging`. The cancel flag is read before each
  /// node. *result is the step's own result; code MRT_OK when it is done.
  void run(const mrt_step& step, const mrt_staging& staging, mrt_error* result) noexcept;

 private:
  struct Worker {
    float* row = nullptr;         // a weight row, opened
    float* inner = nullptr;       // MOE: the expert's inner row
    double* numbers = nullptr;    // scores, angles
    uint32_t* ids = nullptr;      // MOE: chosen experts
    double* attention = nullptr;  // per query row and head: maximum, sum, accumulators
    uint8_t* opened_k = nullptr;  // sealed planes, opened; wiped after use
    uint8_t* opened_v = nullptr;
    float* k_row = nullptr;  // one token's K and V, all heads
    float* v_row = nullptr;
  };
  struct KeyRows;  // where attention finds the keys of one token

  uint64_t plan_buffers(const mrt_program_policy& policy);
  int32_t take_workers(Memory* memory, mrt_error* err);
  void run_node(uint32_t i) noexcept;
  /// The host's parallel; what it leaves undone ends the step.
  template <class F>
  void spread(uint32_t n, F&& body) noexcept {
    const int32_t code = host_->parallel(n, body);
    if (code != MRT_OK) spread_code_ = code;
  }
  void embed(const PlanNode& n, float* y) noexcept;
  void linear(const PlanNode& n, float* y) noexcept;
  void norm(const PlanNode& n, float* y) noexcept;
  void rope(uint32_t i, const PlanNode& n, float* y) noexcept;
  void elementwise(const PlanNode& n, float* y) noexcept;
  void moe(const PlanNode& n, float* y) noexcept;
  void moe_row(const PlanNode& n, uint64_t t, const Worker& w, float* y) const noexcept;
  void select_rows(const PlanNode& n, float* y) noexcept;
  void pool_rows(const PlanNode& n, float* y) noexcept;

  void store(const PlanNode& n) noexcept;
  void store_row(const PlanNode& n, bool is_v, uint32_t s, uint32_t t) noexcept;
  void attention(const PlanNode& n, float* y) noexcept;
  void attend_block(const PlanNode& n, uint32_t s, uint32_t first, uint32_t rows, const Worker& w, float* y) noexcept;
  void attend_page(const PlanNode& n, uint32_t s, uint32_t entry, uint32_t first, uint32_t rows,
                   const Worker& w) noexcept;
  void attend_token(const PlanNode& n, uint32_t s, uint64_t key, const float* k, const float* v, uint32_t first,
                    uint32_t rows, const Worker& w) const noexcept;
  bool open_planes(const PlanNode& n, bool is_v, uint32_t s, uint32_t entry, uint8_t* to, uint32_t* first) noexcept;
  void load_row(const KvOperand& op, const uint8_t* planes, uint32_t first_plane, uint32_t token,
                float* out) const noexcept;
  void mark_corrupt(uint32_t g, uint32_t page) noexcept;

  float* value(const Ref& ref) const noexcept;
  uint64_t rows_of(uint16_t kind) const noexcept;
  bool sequence_failed(uint32_t s) const noexcept;

  const Model* model_ = nullptr;
  Pool* pool_ = nullptr;
  const Host* host_ = nullptr;
  mrt_program_policy policy_{};
  Buffer values_, scratch_, opened_, angles_;
  std::vector<uint64_t> value_at_;                 // per node: byte offset in values_, UINT64_MAX = a graph output
  std::vector<uint32_t> output_of_;                // per node: graph output number or kNoIndex
  std::vector<uint64_t> angles_at_;                // per ROPE node: offset of its angles, in doubles
  std::vector<uint32_t> block_seq_, block_first_;  // attention work of this step: sequence and first row of the run
  std::vector<Worker> workers_;
  uint64_t hot_bytes_ = 0;  // of one worker's share of opened_
  uint32_t n_blocks_ = 0;
  int32_t spread_code_ = MRT_OK;  // of this step's parallel loops, the last one that failed
  const mrt_step* step_ = nullptr;
  const mrt_staging* staging_ = nullptr;
};

}  // namespace merritt::plugin::reference
