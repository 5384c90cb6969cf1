// SPDX-License-Identifier: Apache-2.0
// Attention in f32 over tiles of 64 tokens at absolute positions: every GENERATED row, and PROMPT rows where they are
// not computed in bf16. The queries of a task share every read of keys and values. PROMPT rows run through the cache in
// one go; GENERATED rows merge the results of its segments.
#include <algorithm>
#include <cstring>

#include "onednn/attention_queries.hpp"

namespace merritt::onednn {
using namespace plugin;

bool Runner::failed(uint32_t seq) const noexcept {
  return std::atomic_ref<int32_t>(staging_->seq_status[seq]).load(std::memory_order_relaxed) != MRT_OK;
}

Runner::Queries Runner::queries_of(const AttentionOp& op, const QueryBlock& b, HeadRange heads) const noexcept {
  const Attributes& a = model_->plan().nodes[op.node].a;
  const uint32_t share = a.heads / a.kv_heads;
  return {&op, &a, b, heads, share, b.count * share, padded_dim(a.v_dim)};
}

// What each query of a head sees; the same for all heads.
void Runner::set_visible(const Queries& q, Worker& w) const noexcept {
  const uint32_t past = staging_->seq_past[q.block.seq], run_end = past + staging_->seq_tokens[q.block.seq];
  for (uint32_t t = 0; t < q.block.count; ++t) {
    const uint32_t at = past + q.block.first + t;
    const uint64_t from = first_visible(at, q.a->window);
    const uint64_t ahead =
        q.a->window == 0 ? run_end : std::min<uint64_t>(run_end, static_cast<uint64_t>(at) + q.a->window);
    for (uint32_t h = 0; h < q.share; ++h) {
      w.lo[t * q.share + h] = static_cast<uint32_t>(from);
      w.hi[t * q.share + h] = q.a->mask == 0 ? at + 1 : static_cast<uint32_t>(ahead);
    }
  }
}

void Runner::load_queries(const Queries& q, Worker& w) const noexcept {
  set_visible(q, w);
  const uint64_t values = static_cast<uint64_t>(q.share) * q.a->head_dim;
  for (uint32_t h = 0; h < q.heads.n; ++h) {
    for (uint32_t t = 0; t < q.block.count; ++t) {
      const float* x = row_as<float>(q.op->q, first_row(q) + t) + (q.heads.first + h) * values;
      k_->mul(x, nullptr, static_cast<float>(q.a->scale), w.q + (static_cast<uint64_t>(h) * q.block.count + t) * values,
              values);
    }
  }
}

uint32_t Runner::first_row(const Queries& q) const noexcept {
  return row_of_[staging_->seq_first[q.block.seq]] + q.block.first;
}

AttentionBlock Runner::rows_of_head(const Queries& q, const Running& to, uint32_t h, const Worker& w) const noexcept {
  const uint64_t row = static_cast<uint64_t>(h) * q.rows;
  return {w.q + row * q.a->head_dim,       w.lo,     w.hi,   to.max + row,  to.sum + row,
          to.acc + row * q.padded,         w.scores, q.rows, q.a->head_dim, q.padded,
          static_cast<float>(q.a->softcap)};
}

void Runner::attend_prompt(const AttentionOp& op, const QueryBlock& b, HeadRange heads, Worker& w) noexcept {
  const Queries q = queries_of(op, b, heads);
  load_queries(q, w);
  for (uint32_t h = 0; h < heads.n; ++h) k_->attend_start(rows_of_head(q, w.sum, h, w));
  if (attend_tokens(q, 0, UINT32_MAX, w.sum, w)) give_rows(q, w.sum, w);
  close_pages(w);
}

void Runner::attend_piece(const AttentionOp& op, const Piece& piece, HeadRange heads, Worker& w) noexcept {
  const Queries q = queries_of(op, blocks_[piece.block], heads);
  load_queries(q, w);
  const bool whole = piece.partial == Piece::kWhole;
  const Running to = whole ? w.segment : partial(q, piece);
  bool good = true;
  for (uint32_t h = 0; h < heads.n && whole; ++h) k_->attend_start(rows_of_head(q, w.sum, h, w));
  for (uint32_t s = piece.first; s < piece.first + piece.n && good; ++s) {
    for (uint32_t h = 0; h < heads.n; ++h) k_->attend_start(rows_of_head(q, to, h, w));
    good = attend_tokens(q, s * kSegmentTokens, (s + 1) * kSegmentTokens, to, w);
    for (uint32_t h = 0; h < heads.n && whole && good; ++h) {
      k_->attend_merge(rows_of_head(q, w.sum, h, w), rows_of_head(q, to, h, w));
    }
  }
  if (whole && good) give_rows(q, w.sum, w);
  close_pages(w);
}

void Runner::merge_pieces(const AttentionOp& op, const Piece* pieces, uint32_t n, uint32_t kv_head,
                          Worker& w) noexcept {
  const Queries q = queries_of(op, blocks_[pieces->block], {kv_head, 1});
  const AttentionBlock into = rows_of_head(q, w.sum, 0, w);
  k_->attend_start(into);
  for (uint32_t i = 0; i < n; ++i) k_->attend_merge(into, rows_of_head(q, partial(q, pieces[i]), 0, w));
  give_rows(q, w.sum, w);
}

// Where the result of a piece lies: sums, maxima and values of all heads of the layer; *this* task's heads of them.
Runner::Running Runner::partial(const Queries& q, const Piece& piece) const noexcept {
  float* base =
      partials_.as<float>() + (static_cast<uint64_t>(q.op->slot) * n_partials_ + piece.partial) * partial_floats_;
  const uint64_t all = static_cast<uint64_t>(q.a->kv_heads) * q.rows,
                 row = static_cast<uint64_t>(q.heads.first) * q.rows;
  return {base + all * q.padded + row, base + all * (q.padded + 1) + row, base + row * q.padded};
}

// Tokens [from, to) of the cache, as far as some query sees them. False: a page could not be opened.
bool Runner::attend_tokens(const Queries& q, uint32_t from, uint32_t to, const Running& into, Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[q.op->node];
  const uint32_t type = n.a.kv_layer == kNoLayer ? static_cast<uint32_t>(kF32) : pool_->geometry().type;
  const uint32_t lo = std::max(from, w.lo[0]), hi = std::min(to, w.hi[q.rows - 1]);
  for (uint32_t first = lo / kTileTokens * kTileTokens; first < hi; first += kTileTokens) {
    AttentionTile tile{};
    tile.first = first;
    tile.begin = std::max(first, lo);
    tile.end = std::min(first + kTileTokens, hi);
    for (uint32_t h = 0; h < q.heads.n; ++h) {
      if (!find_groups(*q.op, q.block.seq, q.heads.first + h, tile.begin, tile.end, kTileTokens / 16, tile.k, tile.v,
                       w))
        return false;
      k_->attend(rows_of_head(q, into, h, w), tile, type);
    }
  }
  return true;
}

void Runner::give_rows(const Queries& q, const Running& from, Worker& w) noexcept {
  for (uint32_t h = 0; h < q.heads.n; ++h) {
    const AttentionBlock rows = rows_of_head(q, from, h, w);
    k_->attend_finish(rows);
    for (uint32_t i = 0; i < q.rows; ++i) {
      float* y = row_as<float>(q.op->out, first_row(q) + i / q.share);
      std::memcpy(y + (static_cast<uint64_t>(q.heads.first + h) * q.share + i % q.share) * q.a->v_dim,
                  rows.acc + static_cast<uint64_t>(i) * q.padded, q.a->v_dim * sizeof(float));
    }
  }
}

}  // namespace merritt::onednn
