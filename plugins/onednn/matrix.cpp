// SPDX-License-Identifier: Apache-2.0
// Products. PROMPT rows: a task opens one panel of 64 weight rows into its own cache and lets the library multiply all
// rows by it. GENERATED rows, and rows of both classes in the form `pairs`: a task streams some groups of packed rows
// once for all of them.
#include <algorithm>
#include <cstring>

#include "onednn/runner.hpp"

namespace merritt::onednn {
using namespace plugin;

// PROMPT rows.
Cut Runner::prompt_cut(const MatrixOp& op) const noexcept {
  const Packed& m = model_->matrix(op.matrix);
  constexpr uint32_t kGroups = kPanelColumns / kLanes;
  if (!op.prompt_bf16 || !model_->in_tiles()) return {m.groups, kGroups, kGroups, host_->n_workers()};
  const uint32_t wide = m.padded < kTileShallow ? kTileShallowGroups : kTileProductGroups;
  const uint32_t most = tile_groups(m, op.gate.up == kNoValue ? wide : wide / 2);
  return {m.groups, most, std::max(2u, most / 4 * 2), host_->n_workers()};
}

// Long enough to stream. Where rows are enough to be multiplied in tiles, what comes before the first product of a task
// takes longer. Without tiles longer tasks were not measured.
Cut Runner::generated_cut(const MatrixOp& op, uint32_t rows) const noexcept {
  const Packed& m = model_->matrix(op.matrix);
  constexpr uint32_t kManyRows = 5;
  const uint64_t stream_bytes = !model_->in_tiles() ? 128u << 10 : rows >= kManyRows ? 2048u << 10 : 512u << 10;
  const uint64_t fair = std::max<uint64_t>(1, m.groups / (static_cast<uint64_t>(host_->n_workers()) * 2));
  uint64_t length = std::clamp<uint64_t>(stream_bytes / m.group_bytes, 1, fair);
  // In fours, which some kernels read at once, where that leaves every worker its share.
  constexpr uint64_t kTogether = 4;
  if (fair >= kTogether) length = (length + kTogether - 1) / kTogether * kTogether;
  return {m.groups, length, std::max(kTogether, length / 4 / kTogether * kTogether), host_->n_workers()};
}

// The rows before it are multiplied as PROMPT rows.
uint32_t Runner::first_generated(const MatrixOp& op) const noexcept {
  return op.generated == RowForm::kPairs ? 0 : rows_of(model_->plan().nodes[op.node].rows).n_prompt;
}

Runner::Work Runner::matrix_work(const MatrixOp& op) const noexcept {
  const uint32_t n = rows_of(model_->plan().nodes[op.node].rows).n, first = first_generated(op);
  Work work;
  if (first != 0 && !op.behind_gate) work.prompt = prompt_cut(op);
  if (n > first) work.generated = generated_cut(op, n - first);
  work.tasks = work.prompt.tasks() + work.generated.tasks();
  return work;
}

void Runner::matrix_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept {
  Worker& w = workers_[worker];
  for (const MatrixOp& op : phase.matrix_ops) {
    if (!wanted(op.needed_by)) continue;
    const Work work = matrix_work(op);
    if (i >= work.tasks) {
      i -= work.tasks;
      continue;
    }
    const uint32_t prompts = work.prompt.tasks();
    if (i >= prompts) return generated_groups(op, work.generated.task(i - prompts), w);
    if (op.gate.up != kNoValue) return prompt_gated(op, phase.matrix_ops[op.gate.up], work.prompt, i, w);
    if (op.prompt_bf16 && model_->in_tiles()) return prompt_tiles(op, work.prompt, i, w);
    return prompt_panel(op, i, w);
  }
}

// Memory is idle while workers wait for each other, and in decoding it is what the step is made of. So who waits asks
// for the weights of the next products, as many as a task reads: the w-th worker to come for the w-th task.
void Runner::look_ahead(uint32_t active, uint32_t worker, Ahead* ahead) const noexcept {
  const std::vector<Phase>& phases = model_->schedule().phases;
  uint32_t next = active + 1;
  while (next < n_active_ && phases[active_[next]].kind != PhaseKind::kMatrix) ++next;
  if (next == n_active_ || next == ahead->active) return;
  *ahead = {next, nullptr, nullptr};
  for (const MatrixOp& op : phases[active_[next]].matrix_ops) {
    const uint32_t n = rows_of(model_->plan().nodes[op.node].rows).n, first = first_generated(op);
    if (!wanted(op.needed_by)) continue;
    if (n == first) return;
    const Packed& m = model_->matrix(op.matrix);
    const Cut::Run run = generated_cut(op, n - first).task(worker);
    if (run.groups == 0) return;
    ahead->at = m.data + run.g0 * m.group_bytes;
    ahead->end = ahead->at + run.groups * m.group_bytes;
    return;
  }
}

void Runner::prompt_panel(const MatrixOp& op, uint32_t panel, Worker& w) noexcept {
  const Packed& m = model_->matrix(op.matrix);
  const MatrixKernel* kernel = model_->kernel(op);
  const uint32_t rows = rows_of(model_->plan().nodes[op.node].rows).n_prompt;
  constexpr uint32_t kGroups = kPanelColumns / kLanes;
  if (op.prompt_bf16) {
    k_->panel_bf16(m, static_cast<uint64_t>(panel) * kGroups, kGroups, reinterpret_cast<uint16_t*>(w.panel));
  } else {
    k_->panel_f32(m, static_cast<uint64_t>(panel) * kGroups, kGroups, reinterpret_cast<float*>(w.panel));
  }
  const uint64_t first = static_cast<uint64_t>(panel) * kPanelColumns;
  const uint64_t columns = std::min<uint64_t>(kPanelColumns, m.rows - first);
  const float* bias = model_->vector(op.bias);
  for (uint32_t r = 0; r < rows; r += kRowBlock) {
    const uint32_t n = std::min(kRowBlock, rows - r);
    const uint8_t* a = row(op.prompt_bf16 ? op.in_bf16 : op.in, r);
    if (kernel != nullptr) {
      kernel->run(n, a, w.panel, w.tile, w.kernel_scratch);
    } else {
      k_->gemm_f32(reinterpret_cast<const float*>(a), m.cols, reinterpret_cast<const float*>(w.panel), n, kPanelColumns,
                   static_cast<uint32_t>(m.cols), w.tile);
    }
    for (uint32_t i = 0; i < n; ++i) {
      float* y = row_as<float>(op.out, r + i) + first;
      if (bias == nullptr) {
        std::memcpy(y, w.tile + static_cast<uint64_t>(i) * kPanelColumns, columns * sizeof(float));
      } else {
        k_->add(w.tile + static_cast<uint64_t>(i) * kPanelColumns, bias + first, y, columns);
      }
    }
  }
  if (kernel != nullptr) MatrixKernel::release();
}

// Wide, so that rows are read seldom, but leaving each worker some tasks.
uint32_t Runner::tile_groups(const Packed& m, uint32_t most) const noexcept {
  uint32_t groups = most;
  while (groups > 2 && m.groups / groups < 4ull * host_->n_workers()) groups /= 2;
  return groups;
}

// A gate and what it lets through, group by group side by side (schedule_gates.cpp).
void Runner::prompt_gated(const MatrixOp& op, const MatrixOp& up, const Cut& cut, uint32_t i, Worker& w) noexcept {
  const Packed &m = model_->matrix(op.matrix), &second = model_->matrix(up.matrix);
  const uint32_t n_rows = rows_of(model_->plan().nodes[op.node].rows).n_prompt;
  const Cut::Run run = cut.task(i), later = cut.task(i + host_->n_workers());  // likely the same worker's
  const uint32_t groups = run.groups;
  const TilePart parts[] = {{&m, run.g0, groups}, {&second, run.g0, groups}};
  const TilePart next[] = {{&m, later.g0, later.groups}, {&second, later.g0, later.groups}};
  constexpr uint64_t kTile = kTileBytes / sizeof(float);
  for (uint32_t r0 = 0; r0 < n_rows; r0 += kTileProductRows) {
    const uint32_t rows = std::min(kTileProductRows, n_rows - r0);
    const bool more = r0 + rows < n_rows;
    multiply_in_tiles(*k_, parts, more ? parts : next, row(op.in_bf16, r0), rows, w.panel, w.tile, nullptr, 0);
    const float* sums = w.tile;
    for (uint32_t r = 0; r < rows; r += kTileRows, sums += 2 * groups * kTile) {
      uint8_t* to = row(op.gate.out_bf16, r0 + r) + run.g0 / 2 * kTileBytes;
      for (uint32_t g = 0; g < groups; g += 2, to += kTileBytes) {
        k_->gate_tile(sums + g * kTile, sums + (g + groups) * kTile, op.gate.act, reinterpret_cast<uint16_t*>(to));
      }
    }
  }
}

void Runner::prompt_tiles(const MatrixOp& op, const Cut& cut, uint32_t i, Worker& w) noexcept {
  const Packed& m = model_->matrix(op.matrix);
  const uint32_t n_rows = rows_of(model_->plan().nodes[op.node].rows).n_prompt;
  const Cut::Run run = cut.task(i), later = cut.task(i + host_->n_workers());  // likely the same worker's
  const uint64_t g0 = run.g0;
  const uint32_t groups = (run.groups + 1) / 2 * 2;
  for (uint32_t r0 = 0; r0 < n_rows; r0 += kTileProductRows) {
    const uint32_t rows = std::min(kTileProductRows, n_rows - r0);
    // Straight to the rows where these lie one after another and have the tiles' columns, and nothing is to be added.
    const Value& y = model_->schedule().values[op.out];
    const bool straight = y.output == kNoValue && op.bias == kNoValue && (g0 + groups) * kLanes <= m.rows;
    float* out = straight ? row_as<float>(op.out, r0) + g0 * kLanes : nullptr;
    const TilePart part{&m, g0, groups};
    const TilePart next = r0 + rows < n_rows ? part : TilePart{&m, later.g0, later.groups};
    const uint32_t given =
        multiply_in_tiles(*k_, {&part, 1}, {&next, 1}, row(op.in_bf16, r0), rows, w.panel, w.tile, out, y.row_bytes);
    give_tiles(op, g0, groups, r0, given, rows, w.tile);
  }
}

// Rows [first, rows) of those from r0 on.
void Runner::give_tiles(const MatrixOp& op, uint64_t g0, uint32_t groups, uint32_t r0, uint32_t first, uint32_t rows,
                        const float* sums) noexcept {
  const Packed& m = model_->matrix(op.matrix);
  const float* bias = model_->vector(op.bias);
  for (uint32_t r = first; r < rows; ++r) {
    const float* from = sums + (static_cast<uint64_t>(r / kTileRows) * groups * kTileRows + r % kTileRows) * kLanes;
    float* y = row_as<float>(op.out, r0 + r);
    for (uint64_t c = g0 * kLanes; c < std::min(m.rows, (g0 + groups) * kLanes); c += kLanes, from += kTileBytes / 4) {
      const uint64_t n = std::min<uint64_t>(kLanes, m.rows - c);
      if (bias != nullptr) {
        k_->add(from, bias + c, y + c, n);
      } else if (n == kLanes) {  // of a size that the compiler knows
        std::memcpy(y + c, from, kLanes * sizeof(float));
      } else {
        std::memcpy(y + c, from, n * sizeof(float));
      }
    }
  }
}

void Runner::generated_groups(const MatrixOp& op, Cut::Run run, Worker& w) noexcept {
  const Packed& m = model_->matrix(op.matrix);
  const uint32_t first = first_generated(op), n = rows_of(model_->plan().nodes[op.node].rows).n - first;
  for (uint32_t i = 0; i < n; ++i) w.out[i] = row_as<float>(op.out, first + i);
  const uint64_t g0 = run.g0, g1 = g0 + run.groups;
  const float* bias = model_->vector(op.bias);
  if (op.generated != RowForm::kF32) {
    const uint64_t row_bytes = form_row_bytes(op.generated, m.padded);
    k_->gemv_codes(m, g0, g1, row(op.in_codes, first), row_bytes, n, w.out, bias);
  } else {
    k_->gemv_f32(m, g0, g1, row_as<float>(op.in, first), m.cols, n, w.out, bias);
  }
}

}  // namespace merritt::onednn
