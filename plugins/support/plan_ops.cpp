// SPDX-License-Identifier: Apache-2.0
// The shape rules of each op: what its arguments are, and what rows and width the result has.
#include "support/plan_ops.hpp"

#include <algorithm>

namespace merritt::plugin {
namespace {

// One node under check: its arguments by position, with the texts of refusal.
class NodeCheck {
 public:
  NodeCheck(Plan* plan, uint32_t i, mrt_error* err) noexcept
      : plan_(*plan), node_(plan->nodes[i]), i_(i), err_(err), name_(op_name(node_.op)) {}

  int32_t run() noexcept;

 private:
  template <class... A>
  int32_t refuse(const char* format, A... args) const noexcept {
    if constexpr (sizeof...(A) == 0) {
      return refuse_node(err_, MRT_INVALID_ARGUMENT, i_, "%s", format);
    } else {
      return refuse_node(err_, MRT_INVALID_ARGUMENT, i_, format, args...);
    }
  }
  // A row argument: a node, or the hidden rows of the step. width 0 = any width (hidden rows take the node's own).
  int32_t rows_arg(uint32_t k, uint32_t hidden_width, uint32_t* width, uint16_t* rows) noexcept {
    const Ref r = node_.args[k];
    if (r.is_node()) {
      *width = plan_.nodes[r.index].width;
      *rows = plan_.nodes[r.index].rows;
      return MRT_OK;
    }
    if (r.kind != RefKind::kInput || r.index != MRT_IN_HIDDEN) {
      return refuse("%s argument %u must be a node or the hidden input", name_, k);
    }
    if (plan_.hidden_width != 0 && plan_.hidden_width != hidden_width) {
      return refuse("the hidden input is %u wide here and %u elsewhere", hidden_width, plan_.hidden_width);
    }
    plan_.reads_hidden = true;
    plan_.hidden_width = hidden_width;
    *width = hidden_width;
    *rows = MRT_ROWS_TOKENS;
    return MRT_OK;
  }
  // A row argument as wide as the result, with rows of the same kind.
  int32_t same_rows(uint32_t k) noexcept {
    uint32_t width = 0;
    uint16_t rows = 0;
    MERRITT_PLUGIN_TRY(rows_arg(k, node_.width, &width, &rows));
    if (width != node_.width) return refuse("%s argument %u is %u wide, the result %u", name_, k, width, node_.width);
    if (rows != node_.rows) return refuse("%s argument %u has rows of another kind than the result", name_, k);
    return MRT_OK;
  }
  bool given(uint32_t k) const noexcept { return k < node_.n_args && !node_.args[k].is_none(); }
  // A weight of exactly these dimensions; 0 = any.
  int32_t weight_arg(uint32_t k, uint64_t d0, uint64_t d1, uint64_t d2) const noexcept {
    if (!given(k) || !node_.args[k].is_weight()) return refuse("%s argument %u must be a weight", name_, k);
    const PlanWeight& w = plan_.weights[node_.args[k].index];
    const uint64_t want[3] = {d0, d1, d2};
    for (uint32_t d = 0; d < 3; ++d) {
      if (want[d] != 0 && w.dims[d] != want[d]) {
        return refuse("%s weight %u (%.60s): dimension %u is %llu, not %llu", name_, node_.args[k].index,
                      w.name.c_str(), d, static_cast<unsigned long long>(w.dims[d]),
                      static_cast<unsigned long long>(want[d]));
      }
    }
    if (w.dims[3] != 1) return refuse("%s weight %u has four dimensions", name_, node_.args[k].index);
    return MRT_OK;
  }
  int32_t optional_vector(uint32_t k, uint64_t n) const noexcept { return given(k) ? weight_arg(k, n, 1, 1) : MRT_OK; }

  int32_t embed() noexcept;
  int32_t linear() noexcept;
  int32_t norm() noexcept;
  int32_t rope() noexcept;
  int32_t attention() noexcept;
  int32_t attention_cache() noexcept;
  int32_t two_rows() noexcept;
  int32_t scale() noexcept;
  int32_t softcap() noexcept;
  int32_t moe() noexcept;
  int32_t gather(uint16_t result) noexcept;

  Plan& plan_;
  PlanNode& node_;
  uint32_t i_;
  mrt_error* err_;
  const char* name_;
};

int32_t NodeCheck::embed() noexcept {
  const Ref ids = node_.args[0];
  if (ids.kind != RefKind::kInput || ids.index == MRT_IN_HIDDEN)
    return refuse("embed argument 0 must be an input of ids");
  if (node_.rows != MRT_ROWS_TOKENS) return refuse("embed makes one row per token");
  MERRITT_PLUGIN_TRY(weight_arg(1, node_.width, 0, 1));
  const uint64_t rows = plan_.weights[node_.args[1].index].dims[1];
  const uint32_t limit = static_cast<uint32_t>(std::min<uint64_t>(rows, UINT32_MAX - 1));
  if (ids.index == MRT_IN_TOKENS) {
    plan_.reads_tokens = true;
    plan_.token_limit = std::min(plan_.token_limit, limit);
  } else if (ids.index == MRT_IN_POSITIONS) {
    plan_.reads_positions = true;
    plan_.position_limit = std::min(plan_.position_limit, limit);
  } else {
    plan_.reads_types = true;
    plan_.type_limit = std::min(plan_.type_limit, limit);
  }
  return MRT_OK;
}

int32_t NodeCheck::linear() noexcept {
  MERRITT_PLUGIN_TRY(weight_arg(1, 0, node_.width, 1));
  const uint64_t in = plan_.weights[node_.args[1].index].cols;
  if (in > (1u << 24)) return refuse("linear input of %llu columns is too wide", static_cast<unsigned long long>(in));
  uint32_t width = 0;
  uint16_t rows = 0;
  MERRITT_PLUGIN_TRY(rows_arg(0, static_cast<uint32_t>(in), &width, &rows));
  if (width != in)
    return refuse("linear input is %u wide, its weight takes %llu", width, static_cast<unsigned long long>(in));
  if (rows != node_.rows) return refuse("linear input has rows of another kind than the result");
  return optional_vector(2, node_.width);
}

int32_t NodeCheck::norm() noexcept {
  MERRITT_PLUGIN_TRY(same_rows(0));
  const uint32_t head = node_.a.head_dim == 0 ? node_.width : node_.a.head_dim;
  if (node_.width % head != 0) return refuse("%s head_dim %u does not divide the width %u", name_, head, node_.width);
  if (node_.a.eps < 0) return refuse("%s eps is negative", name_);
  for (uint32_t k = 1; k < node_.n_args; ++k) {
    if (!given(k)) continue;
    MERRITT_PLUGIN_TRY(weight_arg(k, 0, 0, 1));
    const PlanWeight& w = plan_.weights[node_.args[k].index];
    const uint64_t n = w.cols * w.rows;  // per-head weights may be stored as [heads, head_dim]
    if (n != head && n != node_.width) {
      return refuse("%s weight has %llu values, not %u or %u", name_, static_cast<unsigned long long>(n), head,
                    node_.width);
    }
  }
  node_.a.head_dim = head;
  return MRT_OK;
}

int32_t NodeCheck::rope() noexcept {
  Attributes& a = node_.a;
  MERRITT_PLUGIN_TRY(same_rows(0));
  if (node_.rows != MRT_ROWS_TOKENS) return refuse("rope works on rows per token");
  if (node_.args[1].kind != RefKind::kInput || node_.args[1].index != MRT_IN_POSITIONS) {
    return refuse("rope argument 1 must be the positions input");
  }
  plan_.reads_positions = true;
  if (a.head_dim == 0 || node_.width % a.head_dim != 0) {
    return refuse("rope head_dim %u does not divide the width %u", a.head_dim, node_.width);
  }
  if (a.rot_dim == 0) a.rot_dim = a.head_dim;
  if (a.rot_dim > a.head_dim || a.rot_dim % 2 != 0)
    return refuse("rope rot_dim %u is odd or above head_dim", a.rot_dim);
  if (a.base <= 1) return refuse("rope base must be above 1");
  if (a.scaling != 0 && a.factor <= 0) return refuse("rope scaling needs a factor above 0");
  if (a.scaling == 2 && (a.orig_ctx == 0 || a.beta_fast <= 0 || a.beta_slow <= 0)) {
    return refuse("rope scaling yarn needs orig_ctx, beta_fast and beta_slow");
  }
  if (a.scaling == 0 && a.factor != 0) return refuse("rope factor without scaling");
  return optional_vector(2, a.rot_dim / 2);
}

int32_t NodeCheck::attention() noexcept {
  Attributes& a = node_.a;
  if (node_.rows != MRT_ROWS_TOKENS) return refuse("attention works on rows per token");
  if (a.heads == 0 || a.kv_heads == 0 || a.head_dim == 0) return refuse("attention needs heads, kv_heads and head_dim");
  if (a.heads % a.kv_heads != 0)
    return refuse("attention heads %u is not a multiple of kv_heads %u", a.heads, a.kv_heads);
  if (a.v_dim == 0) a.v_dim = a.head_dim;
  if (node_.width != static_cast<uint64_t>(a.heads) * a.v_dim) return refuse("attention width is not heads x v_dim");
  if (a.softcap < 0) return refuse("attention softcap is negative");
  uint32_t width = 0;
  uint16_t rows = 0;
  MERRITT_PLUGIN_TRY(rows_arg(0, a.heads * a.head_dim, &width, &rows));
  if (width != static_cast<uint64_t>(a.heads) * a.head_dim) return refuse("attention q is not heads x head_dim wide");
  if (rows != MRT_ROWS_TOKENS) return refuse("attention q has no rows per token");
  if (given(1) != given(2)) return refuse("attention has k without v, or v without k");
  if (given(1)) {
    const uint64_t want[2] = {static_cast<uint64_t>(a.kv_heads) * a.head_dim,
                              static_cast<uint64_t>(a.kv_heads) * a.v_dim};
    for (uint32_t k = 1; k < 3; ++k) {
      MERRITT_PLUGIN_TRY(rows_arg(k, static_cast<uint32_t>(want[k - 1]), &width, &rows));
      if (width != want[k - 1])
        return refuse("attention %s is %u wide, not %llu", k == 1 ? "k" : "v", width,
                      static_cast<unsigned long long>(want[k - 1]));
      if (rows != MRT_ROWS_TOKENS) return refuse("attention k or v has no rows per token");
    }
  }
  MERRITT_PLUGIN_TRY(optional_vector(3, a.heads));
  return attention_cache();
}

int32_t NodeCheck::attention_cache() noexcept {
  const Attributes& a = node_.a;
  if (a.kv_layer == kNoLayer) {
    if (!given(1)) return refuse("attention without kv_layer needs k and v");
    plan_.whole_sequence = true;
    return MRT_OK;
  }
  if (a.mask != 0) return refuse("cached attention must be causal: drop kv_layer or the mask");
  node_.caches = given(1);
  const PlanNode* writer = nullptr;
  for (uint32_t j = 0; j < i_; ++j) {
    const PlanNode& n = plan_.nodes[j];
    if (n.op == MRT_OP_ATTENTION && n.caches && n.a.kv_layer == a.kv_layer) writer = &n;
  }
  if (node_.caches) {
    return writer == nullptr ? MRT_OK : refuse("kv_layer %u is cached by an earlier node too", a.kv_layer);
  }
  if (writer == nullptr) return refuse("attention reads kv_layer %u, which no earlier node caches", a.kv_layer);
  if (writer->a.window != a.window || writer->a.kv_heads != a.kv_heads || writer->a.head_dim != a.head_dim ||
      writer->a.v_dim != a.v_dim) {
    return refuse("attention reads kv_layer %u with another window or shape than it was cached with", a.kv_layer);
  }
  return MRT_OK;
}

int32_t NodeCheck::two_rows() noexcept {
  MERRITT_PLUGIN_TRY(same_rows(0));
  return node_.n_args > 1 ? same_rows(1) : MRT_OK;
}

int32_t NodeCheck::scale() noexcept {
  MERRITT_PLUGIN_TRY(same_rows(0));
  return optional_vector(1, node_.width);
}

int32_t NodeCheck::softcap() noexcept {
  if (node_.a.softcap <= 0) return refuse("softcap must be above 0");
  return same_rows(0);
}

int32_t NodeCheck::moe() noexcept {
  const Attributes& a = node_.a;
  MERRITT_PLUGIN_TRY(same_rows(0));
  if (a.experts == 0 || a.top_k == 0 || a.top_k > a.experts) {
    return refuse("moe top_k %u of %u experts is not possible", a.top_k, a.experts);
  }
  uint32_t width = 0;
  uint16_t rows = 0;
  if (!node_.args[1].is_node()) return refuse("moe argument 1 must be the node of the router's logits");
  MERRITT_PLUGIN_TRY(rows_arg(1, a.experts, &width, &rows));
  if (width != a.experts || rows != node_.rows)
    return refuse("moe router is %u wide, not %u experts", width, a.experts);
  MERRITT_PLUGIN_TRY(weight_arg(2, node_.width, 0, a.experts));
  const uint64_t inner = plan_.weights[node_.args[2].index].dims[1];
  if (inner > (1u << 24)) return refuse("moe inner width is too large");
  MERRITT_PLUGIN_TRY(weight_arg(3, node_.width, inner, a.experts));
  MERRITT_PLUGIN_TRY(weight_arg(4, inner, node_.width, a.experts));
  return optional_vector(5, a.experts);
}

int32_t NodeCheck::gather(uint16_t result) noexcept {
  uint32_t width = 0;
  uint16_t rows = 0;
  MERRITT_PLUGIN_TRY(rows_arg(0, node_.width, &width, &rows));
  if (width != node_.width) return refuse("%s input is %u wide, the result %u", name_, width, node_.width);
  if (rows != MRT_ROWS_TOKENS || node_.rows != result)
    return refuse("%s: the rows kinds of input or result are wrong", name_);
  if (result == MRT_ROWS_SEQS) plan_.whole_sequence = true;
  return MRT_OK;
}

int32_t NodeCheck::run() noexcept {
  switch (node_.op) {
    case MRT_OP_EMBED: return embed();
    case MRT_OP_LINEAR: return linear();
    case MRT_OP_RMS_NORM:
    case MRT_OP_LAYER_NORM: return norm();
    case MRT_OP_ROPE: return rope();
    case MRT_OP_ATTENTION: return attention();
    case MRT_OP_ACT:
    case MRT_OP_GATE:
    case MRT_OP_ADD: return two_rows();
    case MRT_OP_SCALE: return scale();
    case MRT_OP_SOFTCAP: return softcap();
    case MRT_OP_MOE: return moe();
    case MRT_OP_SELECT_ROWS: return gather(MRT_ROWS_WANTED);
    case MRT_OP_POOL: return gather(MRT_ROWS_SEQS);
    default: return refuse_node(err_, MRT_UNSUPPORTED, i_, "op %u is not known", node_.op);
  }
}

}  // namespace

int32_t check_node(Plan* plan, uint32_t i, mrt_error* err) noexcept { return NodeCheck(plan, i, err).run(); }

int32_t derive_groups(Plan* plan, mrt_error* err) {
  for (uint32_t i = 0; i < plan->nodes.size(); ++i) {
    PlanNode& n = plan->nodes[i];
    if (n.op != MRT_OP_ATTENTION || n.a.kv_layer == kNoLayer) continue;
    uint32_t g = 0;
    while (g < plan->groups.size() && plan->groups[g].window != n.a.window) ++g;
    if (g == plan->groups.size()) {
      if (g == MRT_MAX_GROUPS) {
        return refuse_node(err, MRT_UNSUPPORTED, i, "window %u is the fifth different one; at most %u groups",
                           n.a.window, static_cast<uint32_t>(MRT_MAX_GROUPS));
      }
      plan->groups.push_back({n.a.window, {}});
    }
    n.group = g;
    if (n.caches) {
      n.group_layer = static_cast<uint32_t>(plan->groups[g].layers.size());
      plan->groups[g].layers.push_back(static_cast<uint32_t>(plan->kv_layers.size()));
      plan->kv_layers.push_back({n.a.kv_layer, i, g, n.group_layer, n.a.kv_heads, n.a.head_dim, n.a.v_dim});
    } else {
      for (const KvLayer& layer : plan->kv_layers) {
        if (layer.kv_layer == n.a.kv_layer) n.group_layer = layer.group_layer;
      }
    }
  }
  return MRT_OK;
}

void derive_uses(Plan* plan) {
  auto& nodes = plan->nodes;
  const uint32_t n = static_cast<uint32_t>(nodes.size());
  for (uint32_t i = 0; i < n; ++i) nodes[i].last_use = i;
  for (uint32_t o = 0; o < plan->outputs.size(); ++o) {
    nodes[plan->outputs[o]].needed_by |= 1u << o;
    nodes[plan->outputs[o]].last_use = n;
  }
  for (uint32_t i = n; i-- > 0;) {
    PlanNode& node = nodes[i];
    for (uint32_t k = 0; k < node.n_args; ++k) {
      if (!node.args[k].is_node()) continue;
      PlanNode& from = nodes[node.args[k].index];
      from.needed_by |= node.needed_by;
      if (node.caches && (k == 1 || k == 2)) from.needed_by |= kNeededByCache;
      from.last_use = std::max(from.last_use, i);
    }
  }
}

}  // namespace merritt::plugin
