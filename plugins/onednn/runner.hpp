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

#include "onednn/attention_work.hpp"
#include "onednn/cut.hpp"
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
  struct OpenPage {
    uint32_t entry;
    bool used;
  };
  /// Rows of running softmax: those of KV head h of a task begin at h times the rows of a head.
  struct Running {
    float *max, *sum, *acc;
  };
  struct Worker {
    uint8_t *panel, *kernel_scratch;
    float* tile;  // result of a matrix kernel, before it goes to its rows; in tiles: all sums of a task
    float *q, *scores;
    Running sum, segment;  // of the task, and of one segment before it is merged
    uint32_t *lo, *hi;
    uint16_t *q_bf16, *keys, *values, *weights;  // of PROMPT rows in bf16: queries, panels, softmax weights
    float* prompt_scores;
    float** out;     // row pointers of a product
    OpenPage* open;  // n_open_ opened pages; entry modulo n_open_ is a free slot
    uint8_t* hot;    // their planes, K and V each
    uint64_t hot_bytes;
    uint8_t* gathered;  // a segment of K and V, for pages that sixteen does not divide
    uint64_t gathered_bytes;
  };
  struct RowsOf {  // of one rows kind in this step
    uint32_t n = 0, n_prompt = 0;
  };
  struct alignas(64) Progress {  // of an active phase
    std::atomic<uint32_t> next{0}, done{0};
  };
  /// Weights that a waiting worker asks for before their phase begins.
  struct Ahead {
    uint32_t active = 0;  // the phase they belong to
    const uint8_t *at = nullptr, *end = nullptr;
  };
  struct Work {  // one op of a matrix phase
    Cut prompt, generated;
    uint32_t tasks = 0;  // of both
  };

  // runner_create.cpp
  int32_t take_values(mrt_error* err);
  int32_t take_maps(mrt_error* err);
  int32_t take_workers(mrt_error* err);
  int32_t take_attention(mrt_error* err);
  int32_t take_hot(mrt_error* err);
  void take_angles();
  // runner.cpp
  void order_rows() noexcept;
  void order_wanted() noexcept;
  void list_phases() noexcept;
  uint32_t count_tasks(const Phase& phase) noexcept;
  void drain(uint32_t active, uint32_t worker) noexcept;
  void gang_body(uint32_t worker) noexcept;
  void wait_for(uint32_t active, Ahead* ahead) const noexcept;
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
  static void store_q8(const float* x, bool is_v, uint32_t dim, uint32_t token, uint8_t* sixteen) noexcept;
  // matrix.cpp
  uint32_t first_generated(const MatrixOp& op) const noexcept;
  void matrix_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  void prompt_panel(const MatrixOp& op, uint32_t panel, Worker& w) noexcept;
  uint32_t tile_groups(const Packed& m, uint32_t most) const noexcept;
  Cut prompt_cut(const MatrixOp& op) const noexcept;
  Cut generated_cut(const MatrixOp& op, uint32_t rows) const noexcept;
  void prompt_tiles(const MatrixOp& op, const Cut& cut, uint32_t i, Worker& w) noexcept;
  void prompt_gated(const MatrixOp& op, const MatrixOp& up, const Cut& cut, uint32_t i, Worker& w) noexcept;
  void give_tiles(const MatrixOp& op, uint64_t g0, uint32_t groups, uint32_t r0, uint32_t first, uint32_t rows,
                  const float* sums) noexcept;
  void generated_groups(const MatrixOp& op, Cut::Run run, Worker& w) noexcept;
  Work matrix_work(const MatrixOp& op) const noexcept;
  void look_ahead(uint32_t active, uint32_t worker, Ahead* ahead) const noexcept;
  // attention_work.cpp
  void list_blocks() noexcept;
  uint32_t tokens_of_prompt_block() const noexcept;
  void list_pieces(Visibility* v) noexcept;
  bool is_split(const Visibility& v, const Piece& whole, uint64_t segments) const noexcept;
  uint32_t attention_tasks(const AttentionOp& op) const noexcept;
  uint32_t merge_tasks(const AttentionOp& op) const noexcept;
  const Visibility& visibility(const AttentionOp& op) const noexcept;
  HeadRange heads_of_task(const AttentionOp& op, bool prompt, uint32_t i, uint32_t* item) const noexcept;
  void attention_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  void merge_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept;
  // attention.cpp
  struct Queries;
  Queries queries_of(const AttentionOp& op, const QueryBlock& b, HeadRange heads) const noexcept;
  uint32_t first_row(const Queries& q) const noexcept;
  void set_visible(const Queries& q, Worker& w) const noexcept;
  void load_queries(const Queries& q, Worker& w) const noexcept;
  AttentionBlock rows_of_head(const Queries& q, const Running& to, uint32_t h, const Worker& w) const noexcept;
  void attend_prompt(const AttentionOp& op, const QueryBlock& b, HeadRange heads, Worker& w) noexcept;
  void attend_piece(const AttentionOp& op, const Piece& piece, HeadRange heads, Worker& w) noexcept;
  void merge_pieces(const AttentionOp& op, const Piece* pieces, uint32_t n, uint32_t kv_head, Worker& w) noexcept;
  Running partial(const Queries& q, const Piece& piece) const noexcept;
  bool attend_tokens(const Queries& q, uint32_t from, uint32_t to, const Running& into, Worker& w) noexcept;
  void give_rows(const Queries& q, const Running& from, Worker& w) noexcept;
  // attention_prompt.cpp
  struct PanelRange {
    uint32_t first, end;
  };
  static PanelRange panels_of(uint32_t begin, uint32_t end) noexcept;
  void attend_prompt_bf16(const AttentionOp& op, const QueryBlock& b, HeadRange heads, Worker& w) noexcept;
  void load_queries_bf16(const Queries& q, Worker& w) const noexcept;
  bool attend_prompt_tile(const Queries& q, uint32_t h, uint32_t begin, uint32_t end, Worker& w) noexcept;
  void attend_prompt_rows(const Queries& q, uint32_t h, uint32_t row, uint32_t n, uint32_t begin, uint32_t end,
                          Worker& w) noexcept;
  void give_rows_bf16(const Queries& q, Worker& w) noexcept;
  // attention_pages.cpp
  bool find_groups(const AttentionOp& op, uint32_t seq, uint32_t kv_head, uint32_t begin, uint32_t end,
                   uint32_t n_groups, const uint8_t** k, const uint8_t** v, Worker& w) noexcept;
  bool gather_groups(const AttentionOp& op, uint32_t seq, uint32_t kv_head, uint32_t begin, uint32_t end,
                     uint32_t first, Worker& w) noexcept;
  const uint8_t* page_planes(const plugin::PlanNode& n, uint32_t seq, uint32_t entry, Worker& w,
                             const uint8_t** v) noexcept;
  void close_pages(Worker& w) noexcept;
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
  plugin::Buffer values_, maps_, scratch_, hot_, local_, partials_;
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
  QueryBlock* blocks_ = nullptr;     // those of PROMPT rows first
  uint32_t n_blocks_ = 0, n_prompt_blocks_ = 0;
  uint32_t prompt_tokens_ = 0, generated_tokens_ = 0;  // of a block, at most
  uint32_t prompt_heads_ = 1;                          // tasks of a block of PROMPT rows, at least
  std::vector<Visibility> visibility_;
  uint32_t n_partials_ = 0, partial_floats_ = 0;  // how many units, and the size of one
  uint32_t n_open_ = 0;
  uint64_t q_dim_ = 1, v_dim_ = 16;  // the largest of all attention nodes
  std::vector<uint32_t> active_;     // phases of this step
  std::vector<uint32_t> tasks_;      // of each active phase
  std::vector<Progress> progress_;
  uint32_t n_active_ = 0;
  alignas(64) std::atomic<bool> stop_{false};
};

}  // namespace merritt::onednn
