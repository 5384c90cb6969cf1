// SPDX-License-Identifier: Apache-2.0
// The tasks of attention phases. PROMPT rows: a block of queries and one KV head, over the whole cache. GENERATED rows:
// a block that is more than its share of the step goes to the workers segment by segment, for all KV heads of a layer
// where that makes tasks enough: whoever reads a page reads all of its plane, and a sealed one is opened once.
#include <algorithm>

#include "onednn/runner.hpp"
#include "support/step.hpp"

namespace merritt::onednn {
using namespace plugin;

namespace {

/// The cache indexes that the queries of a block see, together.
struct Range {
  uint32_t lo, hi;
};
Range seen_by(const QueryBlock& b, uint32_t past, uint32_t tokens, const Visibility& v) noexcept {
  const uint32_t last = past + b.first + b.count, run_end = past + tokens;
  const uint64_t ahead = v.window == 0 ? run_end : std::min<uint64_t>(run_end, uint64_t{last} - 1 + v.window);
  return {static_cast<uint32_t>(first_visible(past + b.first, v.window)),
          v.mask == 0 ? last : static_cast<uint32_t>(ahead)};
}

}  // namespace

// Large blocks read the cache seldom; small ones are tasks enough for all workers.
uint32_t Runner::tokens_of_prompt_block() const noexcept {
  const uint32_t rows = rows_[MRT_ROWS_TOKENS].n_prompt;
  uint32_t tokens = prompt_tokens_;
  while (tokens > 16 && rows / tokens * prompt_heads_ < 4 * host_->n_workers()) tokens /= 2;
  return tokens;
}

void Runner::list_blocks() noexcept {
  const uint32_t prompt_tokens = tokens_of_prompt_block();
  n_blocks_ = n_prompt_blocks_ = 0;
  for (uint32_t i = 0; i < step_->n_seqs; ++i) {
    const uint32_t s = seq_order_[i], tokens = staging_->seq_tokens[s];
    const uint32_t most = i < n_prompt_seqs_ ? prompt_tokens : generated_tokens_;
    for (uint32_t first = 0; first < tokens; first += most)
      blocks_[n_blocks_++] = {s, first, std::min(most, tokens - first)};
    if (i < n_prompt_seqs_) n_prompt_blocks_ = n_blocks_;
  }
  for (Visibility& v : visibility_) list_pieces(&v);
}

void Runner::list_pieces(Visibility* v) noexcept {
  Piece* whole = v->pieces.data();
  const uint32_t n = n_blocks_ - n_prompt_blocks_;
  uint64_t segments = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const QueryBlock& b = blocks_[n_prompt_blocks_ + i];
    const Range r = seen_by(b, staging_->seq_past[b.seq], staging_->seq_tokens[b.seq], *v);
    const uint32_t first = r.lo / kSegmentTokens;
    whole[i] = {n_prompt_blocks_ + i, first, (r.hi - 1) / kSegmentTokens + 1 - first, Piece::kWhole};
    segments += whole[i].n;
  }
  uint32_t units = 0, n_whole = 0;
  v->n_split = 0;
  Piece* split = whole + n;
  for (uint32_t i = 0; i < n; ++i) {
    const Piece piece = whole[i];
    const uint32_t tokens = blocks_[piece.block].count;
    if (!is_split(*v, piece, segments) || piece.n * tokens > n_partials_ - units) {
      whole[n_whole++] = piece;
      continue;
    }
    v->split[v->n_split++] = {static_cast<uint32_t>(split - (whole + n)), piece.n};
    for (uint32_t s = 0; s < piece.n; ++s, units += tokens) *split++ = {piece.block, piece.first + s, 1, units};
  }
  // The whole ones stay in front, as the longer tasks.
  v->n_pieces = n_whole + static_cast<uint32_t>(split - (whole + n));
  std::copy(whole + n, split, whole + n_whole);
  for (uint32_t i = 0; i < v->n_split; ++i) v->split[i].first += n_whole;
}

// Bits do not depend on the answer: a piece that is not split merges its segments in the same order.
bool Runner::is_split(const Visibility& v, const Piece& whole, uint64_t segments) const noexcept {
  const uint64_t workers = host_->n_workers();
  return v.cached && whole.n > 1 && workers > 1 && whole.n * 2 * workers > segments;
}

const Visibility& Runner::visibility(const AttentionOp& op) const noexcept {
  const Attributes& a = model_->plan().nodes[op.node].a;
  for (const Visibility& v : visibility_) {
    if (v.window == a.window && v.mask == a.mask && v.cached == (a.kv_layer != kNoLayer)) return v;
  }
  return visibility_.front();  // not reached: create lists every one
}

// Heads are split over tasks where there would be too few, but never where a page may have to be opened for each.
HeadRange Runner::heads_of_task(const AttentionOp& op, bool prompt, uint32_t i, uint32_t* item) const noexcept {
  const Attributes& a = model_->plan().nodes[op.node].a;
  const bool opens = a.kv_layer != kNoLayer && pool_->has_opener();
  const bool all = opens || (!prompt && visibility(op).n_pieces >= 4 * host_->n_workers());
  *item = all ? i : i / a.kv_heads;
  return all ? HeadRange{0, a.kv_heads} : HeadRange{i % a.kv_heads, 1};
}

uint32_t Runner::attention_tasks(const AttentionOp& op) const noexcept {
  const uint32_t heads = model_->plan().nodes[op.node].a.kv_heads;
  uint32_t item = 0, tasks = 0;
  tasks += n_prompt_blocks_ * (heads / heads_of_task(op, true, 0, &item).n);
  tasks += visibility(op).n_pieces * (heads / heads_of_task(op, false, 0, &item).n);
  return tasks;
}

uint32_t Runner::merge_tasks(const AttentionOp& op) const noexcept {
  return visibility(op).n_split * model_->plan().nodes[op.node].a.kv_heads;
}

void Runner::attention_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept {
  for (const AttentionOp& op : phase.attention_ops) {
    if (!wanted(op.needed_by)) continue;
    const uint32_t tasks = attention_tasks(op), heads = model_->plan().nodes[op.node].a.kv_heads;
    if (i >= tasks) {
      i -= tasks;
      continue;
    }
    uint32_t item = 0;
    const uint32_t prompt = n_prompt_blocks_ * (heads / heads_of_task(op, true, 0, &item).n);
    if (i < prompt) {
      const HeadRange range = heads_of_task(op, true, i, &item);
      const QueryBlock& b = blocks_[n_prompt_blocks_ - 1 - item];  // the long ones first
      if (failed(b.seq)) return;
      if (model_->attention_kernels().empty()) return attend_prompt(op, b, range, workers_[worker]);
      attend_prompt_bf16(op, b, range, workers_[worker]);
    } else {
      const HeadRange range = heads_of_task(op, false, i - prompt, &item);
      const Piece& piece = visibility(op).pieces[item];
      if (!failed(blocks_[piece.block].seq)) attend_piece(op, piece, range, workers_[worker]);
    }
    return;
  }
}

void Runner::merge_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept {
  for (const AttentionOp& op : phase.attention_ops) {
    if (!wanted(op.needed_by)) continue;
    const uint32_t tasks = merge_tasks(op), heads = model_->plan().nodes[op.node].a.kv_heads;
    if (i < tasks) {
      const Visibility& v = visibility(op);
      const SplitBlock& split = v.split[i / heads];
      const Piece* pieces = &v.pieces[split.first];
      if (!failed(blocks_[pieces->block].seq)) merge_pieces(op, pieces, split.n, i % heads, workers_[worker]);
      return;
    }
    i -= tasks;
  }
}

}  // namespace merritt::onednn
