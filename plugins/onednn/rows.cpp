// SPDX-License-Identifier: Apache-2.0
// Row-local ops: a task takes some rows through every op of its phase, so that a row stays in the first cache.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "onednn/layout.hpp"
#include "onednn/runner.hpp"

namespace merritt::onednn {
using namespace plugin;

void Runner::row_task(const Phase& phase, uint32_t i, uint32_t worker) noexcept {
  const uint32_t n = rows_of(phase.rows).n, prompt = rows_of(phase.rows).n_prompt, step = n > 32 ? 8 : 1;
  const uint32_t end = std::min(n, (i + 1) * step);
  for (uint32_t r = i * step; r < end; ++r) {
    for (const RowOp& op : phase.row_ops) {
      if (op.generated_only && r < prompt) continue;
      if (wanted(op.needed_by)) row_op(op, phase.rows, r, worker);
    }
  }
}

void Runner::row_op(const RowOp& op, uint16_t rows, uint32_t r, uint32_t worker) noexcept {
  const Attributes& a = model_->plan().nodes[op.node].a;
  const float* x =
      op.in == kNoValue || op.kind == RowKind::kSelect || op.kind == RowKind::kPool ? nullptr : row_as<float>(op.in, r);
  float* y = op.out == kNoValue ? nullptr : row_as<float>(op.out, r);
  switch (op.kind) {
    case RowKind::kEmbed: return embed(op, r, worker);
    case RowKind::kHidden:
      std::memcpy(y, staging_->hidden + static_cast<uint64_t>(token_of_[r]) * op.width, op.width * sizeof(float));
      return;
    case RowKind::kRmsNorm:
    case RowKind::kLayerNorm: return norm(op, x, y);
    case RowKind::kAngles: return angles(op, r);
    case RowKind::kRope: {
      const float* cosine = row_as<float>(model_->schedule().angles[op.angles].value, r);
      for (uint32_t h = 0; h < op.width; h += a.head_dim) {
        k_->rope(x + h, cosine, cosine + a.rot_dim / 2, a.head_dim, a.rot_dim, a.style, y + h);
      }
      return;
    }
    case RowKind::kStoreK:
    case RowKind::kStoreV: return store_kv(op, r);
    case RowKind::kAdd: return k_->add(x, row_as<float>(op.in2, r), y, op.width);
    case RowKind::kScale: return k_->mul(x, model_->vector(op.weight), static_cast<float>(a.scale), y, op.width);
    case RowKind::kGate: return k_->gate(x, row_as<float>(op.in2, r), a.act, y, op.width);
    case RowKind::kAct: return k_->act(x, a.act, y, op.width);
    case RowKind::kSoftcap: return k_->softcap(x, static_cast<float>(a.softcap), y, op.width);
    case RowKind::kSelect: std::memcpy(y, row_as<float>(op.in, wanted_from_[r]), op.width * sizeof(float)); return;
    case RowKind::kPool: return pool_row(op, r);
    case RowKind::kConvert: {
      const bool prompt = r < rows_of(rows).n_prompt;
      const uint64_t padded = (static_cast<uint64_t>(op.width) + 31) / 32 * 32;
      if (prompt && op.out_bf16 != kNoValue) {
        const bool tiles = model_->in_tiles();
        uint8_t* to = tiles ? row(op.out_bf16, r / kTileRows * kTileRows) + tile_row(r) : row(op.out_bf16, r);
        k_->to_bf16(x, op.width, padded, reinterpret_cast<uint16_t*>(to), tiles ? kTileBytes / 2 : kTileDepth);
      }
      if (op.out_pairs != kNoValue) k_->quantise_pairs(x, op.width, padded, row(op.out_pairs, r));
      if (prompt) return;
      const RowsOf& of = rows_of(rows);
      const uint32_t at = r - of.n_prompt, first = at / kBand * kBand;
      const uint32_t members = std::min(kBand, of.n - of.n_prompt - first);
      const auto band = [&](uint32_t value) { return row(value, of.n_prompt + first); };
      if (op.out_q12 != kNoValue) k_->quantise_q12(x, op.width, padded, band(op.out_q12), members, at - first);
      if (op.out_q16 != kNoValue) k_->quantise_q16(x, op.width, padded, band(op.out_q16), members, at - first);
      return;
    }
    case RowKind::kOutput: {
      const uint32_t to = rows == MRT_ROWS_TOKENS   ? token_of_[r]
                          : rows == MRT_ROWS_WANTED ? wanted_out_[r]
                                                    : seq_order_[r];
      std::memcpy(staging_->output[op.angles].data + static_cast<uint64_t>(to) * op.width, x, op.width * sizeof(float));
      return;
    }
  }
}

// Opens the sixteen rows that lie together and takes one of them.
void Runner::embed(const RowOp& op, uint32_t r, uint32_t worker) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const uint32_t* ids = n.args[0].index == MRT_IN_TOKENS      ? staging_->token
                        : n.args[0].index == MRT_IN_POSITIONS ? staging_->position
                                                              : staging_->type;
  const uint32_t id = ids[token_of_[r]];
  const Packed& table = model_->matrix(op.weight);
  auto* opened = reinterpret_cast<float*>(workers_[worker].panel);
  k_->panel_f32(table, id / kLanes, 1, opened);
  float* y = row_as<float>(op.out, r);
  const auto scale = static_cast<float>(n.a.scale);
  for (uint32_t c = 0; c < op.width; ++c) y[c] = opened[static_cast<uint64_t>(c) * kLanes + id % kLanes] * scale;
}

void Runner::angles(const RowOp& op, uint32_t r) noexcept {
  const double scale = model_->plan().nodes[op.node].a.scale;
  const std::vector<double>& f = frequencies_[op.angles];
  float* cosine = row_as<float>(op.out, r);
  float* sine = cosine + f.size();
  const double position = staging_->position[token_of_[r]];
  for (uint64_t i = 0; i < f.size(); ++i) {
    const double angle = position * f[i];
    cosine[i] = static_cast<float>(std::cos(angle) * scale);
    sine[i] = static_cast<float>(std::sin(angle) * scale);
  }
}

void Runner::norm(const RowOp& op, const float* x, float* y) noexcept {
  const Attributes& a = model_->plan().nodes[op.node].a;
  const float *w = model_->vector(op.weight), *b = model_->vector(op.bias);
  const uint64_t n_w = w == nullptr ? op.width : model_->vector_size(op.weight);
  const uint64_t n_b = b == nullptr ? op.width : model_->vector_size(op.bias);
  const auto eps = static_cast<float>(a.eps);
  for (uint32_t h = 0; h < op.width; h += a.head_dim) {
    const float* wh = w == nullptr ? nullptr : w + h % n_w;
    if (op.kind == RowKind::kRmsNorm) {
      k_->rms_norm(x + h, wh, y + h, a.head_dim, eps);
    } else {
      k_->layer_norm(x + h, wh, b == nullptr ? nullptr : b + h % n_b, y + h, a.head_dim, eps);
    }
  }
}

void Runner::pool_row(const RowOp& op, uint32_t r) noexcept {
  const uint32_t s = seq_order_[r], first = row_of_[staging_->seq_first[s]], n = staging_->seq_tokens[s];
  const uint32_t how = model_->plan().nodes[op.node].a.pool;
  float* y = row_as<float>(op.out, r);
  std::memcpy(y, row_as<float>(op.in, how == 2 ? first + n - 1 : first), op.width * sizeof(float));
  if (how != 1) return;
  for (uint32_t t = 1; t < n; ++t) k_->add(y, row_as<float>(op.in, first + t), y, op.width);
  k_->mul(y, nullptr, 1.0f / static_cast<float>(n), y, op.width);
}

// A token's K or V into its page, or into the step's own rows where the attention caches nothing.
void Runner::store_kv(const RowOp& op, uint32_t r) noexcept {
  const PlanNode& n = model_->plan().nodes[op.node];
  const bool is_v = op.kind == RowKind::kStoreV;
  const uint32_t s = seq_of_[r], dim = is_v ? n.a.v_dim : n.a.head_dim;
  const uint32_t offset = token_of_[r] - staging_->seq_first[s];
  const float* x = row_as<float>(op.in, r);
  uint8_t* base;
  uint32_t tokens, token, type = kF32;
  if (op.angles != kNoValue) {
    base = local_.data() + (is_v ? local_v_ : local_k_)[op.angles];
    tokens = local_tokens_;
    token = local_first_[s] + offset;
  } else {
    const KvGeometry& geo = pool_->geometry();
    const uint32_t index = staging_->seq_past[s] + offset,
                   entry = index / geo.page_tokens - staging_->page_base[n.group][s];
    const uint32_t page = staging_->pages[n.group][static_cast<uint64_t>(s) * policy_.max_pages[n.group] + entry];
    base = pool_->plane(n.group, page, 2 * n.group_layer + (is_v ? 1u : 0u));
    tokens = geo.page_tokens;
    token = index % geo.page_tokens;
    type = geo.type;
  }
  for (uint32_t h = 0; h < n.a.kv_heads; ++h) {
    const float* from = x + static_cast<uint64_t>(h) * dim;
    if (!is_tiled(tokens)) {
      k_->store_kv(from, dim, type, base + row_offset(type, tokens, dim, h, token), 1);
      continue;
    }
    uint8_t* sixteen = base + (is_v ? v_sixteen(type, tokens, dim, h, token) : k_sixteen(type, tokens, dim, h, token));
    if (type == kQ8_0) {
      store_q8(from, is_v, dim, token, sixteen);
    } else {
      const uint64_t element = is_v ? static_cast<uint64_t>(token % 16) * padded_dim(dim) : token % 16;
      k_->store_kv(from, dim, type, sixteen + element * (type == kF32 ? 4 : 2), is_v ? 1 : 16);
    }
  }
}

// As everywhere else that makes q8_0, so that exported rows are the same bytes.
void Runner::store_q8(const float* x, bool is_v, uint32_t dim, uint32_t token, uint8_t* sixteen) noexcept {
  for (uint32_t unit = 0; unit < dim / 32; ++unit) {
    uint8_t block[34];
    quantise_row(kQ8_0, x + static_cast<uint64_t>(unit) * 32, block, 32);
    q8_parts(is_v, dim, token, unit,
             [&](uint32_t at, uint64_t place, uint32_t count) { std::memcpy(sixteen + place, block + at, count); });
  }
}

}  // namespace merritt::onednn
