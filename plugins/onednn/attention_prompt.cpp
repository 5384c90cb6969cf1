// SPDX-License-Identifier: Apache-2.0
// Attention of PROMPT rows in bf16: blocks of queries that share a KV head against 256 tokens at absolute positions,
// both products by the library's kernels (on AMX where there is any), softmax between them. A row's sums run over the
// tokens of a tile in order, whatever rows and whatever part of the tile come with it: weights of what it does not see
// are zeros, and a tile of which it sees nothing is passed.
#include <algorithm>
#include <cstring>

#include "onednn/attention_queries.hpp"

namespace merritt::onednn {
using namespace plugin;

static_assert(kPromptTile == kSegmentTokens && kPanelColumns * 4 == kPromptTile && kRowBlock == kPanelColumns);

void Runner::attend_prompt_bf16(const AttentionOp& op, const QueryBlock& b, HeadRange heads, Worker& w) noexcept {
  const Queries q = queries_of(op, b, heads);
  set_visible(q, w);
  load_queries_bf16(q, w);
  const uint64_t rows = static_cast<uint64_t>(heads.n) * q.rows;
  std::fill_n(w.sum.max, rows, -__builtin_inff());
  std::fill_n(w.sum.sum, rows, 0.0f);
  std::fill_n(w.sum.acc, rows * q.panels() * kPanelColumns, 0.0f);
  const uint32_t lo = w.lo[0], hi = w.hi[q.rows - 1];
  bool good = true;
  for (uint32_t first = lo / kPromptTile * kPromptTile; first < hi && good; first += kPromptTile) {
    for (uint32_t h = 0; h < heads.n && good; ++h) {
      good = attend_prompt_tile(q, h, std::max(first, lo), std::min(first + kPromptTile, hi), w);
    }
  }
  MatrixKernel::release();
  if (good) give_rows_bf16(q, w);
  close_pages(w);
}

// Scaled, in units of log 2.
void Runner::load_queries_bf16(const Queries& q, Worker& w) const noexcept {
  const uint32_t dim = q.a->head_dim, padded = bf16_dim(dim);
  const auto scale = static_cast<float>(q.a->scale * 1.4426950408889634);
  uint16_t* to = w.q_bf16;
  for (uint32_t h = 0; h < q.heads.n; ++h) {
    for (uint32_t t = 0; t < q.block.count; ++t) {
      const float* x =
          row_as<float>(q.op->q, first_row(q) + t) + static_cast<uint64_t>(q.heads.first + h) * q.share * dim;
      for (uint32_t i = 0; i < q.share; ++i, x += dim, to += padded) {
        k_->mul(x, nullptr, scale, w.q, dim);
        k_->to_bf16(w.q, dim, padded, to, 32);
      }
    }
  }
}

// Tokens [begin, end) of one tile for the rows of one head.
bool Runner::attend_prompt_tile(const Queries& q, uint32_t h, uint32_t begin, uint32_t end, Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[q.op->node];
  const uint32_t type = n.a.kv_layer == kNoLayer ? static_cast<uint32_t>(kF32) : pool_->geometry().type;
  constexpr uint32_t kGroups = kPromptTile / 16;
  const uint8_t *k[kGroups], *v[kGroups];
  if (!find_groups(*q.op, q.block.seq, q.heads.first + h, begin, end, kGroups, k, v, w)) return false;
  const uint32_t first = begin / kPromptTile * kPromptTile;
  const PanelRange all = panels_of(begin - first, end - first);
  const uint32_t padded = bf16_dim(q.a->head_dim), base = all.first * kPanelColumns;
  for (uint32_t c = all.first; c < all.end; ++c) {
    k_->pack_keys(k + static_cast<uint64_t>(c) * 4, type, q.a->head_dim, padded,
                  w.keys + static_cast<uint64_t>(c) * padded * kPanelColumns);
  }
  for (uint32_t p = 0; p < q.panels(); ++p) {
    uint16_t* panel = w.values + (static_cast<uint64_t>(p) * kPromptTile + base) * kPanelColumns;
    k_->pack_values(v + static_cast<uint64_t>(all.first) * 4, type, begin - first - base, end - first - base,
                    (all.end - all.first) * kPanelColumns, q.padded, p * kPanelColumns, panel);
  }
  // Both bounds rise with the rows, so those that see something of the tile are one run.
  const auto r0 = static_cast<uint32_t>(std::upper_bound(w.hi, w.hi + q.rows, begin) - w.hi);
  const auto r1 = static_cast<uint32_t>(std::lower_bound(w.lo, w.lo + q.rows, end) - w.lo);
  for (uint32_t r = r0; r < r1; r += kRowBlock) {
    attend_prompt_rows(q, h, r, std::min(kRowBlock, r1 - r), begin, end, w);
  }
  return true;
}

// Panels of 64 that hold columns [begin, end) of a tile: one, two or all four.
Runner::PanelRange Runner::panels_of(uint32_t begin, uint32_t end) noexcept {
  const PanelRange r{begin / kPanelColumns, (end + kPanelColumns - 1) / kPanelColumns};
  return r.end - r.first < 3 ? r : PanelRange{0, 4};
}

void Runner::attend_prompt_rows(const Queries& q, uint32_t h, uint32_t row, uint32_t n, uint32_t begin, uint32_t end,
                                Worker& w) noexcept {
  const AttentionKernels& kernels = model_->attention_kernels();
  const uint32_t first = begin / kPromptTile * kPromptTile, padded = bf16_dim(q.a->head_dim);
  begin = std::max(begin, w.lo[row]);
  end = std::min(end, w.hi[row + n - 1]);
  const PanelRange seen = panels_of(begin - first, end - first);
  const MatrixKernel& scores = kernels.scores(q.a->head_dim);
  const uint64_t at = static_cast<uint64_t>(h) * q.rows + row;
  for (uint32_t c = seen.first; c < seen.end; ++c) {
    const uint32_t token = first + c * kPanelColumns;
    if (token >= end || token + kPanelColumns <= begin) continue;  // in no row's sight: its weights will be zeros
    scores.run_exact(n, w.q_bf16 + at * padded, w.keys + static_cast<uint64_t>(c) * padded * kPanelColumns,
                     w.prompt_scores + static_cast<uint64_t>(c - seen.first) * kRowBlock * kPanelColumns,
                     w.kernel_scratch);
  }
  const uint64_t head_panel = static_cast<uint64_t>(q.rows) * kPanelColumns;
  float* acc =
      w.sum.acc + static_cast<uint64_t>(h) * q.panels() * head_panel + static_cast<uint64_t>(row) * kPanelColumns;
  const PromptScores s{w.prompt_scores,
                       w.weights,
                       w.lo + row,
                       w.hi + row,
                       w.sum.max + at,
                       w.sum.sum + at,
                       acc,
                       head_panel,
                       q.panels(),
                       seen.end - seen.first,
                       n,
                       first + seen.first * kPanelColumns,
                       static_cast<float>(q.a->softcap * 1.4426950408889634)};
  k_->soften(s);
  for (uint32_t p = 0; p < q.panels(); ++p) {
    const uint16_t* panel =
        w.values + (static_cast<uint64_t>(p) * kPromptTile + seen.first * kPanelColumns) * kPanelColumns;
    kernels.values(s.panels).run_exact(n, w.weights, panel, acc + p * head_panel, w.kernel_scratch);
  }
}

void Runner::give_rows_bf16(const Queries& q, Worker& w) noexcept {
  const uint64_t head_panel = static_cast<uint64_t>(q.rows) * kPanelColumns;
  for (uint32_t h = 0; h < q.heads.n; ++h) {
    for (uint32_t i = 0; i < q.rows; ++i) {
      float* y = row_as<float>(q.op->out, first_row(q) + i / q.share) +
                 (static_cast<uint64_t>(q.heads.first + h) * q.share + i % q.share) * q.a->v_dim;
      const float inverse = 1.0f / w.sum.sum[static_cast<uint64_t>(h) * q.rows + i];
      for (uint32_t p = 0; p < q.panels(); ++p) {
        const float* acc = w.sum.acc + (static_cast<uint64_t>(h) * q.panels() + p) * head_panel +
                           static_cast<uint64_t>(i) * kPanelColumns;
        k_->mul(acc, nullptr, inverse, y + static_cast<uint64_t>(p) * kPanelColumns,
                std::min(kPanelColumns, q.a->v_dim - p * kPanelColumns));
      }
    }
  }
}

}  // namespace merritt::onednn
