// SPDX-License-Identifier: Apache-2.0
// Everything a step will need, taken once: rows of values (sharing memory where their lives do not meet), the maps of
// rows and sequences, and each worker's scratch.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "onednn/layout.hpp"
#include "onednn/runner.hpp"

namespace merritt::onednn {
namespace {
using namespace plugin;

uint64_t rounded(uint64_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

// Cuts arrays from one block: a first pass with a null base measures.
class Cutter {
 public:
  explicit Cutter(uint8_t* base) noexcept : base_(base) {}
  template <class T>
  void cut(T** to, uint64_t count) noexcept {
    *to = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at_);
    at_ += rounded(count * sizeof(T));
  }
  uint64_t bytes() const noexcept { return at_; }

 private:
  uint8_t* base_;
  uint64_t at_ = 0;
};

// The angle per position of each rotated pair.
std::vector<double> frequencies(const Attributes& a, const float* factors) {
  const uint32_t pairs = a.rot_dim / 2;
  const double rot = a.rot_dim;
  // yarn: pairs that turn often within the original context keep their angle, slow ones are stretched, a ramp between.
  const auto pair_of = [&](double turns) {
    return rot * std::log(a.orig_ctx / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(a.base));
  };
  const double low = a.scaling == 2 ? std::max(0.0, std::floor(pair_of(a.beta_fast))) : 0.0;
  const double high = a.scaling == 2 ? std::min(rot - 1.0, std::ceil(pair_of(a.beta_slow))) : 0.0;
  std::vector<double> out(pairs);
  for (uint32_t i = 0; i < pairs; ++i) {
    double angle = std::pow(a.base, -2.0 * i / rot);
    if (factors != nullptr) angle /= factors[i];
    if (a.scaling == 1) angle /= a.factor;
    if (a.scaling == 2) {
      const double ramp = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
      angle = angle / a.factor * ramp + angle * (1.0 - ramp);
    }
    out[i] = angle;
  }
  return out;
}

}  // namespace

int32_t Runner::create(const Model* model, Pool* pool, const mrt_program_policy& policy, Host* host, mrt_error* err) {
  model_ = model;
  k_ = model->isa().kernels;
  pool_ = pool;
  host_ = host;
  policy_ = policy;
  const Schedule& s = model->schedule();
  block_tokens_ = 16;
  for (const Phase& phase : s.phases) {
    for (const AttentionOp& op : phase.attention_ops) {
      block_tokens_ = std::min(block_tokens_, query_tokens(model->plan().nodes[op.node]));
    }
  }
  for (const AngleSet& set : s.angles) {
    const PlanNode& n = model->plan().nodes[set.node];
    const float* factors = nullptr;
    for (const Phase& phase : s.phases) {
      for (const RowOp& op : phase.row_ops) {
        if (op.kind == RowKind::kAngles && op.node == set.node) factors = model->vector(op.weight);
      }
    }
    frequencies_.push_back(frequencies(n.a, factors));
  }
  active_.resize(s.phases.size());
  tasks_.resize(s.phases.size());
  progress_ = std::vector<Progress>(s.phases.size());
  MERRITT_PLUGIN_TRY(take_values(err));
  MERRITT_PLUGIN_TRY(take_maps(err));
  return take_workers(err);
}

// First fit by time of life. The tail is slack: a matrix kernel reads up to the next power of two of rows.
int32_t Runner::take_values(mrt_error* err) {
  const auto& values = model_->schedule().values;
  value_at_.assign(values.size(), 0);
  uint64_t total = 0, slack = 0;
  std::vector<uint32_t> order;
  for (uint32_t v = 0; v < values.size(); ++v) {
    if (values[v].output == kNoValue) order.push_back(v);
    slack = std::max(slack, values[v].row_bytes * kRowBlock);
  }
  const auto bytes_of = [&](uint32_t v) { return rounded(values[v].row_bytes * max_rows_of(values[v].rows, policy_)); };
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return values[a].first < values[b].first; });
  std::vector<uint32_t> live;  // sorted by address
  for (const uint32_t v : order) {
    std::erase_if(live, [&](uint32_t l) { return values[l].last < values[v].first; });
    uint64_t at = 0;
    auto where = live.begin();
    for (; where != live.end(); ++where) {
      if (value_at_[*where] >= at + bytes_of(v)) break;
      at = std::max(at, value_at_[*where] + bytes_of(*where));
    }
    value_at_[v] = at;
    live.insert(std::find_if(live.begin(), live.end(), [&](uint32_t l) { return value_at_[l] > at; }), v);
    total = std::max(total, at + bytes_of(v));
  }
  return values_.take(host_, MRT_MEM_SCRATCH, total + slack, "activations", err, 4096);
}

int32_t Runner::take_maps(mrt_error* err) {
  const mrt_program_policy& p = policy_;
  uint64_t bytes = 0;
  for (const bool measure : {true, false}) {
    if (!measure) MERRITT_PLUGIN_TRY(maps_.take(host_, MRT_MEM_SCRATCH, bytes, "row maps", err));
    Cutter c(measure ? nullptr : maps_.data());
    c.cut(&token_of_, p.max_tokens);
    c.cut(&row_of_, p.max_tokens);
    c.cut(&seq_of_, p.max_tokens);
    c.cut(&wanted_from_, p.max_tokens);
    c.cut(&wanted_out_, p.max_tokens);
    c.cut(&seq_order_, p.max_seqs);
    c.cut(&local_first_, p.max_seqs);
    c.cut(&blocks_, static_cast<uint64_t>(p.max_tokens) + p.max_seqs);
    bytes = c.bytes();
  }
  const auto& local = model_->schedule().local;
  if (local.empty()) return MRT_OK;
  local_tokens_ = (p.max_tokens + kTileTokens - 1) / kTileTokens * kTileTokens + kTileTokens * p.max_seqs;
  uint64_t total = 0;
  for (const LocalKv& l : local) {
    local_k_.push_back(total);
    total += static_cast<uint64_t>(l.kv_heads) * local_tokens_ * l.k_dim * 4;
    local_v_.push_back(total);
    total += static_cast<uint64_t>(l.kv_heads) * local_tokens_ * padded_dim(l.v_dim) * 4;
  }
  return local_.take(host_, MRT_MEM_SCRATCH, total, "keys and values of the step", err);
}

int32_t Runner::take_workers(mrt_error* err) {
  uint64_t inputs = 32, queries = 8, q_dim = 1, v_dim = 16, plane = 0;
  for (const Phase& phase : model_->schedule().phases) {
    for (const AttentionOp& op : phase.attention_ops) {
      const Attributes& a = model_->plan().nodes[op.node].a;
      queries =
          std::max<uint64_t>(queries, (a.heads / a.kv_heads * query_tokens(model_->plan().nodes[op.node]) + 7) / 8 * 8);
      q_dim = std::max<uint64_t>(q_dim, a.head_dim);
      v_dim = std::max<uint64_t>(v_dim, padded_dim(a.v_dim));
    }
  }
  for (uint32_t m = 0; m < model_->schedule().matrices.size(); ++m) inputs = std::max(inputs, model_->matrix(m).padded);
  for (uint32_t g = 0; pool_ != nullptr && pool_->has_opener() && g < pool_->geometry().n_groups; ++g) {
    plane = std::max(plane, pool_->geometry().group[g].plane_bytes);
  }
  workers_.resize(host_->n_workers());
  uint64_t bytes = 0;
  for (const bool measure : {true, false}) {
    if (!measure) MERRITT_PLUGIN_TRY(scratch_.take(host_, MRT_MEM_SCRATCH, bytes, "worker scratch", err, 4096));
    Cutter c(measure ? nullptr : scratch_.data());
    for (Worker& w : workers_) {
      c.cut(&w.panel, inputs * kPanelColumns * sizeof(float));
      c.cut(&w.kernel_scratch, model_->kernel_scratch_bytes() + 64);
      c.cut(&w.tile, static_cast<uint64_t>(kRowBlock) * kPanelColumns);
      c.cut(&w.q, queries * q_dim);
      c.cut(&w.max, queries);
      c.cut(&w.sum, queries);
      c.cut(&w.acc, queries * v_dim);
      c.cut(&w.scores, queries * kTileTokens);
      c.cut(&w.lo, queries);
      c.cut(&w.hi, queries);
      c.cut(&w.out, policy_.max_tokens);
    }
    bytes = c.bytes();
  }
  const bool gathers = pool_ != nullptr && !is_tiled(pool_->geometry().page_tokens);
  const uint64_t gathered = gathers ? rounded(kTileTokens * (q_dim + v_dim) * sizeof(float)) : 0;
  const uint64_t share = plane * 8 + gathered;
  MERRITT_PLUGIN_TRY(hot_.take(host_, MRT_MEM_KV_HOT, share * workers_.size(), "opened pages", err));
  for (uint64_t i = 0; i < workers_.size() && hot_.data() != nullptr; ++i) {
    workers_[i].hot = hot_.data() + i * share;
    workers_[i].hot_bytes = plane;
    workers_[i].gathered = workers_[i].hot + plane * 8;
    workers_[i].gathered_bytes = gathered;
  }
  return MRT_OK;
}

}  // namespace merritt::onednn
