// SPDX-License-Identifier: Apache-2.0
// The life of a step: the order of rows, the list of phases, and the workers that drain them.
#include "onednn/runner.hpp"

#include <immintrin.h>

#include <algorithm>
#include <thread>

namespace merritt::onednn {
using namespace plugin;

uint8_t* Runner::row(uint32_t value, uint32_t r) const noexcept {
  const Value& v = model_->schedule().values[value];
  if (v.output == kNoValue) return values_.data() + value_at_[value] + r * v.row_bytes;
  const uint32_t to = v.rows == MRT_ROWS_TOKENS   ? token_of_[r]
                      : v.rows == MRT_ROWS_WANTED ? wanted_out_[r]
                                                  : seq_order_[r];
  return reinterpret_cast<uint8_t*>(staging_->output[v.output].data) + to * v.row_bytes;
}

// PROMPT sequences first, each class in the order of the step.
void Runner::order_rows() noexcept {
  uint32_t row = 0, seq = 0, local = 0;
  for (const uint32_t wanted_class : {MRT_CLASS_PROMPT, MRT_CLASS_GENERATED}) {
    for (uint32_t s = 0; s < step_->n_seqs; ++s) {
      if (staging_->seq_class[s] != wanted_class) continue;
      seq_order_[seq++] = s;
      local_first_[s] = local;
      local += (staging_->seq_tokens[s] + kTileTokens - 1) / kTileTokens * kTileTokens;
      for (uint32_t t = 0; t < staging_->seq_tokens[s]; ++t, ++row) {
        token_of_[row] = staging_->seq_first[s] + t;
        row_of_[token_of_[row]] = row;
        seq_of_[row] = s;
      }
    }
    if (wanted_class == MRT_CLASS_PROMPT) {
      n_prompt_seqs_ = seq;
      rows_[MRT_ROWS_TOKENS].n_prompt = row;
    }
  }
  rows_[MRT_ROWS_TOKENS].n = row;
  rows_[MRT_ROWS_SEQS] = {seq, n_prompt_seqs_};
}

void Runner::order_wanted() noexcept {
  uint32_t n = 0;
  for (const bool prompt : {true, false}) {
    for (uint32_t r = 0; r < step_->n_rows; ++r) {
      const uint32_t from = row_of_[staging_->rows[r]];
      if ((from < rows_[MRT_ROWS_TOKENS].n_prompt) != prompt) continue;
      wanted_from_[n] = from;
      wanted_out_[n++] = r;
    }
    if (prompt) rows_[MRT_ROWS_WANTED].n_prompt = n;
  }
  rows_[MRT_ROWS_WANTED].n = n;
}

void Runner::list_phases() noexcept {
  const auto& phases = model_->schedule().phases;
  n_active_ = 0;
  for (uint32_t p = 0; p < phases.size(); ++p) {
    if (!wanted(phases[p].needed_by)) continue;
    const uint32_t tasks = count_tasks(phases[p]);
    if (tasks == 0) continue;
    active_[n_active_] = p;
    tasks_[n_active_] = tasks;
    progress_[n_active_].next.store(0, std::memory_order_relaxed);
    progress_[n_active_].done.store(0, std::memory_order_relaxed);
    ++n_active_;
  }
}

// Few rows: one task each, so that several workers share a small batch; many: eight, to amortise the counter.
uint32_t Runner::count_tasks(const Phase& phase) noexcept {
  uint32_t tasks = 0;
  switch (phase.kind) {
    case PhaseKind::kRows: {
      const uint32_t n = rows_of(phase.rows).n;
      return n > 32 ? (n + 7) / 8 : n;
    }
    case PhaseKind::kMatrix:
      for (const MatrixOp& op : phase.matrix_ops) tasks += wanted(op.needed_by) ? matrix_work(op).tasks : 0;
      return tasks;
    case PhaseKind::kAttention:
      for (const AttentionOp& op : phase.attention_ops) tasks += wanted(op.needed_by) ? attention_tasks(op) : 0;
      return tasks;
    default:
      for (const AttentionOp& op : phase.attention_ops) tasks += wanted(op.needed_by) ? merge_tasks(op) : 0;
      return tasks;
  }
}

void Runner::task(const Phase& phase, uint32_t i, uint32_t worker) noexcept {
  switch (phase.kind) {
    case PhaseKind::kRows: return row_task(phase, i, worker);
    case PhaseKind::kMatrix: return matrix_task(phase, i, worker);
    case PhaseKind::kAttention: return attention_task(phase, i, worker);
    default: return merge_task(phase, i, worker);
  }
}

void Runner::drain(uint32_t active, uint32_t worker) noexcept {
  const Phase& phase = model_->schedule().phases[active_[active]];
  const uint32_t tasks = tasks_[active];
  Progress& progress = progress_[active];
  while (!stop_.load(std::memory_order_relaxed)) {
    if (cancel_requested(step_->cancel)) {
      stop_.store(true, std::memory_order_relaxed);
      return;
    }
    const uint32_t i = progress.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= tasks) return;
    task(phase, i, worker);
    progress.done.fetch_add(1, std::memory_order_release);
  }
}

bool Runner::is_done(uint32_t active) const noexcept {
  return progress_[active].done.load(std::memory_order_acquire) == tasks_[active];
}

void Runner::wait_for(uint32_t active, Ahead* ahead) const noexcept {
  for (uint32_t spins = 0; progress_[active].done.load(std::memory_order_acquire) < tasks_[active]; ++spins) {
    if (stop_.load(std::memory_order_relaxed)) return;
    if (ahead->at < ahead->end) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead->at), _MM_HINT_T1);
      ahead->at += 64;
    }
    if (spins < 4096) {
      _mm_pause();
    } else {
      std::this_thread::yield();  // the one we wait for may be waiting for this very core
    }
  }
}

void Runner::gang_body(uint32_t worker) noexcept {
  Ahead ahead;
  for (uint32_t a = 0; a < n_active_ && !stop_.load(std::memory_order_relaxed); ++a) {
    drain(a, worker);
    look_ahead(a, worker, &ahead);
    wait_for(a, &ahead);
  }
}

void Runner::run(const mrt_step& step, const mrt_staging& staging, mrt_error* result) noexcept {
  step_ = &step;
  staging_ = &staging;
  mask_ = step.outputs | kNeededByCache;
  *result = {};
  for (uint32_t s = 0; s < step.n_seqs; ++s) staging.seq_status[s] = MRT_OK;
  order_rows();
  order_wanted();
  list_blocks();
  list_phases();
  stop_.store(false, std::memory_order_relaxed);
  const uint32_t members = host_->n_workers();
  const int32_t code = host_->gang(members, [&](uint32_t, uint32_t worker) { gang_body(worker); });
  if (code == MRT_UNSUPPORTED) {
    for (uint32_t a = 0; a < n_active_; ++a) {
      // A member the host leaves out is no loss as long as the others do its tasks.
      (void)host_->parallel(members, [&](uint32_t, uint32_t worker) { drain(a, worker); });
      if (!is_done(a)) break;
    }
  } else if (code != MRT_OK) {
    fail(result, MRT_BACKEND, MRT_BLAST_STEP, kNoIndex, "the host's executor failed with code %d", code);
    return;
  }
  if (stop_.load(std::memory_order_relaxed)) {
    fail(result, MRT_CANCELLED, MRT_BLAST_STEP, kNoIndex, "the step was cancelled");
    return;
  }
  for (uint32_t a = 0; a < n_active_; ++a) {
    if (is_done(a)) continue;
    fail(result, MRT_BACKEND, MRT_BLAST_STEP, kNoIndex, "the host's executor left phase %u of %u undone", a, n_active_);
    return;
  }
}

}  // namespace merritt::onednn
