// SPDX-License-Identifier: Apache-2.0
// Shape rules of the ops. The backend checks again; here a mistake is reported with the line of the equation.
#include "model/graph/ops.hpp"

#include <cmath>
#include <string>

namespace merritt::model::graph {
namespace {

using Attributes = GraphBuilder::Attributes;

std::string n(uint64_t value) { return std::to_string(value); }

// The builder of an op, when its inputs can be used: all valid, of one graph, and nothing failed before.
GraphBuilder* usable(std::initializer_list<const Tensor*> inputs) {
  GraphBuilder* builder = (*inputs.begin())->builder;
  if (builder == nullptr || !builder->ok()) return nullptr;
  for (const Tensor* x : inputs) {
    if (x->valid() && x->builder == builder) continue;
    builder->fail(Status(Code::kInternal, "a tensor of another graph, or of none, is used"));
    return nullptr;
  }
  return builder;
}

// An op that failed hands on an invalid tensor of the same graph, so that the rest of the equations run through.
Tensor none(const Tensor& x) { return {x.builder, 0, 0, MRT_ROWS_TOKENS}; }

uint64_t elements(const Weight& w) { return w.dims[0] * w.dims[1] * w.dims[2] * w.dims[3]; }

Tensor norm(uint16_t op, const Tensor& x, const Weight& w, const Weight& b, const Norm& norm, Where where) {
  GraphBuilder* g = usable({&x});
  if (g == nullptr) return none(x);
  const uint32_t head = norm.head_dim == 0 ? x.width : norm.head_dim;
  if (x.width % head != 0) return g->fail_node(op, where, "heads of " + n(head) + " do not divide " + n(x.width));
  for (const Weight* weight : {&w, &b}) {
    if (*weight && elements(*weight) != head && elements(*weight) != x.width) {
      return g->fail_node(op, where, "a weight of " + n(elements(*weight)) + " for rows of " + n(x.width));
    }
  }
  if (!(norm.eps >= 0)) return g->fail_node(op, where, "eps is negative");
  Attributes a;
  a.real(MRT_A_EPS, norm.eps).integer(MRT_A_HEAD_DIM, norm.head_dim);
  if (op == MRT_OP_RMS_NORM) a.real(MRT_A_OFFSET, norm.offset);
  return g->add_node({op, x.rows, x.width, {MRT_REF_NODE(x.node), w.ref, b.ref}}, a, where);
}

Tensor attend(const Tensor& q, const Tensor* k, const Tensor* v, const Attention& at, const Weight& sinks,
              Where where) {
  constexpr uint16_t op = MRT_OP_ATTENTION;
  GraphBuilder* g = k == nullptr ? usable({&q}) : usable({&q, k, v});
  if (g == nullptr) return none(q);
  const uint64_t v_dim = at.v_dim == 0 ? at.head_dim : at.v_dim;
  if (at.heads == 0 || at.kv_heads == 0 || at.heads % at.kv_heads != 0) {
    return g->fail_node(op, where, n(at.heads) + " heads over " + n(at.kv_heads) + " KV heads");
  }
  if (q.width != uint64_t{at.heads} * at.head_dim) {
    return g->fail_node(op, where, "q is " + n(q.width) + " wide, not " + n(at.heads) + " x " + n(at.head_dim));
  }
  if (k != nullptr && (k->width != uint64_t{at.kv_heads} * at.head_dim || v->width != at.kv_heads * v_dim)) {
    return g->fail_node(op, where,
                        "k and v are " + n(k->width) + " and " + n(v->width) + " wide, not " + n(at.kv_heads) + " x " +
                            n(at.head_dim) + " and x " + n(v_dim));
  }
  if (at.bidirectional && at.kv_layer != Attention::kNoCache) {
    return g->fail_node(op, where, "attention over the cache is causal");
  }
  if (sinks && elements(sinks) != at.heads) return g->fail_node(op, where, "one sink per head is expected");
  Attributes a;
  a.integer(MRT_A_HEAD_DIM, at.head_dim).integer(MRT_A_V_DIM, at.v_dim).integer(MRT_A_HEADS, at.heads);
  a.integer(MRT_A_KV_HEADS, at.kv_heads).scale(at.scale).real(MRT_A_SOFTCAP, at.softcap);
  a.integer(MRT_A_WINDOW, at.window).integer(MRT_A_MASK, at.bidirectional ? 1 : 0);
  if (at.kv_layer != Attention::kNoCache) a.integer(MRT_A_KV_LAYER, uint64_t{at.kv_layer} + 1);
  const uint32_t k_ref = k == nullptr ? MRT_REF_NONE : MRT_REF_NODE(k->node);
  const uint32_t v_ref = v == nullptr ? MRT_REF_NONE : MRT_REF_NODE(v->node);
  return g->add_node({op, q.rows, at.heads * v_dim, {MRT_REF_NODE(q.node), k_ref, v_ref, sinks.ref}}, a, where);
}

Tensor two(uint16_t op, const Tensor& a, const Tensor& b, const Attributes& attributes, Where where) {
  GraphBuilder* g = usable({&a, &b});
  if (g == nullptr) return none(a);
  if (a.width != b.width || a.rows != b.rows) {
    return g->fail_node(op, where, "rows of " + n(a.width) + " and of " + n(b.width) + " do not match");
  }
  return g->add_node({op, a.rows, a.width, {MRT_REF_NODE(a.node), MRT_REF_NODE(b.node)}}, attributes, where);
}

Tensor one(uint16_t op, const Tensor& x, uint16_t rows, const Attributes& attributes, Where where) {
  GraphBuilder* g = usable({&x});
  if (g == nullptr) return none(x);
  return g->add_node({op, rows, x.width, {MRT_REF_NODE(x.node)}}, attributes, where);
}

}  // namespace

Tensor embed(Input ids, const Weight& table, double factor, Where where) {
  GraphBuilder* g = ids.builder;
  if (g == nullptr || !g->ok()) return {g, 0, 0, MRT_ROWS_TOKENS};
  if (!table) return g->fail_node(MRT_OP_EMBED, where, "there is no table");
  return g->add_node({MRT_OP_EMBED, MRT_ROWS_TOKENS, table.in(), {MRT_REF_INPUT(ids.which), table.ref}},
                     Attributes().scale(factor), where);
}

Tensor linear(const Tensor& x, const Weight& w, const Weight& bias, Where where) {
  GraphBuilder* g = usable({&x});
  if (g == nullptr) return none(x);
  if (!w) return g->fail_node(MRT_OP_LINEAR, where, "there is no weight");
  if (w.in() != x.width) {
    return g->fail_node(MRT_OP_LINEAR, where, "rows of " + n(x.width) + " meet a weight that takes " + n(w.in()));
  }
  if (bias && elements(bias) != w.out()) {
    return g->fail_node(MRT_OP_LINEAR, where, "a bias of " + n(elements(bias)) + " for " + n(w.out()) + " columns");
  }
  return g->add_node({MRT_OP_LINEAR, x.rows, w.out(), {MRT_REF_NODE(x.node), w.ref, bias.ref}}, {}, where);
}

Tensor rms_norm(const Tensor& x, const Weight& w, const Norm& spec, Where where) {
  return norm(MRT_OP_RMS_NORM, x, w, {}, spec, where);
}

Tensor layer_norm(const Tensor& x, const Weight& w, const Weight& b, const Norm& spec, Where where) {
  return norm(MRT_OP_LAYER_NORM, x, w, b, spec, where);
}

Tensor rope(const Tensor& x, const Rope& r, const Weight& factors, Where where) {
  constexpr uint16_t op = MRT_OP_ROPE;
  GraphBuilder* g = usable({&x});
  if (g == nullptr) return none(x);
  const uint32_t rot = r.rot_dim == 0 ? r.head_dim : r.rot_dim;
  if (r.head_dim == 0 || x.width % r.head_dim != 0) {
    return g->fail_node(op, where, "heads of " + n(r.head_dim) + " do not divide " + n(x.width));
  }
  if (rot > r.head_dim || rot % 2 != 0) return g->fail_node(op, where, n(rot) + " rotated of " + n(r.head_dim));
  if (!(r.base > 1) || !std::isfinite(r.base)) return g->fail_node(op, where, "the base must be above 1");
  if (factors && elements(factors) != rot / 2) {
    return g->fail_node(op, where, n(elements(factors)) + " frequency factors for " + n(rot / 2) + " pairs");
  }
  Attributes a;
  a.integer(MRT_A_HEAD_DIM, r.head_dim).integer(MRT_A_ROT_DIM, r.rot_dim).real(MRT_A_BASE, r.base);
  a.integer(MRT_A_STYLE, static_cast<uint32_t>(r.style)).scale(r.scale);
  if (r.scaling != RopeScaling::kNone) {
    a.integer(MRT_A_SCALING, static_cast<uint32_t>(r.scaling)).real(MRT_A_FACTOR, r.factor);
  }
  if (r.scaling == RopeScaling::kYarn) {
    a.integer(MRT_A_ORIG_CTX, r.original_context).real(MRT_A_BETA_FAST, r.beta_fast).real(MRT_A_BETA_SLOW, r.beta_slow);
  }
  return g->add_node({op, x.rows, x.width, {MRT_REF_NODE(x.node), MRT_REF_INPUT(MRT_IN_POSITIONS), factors.ref}}, a,
                     where);
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Attention& spec, const Weight& sinks,
                 Where where) {
  return attend(q, &k, &v, spec, sinks, where);
}

Tensor attention_shared(const Tensor& q, const Attention& spec, const Weight& sinks, Where where) {
  return attend(q, nullptr, nullptr, spec, sinks, where);
}

Tensor act(const Tensor& x, Act kind, Where where) {
  return one(MRT_OP_ACT, x, x.rows, Attributes().integer(MRT_A_ACT, static_cast<uint32_t>(kind)), where);
}

Tensor gate(const Tensor& a, const Tensor& b, Act kind, Where where) {
  return two(MRT_OP_GATE, a, b, Attributes().integer(MRT_A_ACT, static_cast<uint32_t>(kind)), where);
}

Tensor add(const Tensor& a, const Tensor& b, Where where) { return two(MRT_OP_ADD, a, b, {}, where); }

Tensor scale(const Tensor& x, double factor, const Weight& columns, Where where) {
  GraphBuilder* g = usable({&x});
  if (g == nullptr) return none(x);
  if (columns && elements(columns) != x.width) {
    return g->fail_node(MRT_OP_SCALE, where, n(elements(columns)) + " factors for " + n(x.width) + " columns");
  }
  return g->add_node({MRT_OP_SCALE, x.rows, x.width, {MRT_REF_NODE(x.node), columns.ref}}, Attributes().scale(factor),
                     where);
}

Tensor softcap(const Tensor& x, double cap, Where where) {
  return cap > 0 ? one(MRT_OP_SOFTCAP, x, x.rows, Attributes().real(MRT_A_SOFTCAP, cap), where) : x;
}

Tensor moe(const Tensor& x, const Tensor& router, const Weight& gate_w, const Weight& up, const Weight& down,
           const Moe& m, const Weight& select_bias, Where where) {
  constexpr uint16_t op = MRT_OP_MOE;
  GraphBuilder* g = usable({&x, &router});
  if (g == nullptr) return none(x);
  if (!gate_w || !up || !down) return g->fail_node(op, where, "gate, up and down are all needed");
  if (m.top_k == 0 || m.top_k > m.experts || router.width != m.experts || router.rows != x.rows) {
    return g->fail_node(op, where, n(m.top_k) + " of " + n(m.experts) + " experts, router of " + n(router.width));
  }
  const uint64_t inner = gate_w.dims[1];
  const auto is = [&](const Weight& w, uint64_t in, uint64_t out) {
    return w.dims[0] == in && w.dims[1] == out && w.dims[2] == m.experts;
  };
  if (!is(gate_w, x.width, inner) || !is(up, x.width, inner) || !is(down, inner, x.width)) {
    return g->fail_node(op, where, "the experts' weights do not match rows of " + n(x.width));
  }
  if (select_bias && elements(select_bias) != m.experts) return g->fail_node(op, where, "one bias per expert");
  Attributes a;
  a.integer(MRT_A_EXPERTS, m.experts).integer(MRT_A_TOP_K, m.top_k).scale(m.scale);
  a.integer(MRT_A_SCORE, static_cast<uint32_t>(m.score)).integer(MRT_A_NORM_TOPK, m.norm_topk ? 1 : 0);
  a.integer(MRT_A_ACT, static_cast<uint32_t>(m.act));
  return g->add_node({op,
                      x.rows,
                      x.width,
                      {MRT_REF_NODE(x.node), MRT_REF_NODE(router.node), gate_w.ref, up.ref, down.ref, select_bias.ref}},
                     a, where);
}

Tensor select_rows(const Tensor& x, Where where) {
  if (x.valid() && x.builder->ok() && x.rows != MRT_ROWS_TOKENS) {
    return x.builder->fail_node(MRT_OP_SELECT_ROWS, where, "rows can be selected once, from one per token");
  }
  return one(MRT_OP_SELECT_ROWS, x, MRT_ROWS_WANTED, {}, where);
}

Tensor pool(const Tensor& x, PoolKind kind, Where where) {
  if (x.valid() && x.builder->ok() && x.rows != MRT_ROWS_TOKENS) {
    return x.builder->fail_node(MRT_OP_POOL, where, "rows can be pooled once, from one per token");
  }
  return one(MRT_OP_POOL, x, MRT_ROWS_SEQS, Attributes().integer(MRT_A_POOL, static_cast<uint32_t>(kind)), where);
}

}  // namespace merritt::model::graph
