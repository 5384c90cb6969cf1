// SPDX-License-Identifier: Apache-2.0
// Where the keys and values of a piece of the cache lie. Plain pages are read in place; sealed ones are opened into the
// worker's hot scratch, which is wiped when the task ends.
#include <cstring>

#include "onednn/layout.hpp"
#include "onednn/runner.hpp"

namespace merritt::onednn {
using namespace plugin;

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

// The sixteens of a tile of n that hold tokens [begin, end), which lie inside it. Those that nobody sees get the
// address of one that is seen: it is read, not used. False: a page could not be opened.
bool Runner::find_groups(const AttentionOp& op, uint32_t seq, uint32_t kv_head, uint32_t begin, uint32_t end,
                         uint32_t n_groups, const uint8_t** k, const uint8_t** v, Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const bool local = n.a.kv_layer == kNoLayer;
  const uint32_t page_tokens = local ? local_tokens_ : pool_->geometry().page_tokens;
  const uint32_t type = local ? static_cast<uint32_t>(kF32) : pool_->geometry().type;
  const uint32_t first = begin / (16 * n_groups) * (16 * n_groups);
  const uint32_t g0 = (begin - first) / 16, g1 = (end - first + 15) / 16;
  if (!is_tiled(page_tokens) && !gather_groups(op, seq, kv_head, begin, end, first, w)) return false;
  for (uint32_t g = g0; g < g1; ++g) {
    if (!is_tiled(page_tokens)) {
      k[g] = w.gathered + k_sixteen(type, kSegmentTokens, n.a.head_dim, 0, 16 * g);
      v[g] = w.gathered + k_sixteen(type, kSegmentTokens, n.a.head_dim, 1, 0) +
             v_sixteen(type, kSegmentTokens, n.a.v_dim, 0, 16 * g);
      continue;
    }
    const uint32_t token = first + 16 * g;
    const uint8_t *key, *value;
    uint32_t at;
    if (local) {
      key = local_.data() + local_k_[op.layer];
      value = local_.data() + local_v_[op.layer];
      at = local_first_[seq] + token;
    } else {
      key = page_planes(n, seq, token / page_tokens - staging_->page_base[n.group][seq], w, &value);
      if (key == nullptr) return false;
      at = token % page_tokens;
    }
    k[g] = key + k_sixteen(type, page_tokens, n.a.head_dim, kv_head, at);
    v[g] = value + v_sixteen(type, page_tokens, n.a.v_dim, kv_head, at);
  }
  for (uint32_t g = 0; g < n_groups; ++g) {
    if (g >= g0 && g < g1) continue;
    k[g] = k[g0];
    v[g] = v[g0];
  }
  return true;
}

// Pages that sixteen does not divide: tokens [begin, end) one by one into the worker's hot scratch, in the layout of
// tiled pages.
bool Runner::gather_groups(const AttentionOp& op, uint32_t seq, uint32_t kv_head, uint32_t begin, uint32_t end,
                           uint32_t first, Worker& w) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const uint32_t page_tokens = pool_->geometry().page_tokens, type = pool_->geometry().type;
  const uint32_t bytes = pool_->geometry().unit_bytes;
  const uint32_t dim = n.a.head_dim, v_dim = padded_dim(n.a.v_dim);
  uint8_t* values = w.gathered + static_cast<uint64_t>(kSegmentTokens) * dim * bytes;
  for (uint32_t at = begin; at < end; ++at) {
    const uint8_t* v = nullptr;
    const uint8_t* k = page_planes(n, seq, at / page_tokens - staging_->page_base[n.group][seq], w, &v);
    if (k == nullptr) return false;
    k += row_offset(type, page_tokens, dim, kv_head, at % page_tokens);
    v += row_offset(type, page_tokens, n.a.v_dim, kv_head, at % page_tokens);
    const uint32_t slot = at - first;
    uint8_t* to = w.gathered + (static_cast<uint64_t>(slot / 16) * dim * 16 + slot % 16) * bytes;
    for (uint64_t d = 0; d < dim; ++d) std::memcpy(to + d * 16 * bytes, k + d * bytes, bytes);
    std::memcpy(values + static_cast<uint64_t>(slot) * v_dim * bytes, v, static_cast<uint64_t>(v_dim) * bytes);
  }
  return true;
}

// The K plane of a page (and *v), opened first where it is sealed. Null: it could not be opened, the sequences that
// name it are marked. A segment meets at most n_open_ pages, so entry modulo that is a free slot.
const uint8_t* Runner::page_planes(const PlanNode& n, uint32_t seq, uint32_t entry, Worker& w,
                                   const uint8_t** v) noexcept {
  const uint32_t named = staging_->pages[n.group][static_cast<uint64_t>(seq) * policy_.max_pages[n.group] + entry];
  const uint32_t page = named & ~MRT_PAGE_SEALED, plane = 2 * n.group_layer;
  const uint8_t* k = pool_->plane(n.group, page, plane);
  const uint64_t bytes = pool_->geometry().group[n.group].plane_bytes;
  *v = k + bytes;
  if ((named & MRT_PAGE_SEALED) == 0) return k;
  const uint32_t slot = entry % n_open_;
  uint8_t* plain = w.hot + slot * 2 * w.hot_bytes;
  if (!w.open[slot].used || w.open[slot].entry != entry) {
    const mrt_kv_opener& opener = pool_->opener();
    w.open[slot] = {entry, true};
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

void Runner::close_pages(Worker& w) noexcept {
  for (uint32_t i = 0; i < n_open_; ++i) {
    if (w.open[i].used) wipe(w.hot + i * 2 * w.hot_bytes, 2 * w.hot_bytes);
    w.open[i].used = false;
  }
  if (w.gathered_bytes != 0) wipe(w.gathered, w.gathered_bytes);
}

}  // namespace merritt::onednn
