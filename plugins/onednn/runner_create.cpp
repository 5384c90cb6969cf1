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

// Queries of a KV head that a task of GENERATED rows, or one in f32, takes: what shares a read of the cache.
constexpr uint32_t kQueries = 64;
// And one of PROMPT rows in bf16: panels are made for every task, so more of them share one.
constexpr uint32_t kPromptQueries = 256;
// Partial results beside those of the longest sequence.
constexpr uint32_t kSpareSegments = 128;

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
  MERRITT_PLUGIN_TRY(take_attention(err));
  MERRITT_PLUGIN_TRY(take_workers(err));
  return take_hot(err);
}

// How blocks are cut, what the nodes see, and room for the partial results of the blocks that workers share: enough for
// one sequence of the longest context, and some more.
int32_t Runner::take_attention(mrt_error* err) {
  const KvGeometry* pages = pool_ == nullptr ? nullptr : &pool_->geometry();
  uint32_t longest = 0, most_ops = 0;
  uint64_t floats = 0;
  const bool bf16 = !model_->attention_kernels().empty();
  prompt_tokens_ = generated_tokens_ = kSegmentTokens;
  prompt_heads_ = UINT32_MAX;
  for (const Phase& phase : model_->schedule().phases) {
    if (phase.kind != PhaseKind::kAttention) continue;
    most_ops = std::max(most_ops, static_cast<uint32_t>(phase.attention_ops.size()));
    for (const AttentionOp& op : phase.attention_ops) {
      const PlanNode& n = model_->plan().nodes[op.node];
      const uint32_t share = n.a.heads / n.a.kv_heads;
      generated_tokens_ = std::min(generated_tokens_, std::clamp(kQueries / share, 1u, 16u));
      prompt_tokens_ = bf16 ? std::min(prompt_tokens_, std::max(kPromptQueries / share, 1u)) : generated_tokens_;
      const bool opens = pool_ != nullptr && pool_->has_opener();
      prompt_heads_ = std::min(prompt_heads_, opens ? 1 : n.a.kv_heads);
      const bool cached = n.a.kv_layer != kNoLayer;
      const auto same = [&](const Visibility& v) {
        return v.window == n.a.window && v.mask == n.a.mask && v.cached == cached;
      };
      if (std::none_of(visibility_.begin(), visibility_.end(), same)) {
        visibility_.push_back({n.a.window, n.a.mask, cached, {}, {}, 0, 0});
      }
      if (!cached) continue;
      const uint64_t tokens = static_cast<uint64_t>(policy_.max_pages[n.group]) * pages->page_tokens;
      longest = std::max(longest, static_cast<uint32_t>(tokens / kSegmentTokens) + 2);
      floats = std::max(floats, static_cast<uint64_t>(n.a.heads) * (padded_dim(n.a.v_dim) + 2));
    }
  }
  partial_floats_ = static_cast<uint32_t>((floats + 15) / 16 * 16);
  n_partials_ = longest == 0 ? 0 : longest + kSpareSegments;
  for (Visibility& v : visibility_) {
    v.pieces.resize(2ull * policy_.max_tokens + n_partials_);
    v.split.resize(n_partials_);
  }
  return partials_.take(host_, MRT_MEM_SCRATCH, 4ull * most_ops * n_partials_ * partial_floats_,
                        "partial results of attention", err);
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
  const auto bytes_of = [&](uint32_t v) {
    const uint64_t rows = max_rows_of(values[v].rows, policy_);
    return rounded(values[v].row_bytes * (values[v].bands ? (rows + kTileRows - 1) / kTileRows * kTileRows : rows));
  };
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
    c.cut(&blocks_, p.max_tokens);
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
  const bool opens = pool_ != nullptr && pool_->has_opener(), bf16 = !model_->attention_kernels().empty();
  uint64_t inputs = 32, generated = 1, prompt = 1, per_head = 1, q_dim = 1, v_dim = 16;
  for (const Phase& phase : model_->schedule().phases) {
    for (const AttentionOp& op : phase.attention_ops) {
      const Attributes& a = model_->plan().nodes[op.node].a;
      const uint64_t share = a.heads / a.kv_heads;
      generated = std::max<uint64_t>(generated, static_cast<uint64_t>(generated_tokens_) * a.heads);
      prompt = std::max<uint64_t>(prompt, prompt_tokens_ * (opens ? a.heads : share));
      per_head = std::max(per_head, std::max(generated_tokens_, prompt_tokens_) * share);
      q_dim = std::max<uint64_t>(q_dim, a.head_dim);
      v_dim = std::max<uint64_t>(v_dim, (a.v_dim + kPanelColumns - 1) / kPanelColumns * kPanelColumns);
    }
  }
  for (uint32_t m = 0; m < model_->schedule().matrices.size(); ++m) inputs = std::max(inputs, model_->matrix(m).padded);
  const uint64_t tile_rows =
      model_->in_tiles() ? (std::min(policy_.max_tokens, kTileProductRows) + kTileRows - 1) / kTileRows * kTileRows
                         : kRowBlock;
  n_open_ = opens ? kSegmentTokens / pool_->geometry().page_tokens + 2 : 0;
  workers_.resize(host_->n_workers());
  uint64_t bytes = 0;
  for (const bool measure : {true, false}) {
    if (!measure) MERRITT_PLUGIN_TRY(scratch_.take(host_, MRT_MEM_SCRATCH, bytes, "worker scratch", err, 4096));
    Cutter c(measure ? nullptr : scratch_.data());
    const auto cut_running = [&](Running* r, uint64_t rows) {
      c.cut(&r->max, rows);
      c.cut(&r->sum, rows);
      c.cut(&r->acc, rows * v_dim);
    };
    for (Worker& w : workers_) {
      c.cut(&w.panel, inputs * kPanelColumns * sizeof(float));
      c.cut(&w.kernel_scratch, model_->kernel_scratch_bytes() + 64);
      c.cut(&w.tile, tile_rows * (model_->in_tiles() ? kTileProductGroups * kLanes : kPanelColumns));
      c.cut(&w.q, std::max(generated, bf16 ? 1 : prompt) * q_dim);
      cut_running(&w.sum, std::max(generated, prompt));
      cut_running(&w.segment, generated);
      c.cut(&w.scores, per_head * kTileTokens);
      if (bf16) {
        const uint32_t padded = bf16_dim(static_cast<uint32_t>(q_dim));
        c.cut(&w.q_bf16, prompt * padded);
        c.cut(&w.keys, static_cast<uint64_t>(kPromptTile) * padded);
        c.cut(&w.values, kPromptTile * v_dim);
        c.cut(&w.weights, static_cast<uint64_t>(kRowBlock) * kPromptTile);
        c.cut(&w.prompt_scores, static_cast<uint64_t>(kRowBlock) * kPromptTile);
      }
      c.cut(&w.lo, per_head);
      c.cut(&w.hi, per_head);
      c.cut(&w.out, policy_.max_tokens);
      c.cut(&w.open, n_open_);
    }
    bytes = c.bytes();
  }
  q_dim_ = q_dim;
  v_dim_ = v_dim;
  return MRT_OK;
}

// Memory for plain copies of cache pages.
int32_t Runner::take_hot(mrt_error* err) {
  uint64_t plane = 0;
  for (uint32_t g = 0; n_open_ != 0 && g < pool_->geometry().n_groups; ++g) {
    plane = std::max(plane, pool_->geometry().group[g].plane_bytes);
  }
  const bool gathers = pool_ != nullptr && !is_tiled(pool_->geometry().page_tokens);
  const uint64_t gathered = gathers ? rounded(kSegmentTokens * (q_dim_ + v_dim_) * sizeof(float)) : 0;
  const uint64_t opened = 2 * plane * n_open_, share = opened + gathered;
  MERRITT_PLUGIN_TRY(hot_.take(host_, MRT_MEM_KV_HOT, share * workers_.size(), "opened pages", err));
  for (uint64_t i = 0; i < workers_.size() && hot_.data() != nullptr; ++i) {
    workers_[i].hot = hot_.data() + i * share;
    workers_[i].hot_bytes = plane;
    workers_[i].gathered = workers_[i].hot + opened;
    workers_[i].gathered_bytes = gathered;
  }
  return MRT_OK;
}

}  // namespace merritt::onednn
