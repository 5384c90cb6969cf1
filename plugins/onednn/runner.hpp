// SPDX-License-Identifier: Apache-2.0
// Runs the phases of a step on the host's executor: one gang for all phases, or one parallel call for each phase where
// a gang cannot be had. Work inside a phase is drawn from a counter, so that a slow worker takes less; a phase is over
// when its tasks are done, not when all workers arrived, so one that sleeps or lost its core holds nobody up. Which
// worker computes what never changes a result. Rows are kept PROMPT sequences first, so each class is one range. All
// memory is taken at create. [program]
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "onednn/model.hpp"
#include "support/pool.hpp"
#include "support/staging.hpp"
#include "support/step.hpp"

namespace merritt::onednn {

class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  int32_t create(const Model* model, plugin::Pool* pool, const mrt_program_policy& policy, plugin::Host* host,
                 mrt_error* err);
  /// Runs a checked step; *result is its result.
  void run(const mrt_step& step, const mrt_staging& staging, mrt_error* result) noexcept;

 private:
  /// Queries of one sequence that share their tiles: consecutive tokens of its run.
  struct Block {
    uint32_t seq, first, count;
  };
  struct OpenPage {
    uint32_t entry;
    bool used;
  };
  struct Worker {
    uint8_t *panel, *kernel_scratch;
    float* tile;  // result of a matrix kernel, before it goes to its rows
    float *q, *max, *sum, *acc, *scores;
    uint32_t *lo, *hi;
    float** out;   // row pointers of a product
    uint8_t* hot;  // opened pages: 4 of K, 4 of V
    uint64_t hot_bytes;
    uint8_t* gathered;  // a tile of K and V, for pages that sixteen does not divide
    uint64_t gathered_bytes;
  };
  struct RowsOf {  // of one rows kind in this step
    uint32_t n = 0, n_prompt = 0;
  };
  struct alignas(64) Progress {  // of an active phase
    std::atomic<uint32_t> next{0}, done{0};
  };
  struct Work {  // one op of a matrix or attention phase: how many tasks of each class
    uint32_t prompt_tasks, tasks;
    uint64_t chunk;
  };

  // runner_create.cpp
  int32_t take_values(mrt_error* err);
  int32_t take_maps(mrt_error* err);
  int32_t take_workers(mrt_error* err);
  void take_angles();
  // runner.cpp
  void order_rows() noexcept;
  void order_wanted() noexcept;
  void list_phases() noexcept;
  uint32_t count_tasks(const Phase& phase) noexcept;
  void drain(uint32_t active, uint32_t worker) noexcept;
  void gang_body(uint32_t worker) noexcept;
  void wait_for(uint32_t active) const noexcept;
  bool is_done(uint32_t active) const noexcept;
  void task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  bool wanted(uint32_t needed_by) const noexcept { return (needed_by & mask_) != 0; }
  // rows.cpp
  void row_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  void row_op(const RowOp& op, uint16_t rows, uint32_t r, uint32_t worker) noexcept;
  void embed(const RowOp& op, uint32_t r, uint32_t worker) noexcept;
  void angles(const RowOp& op, uint32_t r) noexcept;
  void norm(const RowOp& op, const float* x, float* y) noexcept;
  void pool_row(const RowOp& op, uint32_t r) noexcept;
  void store_kv(const RowOp& op, uint32_t r) noexcept;
  // matrix.cpp
  void matrix_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  void prompt_panel(const MatrixOp& op, uint32_t panel, Worker& w) noexcept;
  void generated_groups(const MatrixOp& op, uint32_t piece, uint64_t chunk, Worker& w) noexcept;
  Work matrix_work(const MatrixOp& op) const noexcept;
  // attention.cpp
  void attention_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  uint32_t query_tokens(const plugin::PlanNode& n) const noexcept;
  void list_blocks() noexcept;
  void attend_block(const AttentionOp& op, const Block& b, uint32_t kv_head, Worker& w) noexcept;
  bool attend_tiles(const AttentionOp& op, const Block& b, uint32_t kv_head, AttentionBlock* block, Worker& w) noexcept;
  bool find_tile(const AttentionOp& op, uint32_t seq, uint32_t kv_head, AttentionTile* t, OpenPage* open,
                 Worker& w) noexcept;
  bool gather_tile(const AttentionOp& op, uint32_t seq, uint32_t kv_head, const AttentionTile& t, OpenPage* open,
                   Worker& w) noexcept;
  const uint8_t* page_planes(const plugin::PlanNode& n, uint32_t seq, uint32_t entry, OpenPage* open, Worker& w,
                             const uint8_t** v) noexcept;
  void mark_corrupt(uint32_t g, uint32_t page) noexcept;
  bool failed(uint32_t seq) const noexcept;

  uint8_t* row(uint32_t value, uint32_t r) const noexcept;
  template <class T>
  T* row_as(uint32_t value, uint32_t r) const noexcept {
    return reinterpret_cast<T*>(row(value, r));
  }
  const RowsOf& rows_of(uint16_t kind) const noexcept { return rows_[kind]; }

  const Model* model_ = nullptr;
  const Kernels* k_ = nullptr;
  plugin::Pool* pool_ = nullptr;
  plugin::Host* host_ = nullptr;
  mrt_program_policy policy_{};
  plugin::Buffer values_, maps_, scratch_, hot_, local_;
  std::vector<uint64_t> value_at_;
  std::vector<Worker> workers_;
  std::vector<std::vector<double>> frequencies_;  // of each angle set
  std::vector<uint64_t> local_k_, local_v_;       // of each uncached layer, byte offset in local_
  uint32_t local_tokens_ = 0;

  // Of the running step.
  const mrt_step* step_ = nullptr;
  const mrt_staging* staging_ = nullptr;
  uint32_t mask_ = 0;
  RowsOf rows_[3];
  uint32_t n_prompt_seqs_ = 0;
  uint32_t* token_of_ = nullptr;     // internal token row to token of the step
  uint32_t* row_of_ = nullptr;       // and back
  uint32_t* seq_of_ = nullptr;       // internal token row to sequence
  uint32_t* wanted_from_ = nullptr;  // internal wanted row to internal token row
  uint32_t* wanted_out_ = nullptr;   // internal wanted row to row of the staging
  uint32_t* seq_order_ = nullptr;    // internal sequence to sequence of the step
  uint32_t* local_first_ = nullptr;  // sequence to its first token in local_
  Block* blocks_ = nullptr;
  uint32_t n_blocks_ = 0, block_tokens_ = 0;
  std::vector<uint32_t> active_;  // phases of this step
  std::vector<uint32_t> tasks_;   // of each active phase
  std::vector<Progress> progress_;
  uint32_t n_active_ = 0;
  alignas(64) std::atomic<bool> stop_{false};
};

}  // namespace merritt::onednn
