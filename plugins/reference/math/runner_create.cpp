// SPDX-License-Identifier: Apache-2.0
// Everything a step needs, taken once: buffers of results by their life span, scratch of each worker, rope angles.
#include <algorithm>

#include "reference/math/attention.hpp"
#include "reference/math/rows.hpp"
#include "reference/math/runner.hpp"

namespace merritt::plugin::reference {
namespace {

constexpr uint64_t kOutput = UINT64_MAX;

struct Live {
  uint64_t offset, bytes;
  uint32_t last_use;
};

// First gap that fits between what is still alive at node i; `live` is sorted by offset.
uint64_t place_buffer(std::vector<Live>* live, uint32_t i, uint64_t bytes, uint32_t last_use) {
  std::erase_if(*live, [&](const Live& l) { return l.last_use < i; });
  uint64_t at = 0;
  auto it = live->begin();
  for (; it != live->end() && it->offset < at + bytes; ++it) at = it->offset + it->bytes;
  live->insert(it, {at, bytes, last_use});
  return at;
}

class Cutter {
 public:
  explicit Cutter(uint8_t* base) : base_(base) {}
  template <class T>
  T* cut(uint64_t n) {
    T* p = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at_);
    at_ += (n * sizeof(T) + 63) / 64 * 64;
    return p;
  }
  uint64_t bytes() const { return at_; }

 private:
  uint8_t* base_;
  uint64_t at_ = 0;
};

struct Widths {
  uint64_t inner = 0, numbers = 0, ids = 0, attention = 0, kv_row = 0, planes = 0;
};

Widths measure(const Plan& plan, const Pool* pool) {
  Widths w;
  for (const PlanNode& n : plan.nodes) {
    const Attributes& a = n.a;
    if (n.op == MRT_OP_ROPE) w.numbers = std::max<uint64_t>(w.numbers, a.rot_dim);
    if (n.op == MRT_OP_MOE) {
      w.inner = std::max(w.inner, plan.weights[n.args[2].index].dims[1]);
      w.numbers = std::max<uint64_t>(w.numbers, static_cast<uint64_t>(a.experts) + a.top_k + n.width);
      w.ids = std::max<uint64_t>(w.ids, a.top_k);
    }
    if (n.op != MRT_OP_ATTENTION) continue;
    w.attention = std::max(w.attention, kQueryRows * a.heads * (uint64_t{2} + a.v_dim));
    w.kv_row = std::max(w.kv_row, static_cast<uint64_t>(a.kv_heads) * std::max(a.head_dim, a.v_dim));
    if (pool == nullptr || !pool->has_opener() || a.kv_layer == kNoLayer) continue;
    for (const bool is_v : {false, true}) {
      uint32_t first = 0, count = 0;
      pool->layout().planes(pool->geometry(), pool->operand(n, is_v), &first, &count);
      w.planes = std::max(w.planes, count * pool->geometry().group[n.group].plane_bytes);
    }
  }
  return w;
}

}  // namespace

uint64_t Runner::plan_buffers(const mrt_program_policy& policy) {
  const Plan& plan = model_->plan();
  value_at_.assign(plan.nodes.size(), kOutput);
  output_of_.assign(plan.nodes.size(), kNoIndex);
  for (uint32_t o = 0; o < plan.outputs.size(); ++o) output_of_[plan.outputs[o]] = o;
  std::vector<Live> live;
  uint64_t total = 0;
  for (uint32_t i = 0; i < plan.nodes.size(); ++i) {
    const PlanNode& n = plan.nodes[i];
    if (output_of_[i] != kNoIndex || n.needed_by == 0) continue;
    const uint64_t bytes = (static_cast<uint64_t>(n.width) * max_rows_of(n.rows, policy) * 4 + 63) / 64 * 64;
    value_at_[i] = place_buffer(&live, i, bytes, n.last_use);
    total = std::max(total, value_at_[i] + bytes);
  }
  return total;
}

int32_t Runner::take_workers(Memory* memory, mrt_error* err) {
  const Widths widths = measure(model_->plan(), pool_);
  workers_.assign(host_->n_workers(), {});
  const auto cut = [&](Cutter* c) {
    for (Worker& w : workers_) {
      w.row = c->cut<float>(model_->widest_row());
      w.inner = c->cut<float>(widths.inner);
      w.numbers = c->cut<double>(widths.numbers);
      w.ids = c->cut<uint32_t>(widths.ids);
      w.attention = c->cut<double>(widths.attention);
    }
  };
  // What is opened from a sealed page, and the rows decoded from it, live in hot memory.
  const auto cut_opened = [&](Cutter* c) {
    for (Worker& w : workers_) {
      w.opened_k = c->cut<uint8_t>(widths.planes);
      w.opened_v = c->cut<uint8_t>(widths.planes);
      w.k_row = c->cut<float>(widths.kv_row);
      w.v_row = c->cut<float>(widths.kv_row);
    }
  };
  Cutter size(nullptr), size_opened(nullptr);
  cut(&size);
  cut_opened(&size_opened);
  const bool sealed = pool_ != nullptr && pool_->has_opener();
  MERRITT_PLUGIN_TRY(scratch_.take(memory, MRT_MEM_SCRATCH, size.bytes(), "scratch", err));
  MERRITT_PLUGIN_TRY(opened_.take(memory, sealed ? MRT_MEM_KV_HOT : MRT_MEM_SCRATCH, size_opened.bytes(),
                                  "scratch for opened pages", err));
  Cutter real(scratch_.data()), real_opened(opened_.data());
  cut(&real);
  cut_opened(&real_opened);
  return MRT_OK;
}

int32_t Runner::create(const Model* model, Pool* pool, const mrt_program_policy& policy, const Host* host,
                       Memory* memory, mrt_error* err) {
  model_ = model;
  pool_ = pool;
  host_ = host;
  policy_ = policy;
  MERRITT_PLUGIN_TRY(values_.take(memory, MRT_MEM_SCRATCH, plan_buffers(policy), "activations", err));
  MERRITT_PLUGIN_TRY(take_workers(memory, err));
  const Plan& plan = model->plan();
  angles_at_.assign(plan.nodes.size(), 0);
  uint64_t angles = 0;
  for (uint32_t i = 0; i < plan.nodes.size(); ++i) {
    angles_at_[i] = angles;
    if (plan.nodes[i].op == MRT_OP_ROPE) angles += plan.nodes[i].a.rot_dim / 2;
  }
  MERRITT_PLUGIN_TRY(angles_.take(memory, MRT_MEM_SCRATCH, angles * sizeof(double), "rope angles", err));
  for (uint32_t i = 0; i < plan.nodes.size(); ++i) {
    const PlanNode& n = plan.nodes[i];
    if (n.op == MRT_OP_ROPE) rope_frequencies(n.a, model->vector(n, 2), angles_.as<double>() + angles_at_[i]);
  }
  const uint32_t most_blocks = policy.max_tokens / kQueryRows + policy.max_seqs;
  block_seq_.assign(most_blocks, 0);
  block_first_.assign(most_blocks, 0);
  return MRT_OK;
}

}  // namespace merritt::plugin::reference
