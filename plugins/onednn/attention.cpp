// SPDX-License-Identifier: Apache-2.0
// Attention phases. A task is one KV head and some consecutive tokens of a sequence, whose queries share every tile of
// keys and values. Tiles are 64 tokens at absolute positions; plain pages are read in place, sealed ones are opened
// into the worker's hot scratch and wiped when the task ends.
#include <algorithm>
#include <cstring>

#include "onednn/layout.hpp"
#include "onednn/runner.hpp"

namespace merritt::onednn {
using namespace plugin;

// As many tokens as make about 64 queries of one KV head.
uint32_t Runner::query_tokens(const PlanNode& n) const noexcept {
  return std::clamp(64 / (n.a.heads / n.a.kv_heads), 1u, 16u);
}

void Runner::list_blocks() noexcept {
  n_blocks_ = 0;
  for (uint32_t i = 0; i < step_->n_seqs; ++i) {
    const uint32_t s = seq_order_[i], tokens = staging_->seq_tokens[s];
    const uint32_t most = i < n_prompt_seqs_ ? block_tokens_ : 1;
    for (uint32_t first = 0; first < tokens; first += most)
      blocks_[n_blocks_++] = {s, first, std::min(most, tokens - first)};
  }
}

bool Runner::failed(uint32_t seq) const noexcept {
  return std::atomic_ref<int32_t>(staging_->seq_status[seq]).load(std::memory_order_relaxed) != MRT_OK;
}

// Every sequence of the step that names the page fails, and no other.
void Runner::mark_corrupt(uint32_t g, uint32_t page) noexcept {
  for (uint32_t s = 0; s < step_->n_seqs; ++s) {
    const uint32_t* table = staging_->pages[g] + static_cast<uint64_t>(s) * policy_.max_pages[g];
    const PageRange range = page_range(*staging_, s, g, pool_->geometry().page_tokens);
    for (uint32_t e = 0; e < range.n_entries; ++e) {
      if (table[e] != (page | MRT_PAGE_SEALED)) continue;
      std::atomic_ref<int32_t>(staging_->seq_status[s]).store(MRT_CORRUPT, std::memory_order_relaxed);
    }
  }
}

void Runner::attention_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept {
  for (const AttentionOp& op : phase.attention_ops) {
    if (!wanted(op.needed_by)) continue;
    const uint32_t heads = model_->plan().nodes[op.node].a.kv_heads, tasks = n_blocks_ * heads;
    if (i < tasks) {
      const Block& b = blocks_[n_blocks_ - 1 - i / heads];  // the long ones first
      if (!failed(b.seq)) attend_block(op, b, i % heads, workers_[worker]);
      return;
    }
    i -= tasks;
  }
}

void Runner::attend_block(const AttentionOp& op, const Block& b, uint32_t kv_head, Worker& w) noexcept {
  const Attributes& a = model_->plan().nodes[op.node].a;
  const uint32_t share = a.heads / a.kv_heads, padded = padded_dim(a.v_dim);
  const uint32_t first_row = row_of_[staging_->seq_first[b.seq]] + b.first;
  const uint32_t past = staging_->seq_past[b.seq], run_end = past + staging_->seq_tokens[b.seq];
  AttentionBlock block{w.q,
                       w.lo,
                       w.hi,
                       w.max,
                       w.sum,
                       w.acc,
                       w.scores,
                       b.count * share,
                       a.head_dim,
                       padded,
                       static_cast<float>(a.softcap)};
  for (uint32_t t = 0; t < b.count; ++t) {
    const uint32_t at = past + b.first + t;
    const uint64_t from = first_visible(at, a.window);
    const uint64_t ahead = a.window == 0 ? run_end : std::min<uint64_t>(run_end, static_cast<uint64_t>(at) + a.window);
    for (uint32_t h = 0; h < share; ++h) {
      w.lo[t * share + h] = static_cast<uint32_t>(from);
      w.hi[t * share + h] = a.mask == 0 ? at + 1 : static_cast<uint32_t>(ahead);
    }
    const float* q = row_as<float>(op.q, first_row + t) + static_cast<uint64_t>(kv_head) * share * a.head_dim;
    k_->mul(q, nullptr, static_cast<float>(a.scale), w.q + static_cast<uint64_t>(t) * share * a.head_dim,
            static_cast<uint64_t>(share) * a.head_dim);
  }
  k_->attend_start(block);
  if (!attend_tiles(op, b, kv_head, &block, w)) return;
  k_->attend_finish(block);
  for (uint32_t t = 0; t < b.count; ++t) {
    float* y = row_as<float>(op.out, first_row + t) + static_cast<uint64_t>(kv_head) * share * a.v_dim;
    for (uint32_t h = 0; h < share; ++h) {
      std::memcpy(y + static_cast<uint64_t>(h) * a.v_dim, w.acc + static_cast<uint64_t>(t * share + h) * padded,
                  a.v_dim * sizeof(float));
    }
  }
}

bool Runner::attend_tiles(const AttentionOp& op, const Block& b, uint32_t kv_head, AttentionBlock* block,
                          Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const uint32_t type = n.a.kv_layer == kNoLayer ? static_cast<uint32_t>(kF32) : pool_->geometry().type;
  const uint32_t lo = *std::min_element(w.lo, w.lo + block->n), hi = *std::max_element(w.hi, w.hi + block->n);
  OpenPage open[4] = {};
  bool good = true;
  for (uint32_t first = lo / kTileTokens * kTileTokens; first < hi && good; first += kTileTokens) {
    AttentionTile tile{};
    tile.first = first;
    tile.begin = std::max(first, lo);
    tile.end = std::min(first + kTileTokens, hi);
    good = find_tile(op, b.seq, kv_head, &tile, open, w);
    if (good) k_->attend(*block, tile, type);
  }
  for (uint32_t i = 0; i < 4; ++i) {
    if (open[i].used) wipe(w.hot + i * 2 * w.hot_bytes, 2 * w.hot_bytes);
  }
  if (w.gathered_bytes != 0) wipe(w.gathered, w.gathered_bytes);
  return good;
}

// Where the sixteens of a tile lie. Those that nobody sees get the address of one that is seen: it is read, not used.
bool Runner::find_tile(const AttentionOp& op, uint32_t seq, uint32_t kv_head, AttentionTile* t, OpenPage* open,
                       Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const bool local = n.a.kv_layer == kNoLayer;
  const uint32_t page_tokens = local ? local_tokens_ : pool_->geometry().page_tokens;
  const uint32_t bytes = local || pool_->geometry().type == kF32 ? 4 : 2;
  const uint32_t g0 = (t->begin - t->first) / 16, g1 = (t->end - t->first + 15) / 16;
  if (!is_tiled(page_tokens) && !gather_tile(op, seq, kv_head, *t, open, w)) return false;
  for (uint32_t g = g0; g < g1; ++g) {
    if (!is_tiled(page_tokens)) {
      t->k[g] = w.gathered + static_cast<uint64_t>(g) * 16 * n.a.head_dim * bytes;
      t->v[g] =
          w.gathered + (static_cast<uint64_t>(kTileTokens) * n.a.head_dim + g * 16 * padded_dim(n.a.v_dim)) * bytes;
      continue;
    }
    const uint32_t token = t->first + 16 * g;
    const uint8_t *k, *v;
    uint32_t at;
    if (local) {
      k = local_.data() + local_k_[op.layer];
      v = local_.data() + local_v_[op.layer];
      at = local_first_[seq] + token;
    } else {
      k = page_planes(n, seq, token / page_tokens - staging_->page_base[n.group][seq], open, w, &v);
      if (k == nullptr) return false;
      at = token % page_tokens;
    }
    t->k[g] = k + k_offset(page_tokens, n.a.head_dim, kv_head, at, bytes);
    t->v[g] = v + v_offset(page_tokens, n.a.v_dim, kv_head, at, bytes);
  }
  for (uint32_t g = 0; g < kTileTokens / 16; ++g) {
    if (g >= g0 && g < g1) continue;
    t->k[g] = t->k[g0];
    t->v[g] = t->v[g0];
  }
  return true;
}

// Pages that sixteen does not divide: the tile's tokens one by one into the worker's hot scratch, in the layout of a
// tile.
bool Runner::gather_tile(const AttentionOp& op, uint32_t seq, uint32_t kv_head, const AttentionTile& t, OpenPage* open,
                         Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const uint32_t page_tokens = pool_->geometry().page_tokens, bytes = pool_->geometry().type == kF32 ? 4 : 2;
  const uint32_t dim = n.a.head_dim, v_dim = padded_dim(n.a.v_dim);
  uint8_t* values = w.gathered + static_cast<uint64_t>(kTileTokens) * dim * bytes;
  for (uint32_t at = t.begin; at < t.end; ++at) {
    const uint8_t* v = nullptr;
    const uint8_t* k = page_planes(n, seq, at / page_tokens - staging_->page_base[n.group][seq], open, w, &v);
    if (k == nullptr) return false;
    k += v_offset(page_tokens, dim, kv_head, at % page_tokens, bytes);
    v += v_offset(page_tokens, n.a.v_dim, kv_head, at % page_tokens, bytes);
    const uint32_t slot = at - t.first;
    uint8_t* to = w.gathered + (static_cast<uint64_t>(slot / 16) * dim * 16 + slot % 16) * bytes;
    for (uint64_t d = 0; d < dim; ++d) std::memcpy(to + d * 16 * bytes, k + d * bytes, bytes);
    std::memcpy(values + static_cast<uint64_t>(slot) * v_dim * bytes, v, static_cast<uint64_t>(v_dim) * bytes);
  }
  return true;
}

// The K plane of a page (and *v), opened first where it is sealed. Null: it could not be opened, the sequences that
// name it are marked. At most four pages meet in one tile, so entry modulo four is a free slot.
const uint8_t* Runner::page_planes(const PlanNode& n, uint32_t seq, uint32_t entry, OpenPage* open, Worker& w,
                                   const uint8_t** v) noexcept {
  const uint32_t named = staging_->pages[n.group][static_cast<uint64_t>(seq) * policy_.max_pages[n.group] + entry];
  const uint32_t page = named & ~MRT_PAGE_SEALED, plane = 2 * n.group_layer;
  const uint8_t* k = pool_->plane(n.group, page, plane);
  const uint64_t bytes = pool_->geometry().group[n.group].plane_bytes;
  *v = k + bytes;
  if ((named & MRT_PAGE_SEALED) == 0) return k;
  const uint32_t slot = entry % 4;
  uint8_t* plain = w.hot + slot * 2 * w.hot_bytes;
  if (!open[slot].used || open[slot].entry != entry) {
    const mrt_kv_opener& opener = pool_->opener();
    open[slot] = {entry, true};
    for (uint32_t i = 0; i < 2; ++i) {
      if (opener.open(opener.ctx, staging_->seq_key[seq], n.group, page, plane + i, k + i * bytes, plain + i * bytes,
                      bytes) == MRT_OK)
        continue;
      mark_corrupt(n.group, page);
      return nullptr;
    }
  }
  *v = plain + bytes;
  return plain;
}

}  // namespace merritt::onednn
