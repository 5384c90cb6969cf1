// SPDX-License-Identifier: Apache-2.0
// The life of a step and the ops that look at one row at a time; attention is in attention.cpp.
#include "reference/math/runner.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "reference/math/rows.hpp"
#include "support/blocks.hpp"

namespace merritt::plugin::reference {

float* Runner::value(const Ref& ref) const noexcept {
  if (ref.kind == RefKind::kInput) return staging_->hidden;
  const uint32_t output = output_of_[ref.index];
  return output != kNoIndex ? staging_->output[output].data : values_.as<float>(value_at_[ref.index]);
}

uint64_t Runner::rows_of(uint16_t kind) const noexcept {
  return kind == MRT_ROWS_TOKENS ? step_->n_tokens : kind == MRT_ROWS_WANTED ? step_->n_rows : step_->n_seqs;
}

void Runner::run(const mrt_step& step, const mrt_staging& staging, mrt_error* result) noexcept {
  step_ = &step;
  staging_ = &staging;
  *result = {};
  spread_code_ = MRT_OK;
  for (uint32_t s = 0; s < step.n_seqs; ++s) staging.seq_status[s] = MRT_OK;
  const Plan& plan = model_->plan();
  const uint32_t wanted = step.outputs | kNeededByCache;
  for (uint32_t i = 0; i < plan.nodes.size(); ++i) {
    if (cancel_requested(step.cancel)) {
      fail(result, MRT_CANCELLED, MRT_BLAST_STEP, kNoIndex, "the step was cancelled");
      return;
    }
    const PlanNode& n = plan.nodes[i];
    if (n.caches) store(n);
    if ((n.needed_by & wanted) != 0) run_node(i);
    if (spread_code_ != MRT_OK) {
      fail(result, spread_code_, MRT_BLAST_STEP, i, "the host's executor left parts of node %u undone", i);
      return;
    }
  }
}

void Runner::run_node(uint32_t i) noexcept {
  const PlanNode& n = model_->plan().nodes[i];
  if (rows_of(n.rows) == 0) return;
  float* y = value({RefKind::kNode, i});
  switch (n.op) {
    case MRT_OP_EMBED: return embed(n, y);
    case MRT_OP_LINEAR: return linear(n, y);
    case MRT_OP_RMS_NORM:
    case MRT_OP_LAYER_NORM: return norm(n, y);
    case MRT_OP_ROPE: return rope(i, n, y);
    case MRT_OP_ATTENTION: return attention(n, y);
    case MRT_OP_MOE: return moe(n, y);
    case MRT_OP_SELECT_ROWS: return select_rows(n, y);
    case MRT_OP_POOL: return pool_rows(n, y);
    default: return elementwise(n, y);
  }
}

void Runner::embed(const PlanNode& n, float* y) noexcept {
  const PlanWeight& table = model_->weight(n.args[1]);
  const uint32_t* ids = n.args[0].index == MRT_IN_TOKENS      ? staging_->token
                        : n.args[0].index == MRT_IN_POSITIONS ? staging_->position
                                                              : staging_->type;
  spread(step_->n_tokens, [&](uint32_t t, uint32_t) {
    float* row = y + static_cast<uint64_t>(t) * n.width;
    dequantise_row(table.type, model_->row(n.args[1], ids[t]), row, n.width);
    for (uint32_t c = 0; c < n.width && n.a.scale != 1.0; ++c) row[c] = static_cast<float>(row[c] * n.a.scale);
  });
}

void Runner::linear(const PlanNode& n, float* y) noexcept {
  const float* x = value(n.args[0]);
  const float* bias = model_->vector(n, 2);
  const PlanWeight& w = model_->weight(n.args[1]);
  const uint64_t rows = rows_of(n.rows);
  constexpr uint32_t kRowsAtOnce = 64;
  spread((n.width + kRowsAtOnce - 1) / kRowsAtOnce, [&](uint32_t piece, uint32_t worker) {
    float* opened = workers_[worker].row;
    const uint32_t end = std::min(n.width, (piece + 1) * kRowsAtOnce);
    for (uint32_t o = piece * kRowsAtOnce; o < end; ++o) {
      dequantise_row(w.type, model_->row(n.args[1], o), opened, w.cols);
      for (uint64_t t = 0; t < rows; ++t) {
        const double sum = dot(x + t * w.cols, opened, w.cols) + (bias == nullptr ? 0.0 : bias[o]);
        y[t * n.width + o] = static_cast<float>(sum);
      }
    }
  });
}

void Runner::norm(const PlanNode& n, float* y) noexcept {
  const float* x = value(n.args[0]);
  const float* w = model_->vector(n, 1);
  const float* b = model_->vector(n, 2);
  const auto count = [&](uint32_t k) {
    const PlanWeight& v = model_->weight(n.args[k]);
    return v.cols * v.rows;
  };
  const uint64_t n_w = w == nullptr ? 1 : count(1), n_b = b == nullptr ? 1 : count(2);
  spread(static_cast<uint32_t>(rows_of(n.rows)), [&](uint32_t t, uint32_t) {
    const uint64_t at = static_cast<uint64_t>(t) * n.width;
    if (n.op == MRT_OP_RMS_NORM) {
      rms_norm_row(x + at, w, n_w, n.a, n.width, y + at);
    } else {
      layer_norm_row(x + at, w, n_w, b, n_b, n.a, n.width, y + at);
    }
  });
}

void Runner::rope(uint32_t i, const PlanNode& n, float* y) noexcept {
  const float* x = value(n.args[0]);
  const double* angles = angles_.as<double>() + angles_at_[i];
  const uint32_t pairs = n.a.rot_dim / 2;
  spread(step_->n_tokens, [&](uint32_t t, uint32_t worker) {
    double* cosines = workers_[worker].numbers;
    double* sines = cosines + pairs;
    for (uint32_t p = 0; p < pairs; ++p) {
      cosines[p] = std::cos(staging_->position[t] * angles[p]) * n.a.scale;
      sines[p] = std::sin(staging_->position[t] * angles[p]) * n.a.scale;
    }
    const uint64_t at = static_cast<uint64_t>(t) * n.width;
    rope_row(x + at, cosines, sines, n.a, n.width, y + at);
  });
}

void Runner::elementwise(const PlanNode& n, float* y) noexcept {
  const float* a = value(n.args[0]);
  const float* b = n.op == MRT_OP_GATE || n.op == MRT_OP_ADD ? value(n.args[1]) : nullptr;
  const float* w = n.op == MRT_OP_SCALE ? model_->vector(n, 1) : nullptr;
  spread(static_cast<uint32_t>(rows_of(n.rows)), [&](uint32_t t, uint32_t) {
    const uint64_t at = static_cast<uint64_t>(t) * n.width;
    for (uint32_t c = 0; c < n.width; ++c) {
      const double u = a[at + c];
      double r = u;
      switch (n.op) {
        case MRT_OP_ACT: r = activate(n.a.act, u); break;
        case MRT_OP_GATE: r = activate(n.a.act, u) * b[at + c]; break;
        case MRT_OP_ADD: r = u + b[at + c]; break;
        case MRT_OP_SCALE: r = u * n.a.scale * (w == nullptr ? 1.0 : w[c]); break;
        default: r = n.a.softcap * std::tanh(u / n.a.softcap); break;
      }
      y[at + c] = static_cast<float>(r);
    }
  });
}

void Runner::moe(const PlanNode& n, float* y) noexcept {
  spread(static_cast<uint32_t>(rows_of(n.rows)),
         [&](uint32_t t, uint32_t worker) { moe_row(n, t, workers_[worker], y + static_cast<uint64_t>(t) * n.width); });
}

void Runner::moe_row(const PlanNode& n, uint64_t t, const Worker& w, float* y) const noexcept {
  const float* x = value(n.args[0]) + t * n.width;
  const PlanWeight &gate = model_->weight(n.args[2]), &up = model_->weight(n.args[3]),
                   &down = model_->weight(n.args[4]);
  const uint64_t inner = gate.dims[1];
  double* weights = w.numbers + n.a.experts;
  double* sums = weights + n.a.top_k;
  choose_experts(value(n.args[1]) + t * n.a.experts, model_->vector(n, 5), n.a, w.numbers, w.ids, weights);
  std::fill(sums, sums + n.width, 0.0);
  for (uint32_t k = 0; k < n.a.top_k; ++k) {
    const uint64_t expert = w.ids[k];
    for (uint64_t o = 0; o < inner; ++o) {
      dequantise_row(gate.type, model_->row(n.args[2], expert * inner + o), w.row, gate.cols);
      const double g = activate(n.a.act, static_cast<float>(dot(x, w.row, gate.cols)));
      dequantise_row(up.type, model_->row(n.args[3], expert * inner + o), w.row, up.cols);
      w.inner[o] = static_cast<float>(g * static_cast<float>(dot(x, w.row, up.cols)));
    }
    for (uint32_t o = 0; o < n.width; ++o) {
      dequantise_row(down.type, model_->row(n.args[4], expert * n.width + o), w.row, down.cols);
      sums[o] += weights[k] * dot(w.inner, w.row, inner);
    }
  }
  for (uint32_t o = 0; o < n.width; ++o) y[o] = static_cast<float>(sums[o]);
}

void Runner::select_rows(const PlanNode& n, float* y) noexcept {
  const float* x = value(n.args[0]);
  for (uint32_t r = 0; r < step_->n_rows; ++r) {
    std::memcpy(y + static_cast<uint64_t>(r) * n.width, x + static_cast<uint64_t>(staging_->rows[r]) * n.width,
                n.width * sizeof(float));
  }
}

void Runner::pool_rows(const PlanNode& n, float* y) noexcept {
  const float* x = value(n.args[0]);
  for (uint32_t s = 0; s < step_->n_seqs; ++s) {
    const uint64_t first = staging_->seq_first[s], tokens = staging_->seq_tokens[s];
    for (uint32_t c = 0; c < n.width; ++c) {
      double r = 0.0;
      if (n.a.pool == 1) {
        for (uint64_t t = first; t < first + tokens; ++t) r += x[t * n.width + c];
        r /= static_cast<double>(tokens);
      } else {
        r = x[(n.a.pool == 0 ? first : first + tokens - 1) * n.width + c];
      }
      y[static_cast<uint64_t>(s) * n.width + c] = static_cast<float>(r);
    }
  }
}

}  // namespace merritt::plugin::reference
