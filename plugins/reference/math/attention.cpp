// SPDX-License-Identifier: Apache-2.0
// Attention over pages: keys in cache order, one softmax kept running in double per query row and head. A row sees the
// same keys in the same order whatever else is in the step.
#include "reference/math/attention.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "reference/math/rows.hpp"
#include "reference/math/runner.hpp"
#include "support/blocks.hpp"

namespace merritt::plugin::reference {
namespace {

// State of one query row and head: running maximum, running sum, then the accumulators.
double* state_of(double* base, const PlanNode& n, uint32_t row, uint32_t head) noexcept {
  return base + (static_cast<uint64_t>(row) * n.a.heads + head) * (2 + n.a.v_dim);
}

void take_key(double* state, double score, const float* v, uint32_t v_dim) noexcept {
  double* sums = state + 2;
  if (score > state[0]) {
    const double shrink = std::exp(state[0] - score);
    state[1] *= shrink;
    for (uint32_t c = 0; c < v_dim; ++c) sums[c] *= shrink;
    state[0] = score;
  }
  const double p = std::exp(score - state[0]);
  state[1] += p;
  for (uint32_t c = 0; c < v_dim && v != nullptr; ++c) sums[c] += p * v[c];
}

}  // namespace

bool Runner::sequence_failed(uint32_t s) const noexcept {
  return std::atomic_ref<int32_t>(staging_->seq_status[s]).load(std::memory_order_relaxed) != MRT_OK;
}

void Runner::mark_corrupt(uint32_t g, uint32_t page) noexcept {
  const uint32_t page_tokens = pool_->geometry().page_tokens;
  for (uint32_t s = 0; s < step_->n_seqs; ++s) {
    const uint32_t* table = staging_->pages[g] + static_cast<uint64_t>(s) * policy_.max_pages[g];
    const PageRange range = page_range(*staging_, s, g, page_tokens);
    for (uint32_t e = 0; e < range.n_entries; ++e) {
      if (table[e] == (page | MRT_PAGE_SEALED)) {
        std::atomic_ref<int32_t>(staging_->seq_status[s]).store(MRT_CORRUPT, std::memory_order_relaxed);
      }
    }
  }
}

void Runner::store(const PlanNode& n) noexcept {
  // Which sequence a token belongs to is found by walking the runs: they are dense and ordered.
  spread(step_->n_seqs, [&](uint32_t s, uint32_t) {
    const uint32_t first = staging_->seq_first[s];
    for (uint32_t t = first; t < first + staging_->seq_tokens[s]; ++t) {
      store_row(n, false, s, t);
      store_row(n, true, s, t);
    }
  });
}

void Runner::store_row(const PlanNode& n, bool is_v, uint32_t s, uint32_t t) noexcept {
  const KvGeometry& geo = pool_->geometry();
  const KvOperand op = pool_->operand(n, is_v);
  const float* x = value(n.args[is_v ? 2 : 1]) + static_cast<uint64_t>(t) * op.kv_heads * op.dim;
  const uint64_t index = static_cast<uint64_t>(staging_->seq_past[s]) + (t - staging_->seq_first[s]);
  const uint64_t entry = index / geo.page_tokens - staging_->page_base[n.group][s];
  const uint32_t page = staging_->pages[n.group][static_cast<uint64_t>(s) * policy_.max_pages[n.group] + entry];
  const uint32_t token = static_cast<uint32_t>(index % geo.page_tokens);
  const bool whole = pool_->layout().rows_are_contiguous();
  const uint32_t pieces = whole ? 1 : op.units(geo), elements = whole ? op.dim : geo.unit_elements;
  for (uint32_t h = 0; h < op.kv_heads; ++h) {
    for (uint32_t u = 0; u < pieces; ++u) {
      const UnitPlace at = pool_->layout().place(geo, op, token, h, u);
      quantise_row(geo.type, x + static_cast<uint64_t>(h) * op.dim + static_cast<uint64_t>(u) * elements,
                   pool_->plane(n.group, page, at.plane) + at.offset, elements);
    }
  }
}

void Runner::load_row(const KvOperand& op, const uint8_t* planes, uint32_t first_plane, uint32_t token,
                      float* out) const noexcept {
  const KvGeometry& geo = pool_->geometry();
  const bool whole = pool_->layout().rows_are_contiguous();
  const uint32_t pieces = whole ? 1 : op.units(geo), elements = whole ? op.dim : geo.unit_elements;
  for (uint32_t h = 0; h < op.kv_heads; ++h) {
    for (uint32_t u = 0; u < pieces; ++u, out += elements) {
      const UnitPlace at = pool_->layout().place(geo, op, token, h, u);
      const uint64_t offset = (at.plane - first_plane) * geo.group[op.group].plane_bytes + at.offset;
      dequantise_row(geo.type, planes + offset, out, elements);
    }
  }
}

bool Runner::open_planes(const PlanNode& n, bool is_v, uint32_t s, uint32_t entry, uint8_t* to,
                         uint32_t* first) noexcept {
  const KvGeometry& geo = pool_->geometry();
  const uint64_t bytes = geo.group[n.group].plane_bytes;
  const uint32_t page =
      staging_->pages[n.group][static_cast<uint64_t>(s) * policy_.max_pages[n.group] + entry] & ~MRT_PAGE_SEALED;
  const mrt_kv_opener& opener = pool_->opener();
  uint32_t count = 0;
  pool_->layout().planes(geo, pool_->operand(n, is_v), first, &count);
  for (uint32_t p = 0; p < count; ++p) {
    const int32_t code = opener.open(opener.ctx, staging_->seq_key[s], n.group, page, *first + p,
                                     pool_->plane(n.group, page, *first + p), to + p * bytes, bytes);
    if (code == MRT_OK) continue;
    mark_corrupt(n.group, page);
    return false;
  }
  return true;
}

void Runner::attention(const PlanNode& n, float* y) noexcept {
  n_blocks_ = 0;
  for (uint32_t s = 0; s < step_->n_seqs; ++s) {
    for (uint32_t r = 0; r < staging_->seq_tokens[s]; r += kQueryRows) {
      block_seq_[n_blocks_] = s;
      block_first_[n_blocks_++] = r;
    }
  }
  spread(n_blocks_, [&](uint32_t b, uint32_t worker) {
    const uint32_t s = block_seq_[b], first = block_first_[b];
    const uint32_t rows = std::min(kQueryRows, staging_->seq_tokens[s] - first);
    attend_block(n, s, first, rows, workers_[worker], y);
  });
}

// Query rows [first, first + rows) of the run of sequence s.
void Runner::attend_block(const PlanNode& n, uint32_t s, uint32_t first, uint32_t rows, const Worker& w,
                          float* y) noexcept {
  const Attributes& a = n.a;
  const float* sinks = model_->vector(n, 3);
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t h = 0; h < a.heads; ++h) {
      double* state = state_of(w.attention, n, r, h);
      state[0] = -std::numeric_limits<double>::infinity();
      std::fill(state + 1, state + 2 + a.v_dim, 0.0);
      if (sinks != nullptr) take_key(state, sinks[h], nullptr, a.v_dim);
    }
  }
  const uint64_t past = staging_->seq_past[s];
  if (a.kv_layer == kNoLayer) {
    const uint64_t run = staging_->seq_first[s];
    for (uint64_t key = 0; key < staging_->seq_tokens[s]; ++key) {
      attend_token(n, s, past + key, value(n.args[1]) + (run + key) * a.kv_heads * a.head_dim,
                   value(n.args[2]) + (run + key) * a.kv_heads * a.v_dim, first, rows, w);
    }
  } else {
    const uint32_t page_tokens = pool_->geometry().page_tokens, base = staging_->page_base[n.group][s];
    const uint64_t low = first_visible(past + first, a.window) / page_tokens;
    const uint64_t high = (past + first + rows - 1) / page_tokens;
    for (uint64_t p = low; p <= high && !sequence_failed(s); ++p) {
      attend_page(n, s, static_cast<uint32_t>(p - base), first, rows, w);
    }
  }
  for (uint32_t r = 0; r < rows; ++r) {
    float* out = y + (static_cast<uint64_t>(staging_->seq_first[s]) + first + r) * n.width;
    for (uint32_t h = 0; h < a.heads; ++h) {
      const double* state = state_of(w.attention, n, r, h);
      for (uint32_t c = 0; c < a.v_dim; ++c) {
        *out++ = state[1] > 0.0 ? static_cast<float>(state[2 + c] / state[1]) : 0.0f;
      }
    }
  }
}

void Runner::attend_page(const PlanNode& n, uint32_t s, uint32_t entry, uint32_t first, uint32_t rows,
                         const Worker& w) noexcept {
  const KvGeometry& geo = pool_->geometry();
  const uint32_t named = staging_->pages[n.group][static_cast<uint64_t>(s) * policy_.max_pages[n.group] + entry];
  const bool sealed = (named & MRT_PAGE_SEALED) != 0;
  const uint32_t page = named & ~MRT_PAGE_SEALED;
  const uint8_t *k_planes = pool_->page(n.group, page), *v_planes = k_planes;
  uint32_t k_first = 0, v_first = 0;
  bool opened = true;
  if (sealed) {
    opened =
        open_planes(n, false, s, entry, w.opened_k, &k_first) && open_planes(n, true, s, entry, w.opened_v, &v_first);
    k_planes = w.opened_k;
    v_planes = w.opened_v;
  }
  const KvOperand k_op = pool_->operand(n, false), v_op = pool_->operand(n, true);
  const uint64_t base = (static_cast<uint64_t>(staging_->page_base[n.group][s]) + entry) * geo.page_tokens;
  const uint64_t past = staging_->seq_past[s];
  const uint64_t low = first_visible(past + first, n.a.window), high = past + first + rows - 1;
  for (uint32_t t = 0; t < geo.page_tokens && opened; ++t) {
    if (base + t < low || base + t > high) continue;
    load_row(k_op, k_planes, k_first, t, w.k_row);
    load_row(v_op, v_planes, v_first, t, w.v_row);
    attend_token(n, s, base + t, w.k_row, w.v_row, first, rows, w);
  }
  if (!pool_->has_opener()) return;
  // Whatever was opened or decoded lives in hot scratch and goes at once.
  uint32_t from = 0, count = 0;
  for (const bool is_v : {false, true}) {
    pool_->layout().planes(geo, is_v ? v_op : k_op, &from, &count);
    if (sealed) wipe(is_v ? w.opened_v : w.opened_k, count * geo.group[n.group].plane_bytes);
  }
  wipe(w.k_row, static_cast<uint64_t>(k_op.kv_heads) * k_op.dim * sizeof(float));
  wipe(w.v_row, static_cast<uint64_t>(v_op.kv_heads) * v_op.dim * sizeof(float));
}

// One key for all query rows of the block that see it. key is a cache index; so is past + row.
void Runner::attend_token(const PlanNode& n, uint32_t s, uint64_t key, const float* k, const float* v, uint32_t first,
                          uint32_t rows, const Worker& w) const noexcept {
  const Attributes& a = n.a;
  const float* q = value(n.args[0]);
  const uint32_t heads_per_kv = a.heads / a.kv_heads;
  for (uint32_t r = 0; r < rows; ++r) {
    const uint64_t i = static_cast<uint64_t>(staging_->seq_past[s]) + first + r;
    const uint64_t distance = i >= key ? i - key : key - i;
    if ((a.mask == 0 && key > i) || (a.window != 0 && distance >= a.window)) continue;
    const float* q_row = q + (static_cast<uint64_t>(staging_->seq_first[s]) + first + r) * a.heads * a.head_dim;
    for (uint32_t h = 0; h < a.heads; ++h) {
      const uint32_t kv = h / heads_per_kv;
      double score =
          dot(q_row + static_cast<uint64_t>(h) * a.head_dim, k + static_cast<uint64_t>(kv) * a.head_dim, a.head_dim) *
          a.scale;
      if (a.softcap > 0.0) score = a.softcap * std::tanh(score / a.softcap);
      take_key(state_of(w.attention, n, r, h), score, v + static_cast<uint64_t>(kv) * a.v_dim, a.v_dim);
    }
  }
}

}  // namespace merritt::plugin::reference
